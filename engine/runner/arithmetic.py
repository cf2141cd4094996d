"""In which numbers a model is computed on this processor, and how it is loaded for them."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from engine.models import load
from engine.models.decoder import Decoder, Linear
from engine.runner.float_layer import FloatLinear
from engine.runner.int8_layer import Int8Linear
from engine.runner.packed import PackedFile
from engine.runner.smoothing import Open, opened, smooth
from engine.text.tokenizer import Tokenizer
from kernels.cpu.int8_linear import pack
from kernels.cpu.launch import has_long_vectors, has_vnni
from kernels.cpu.matrix_units import has_matrix_units

Arithmetic = Literal["int8", "bfloat16", "float32"]


def best_arithmetic() -> Arithmetic:
    """int8 where the processor multiplies bytes in long vectors, bfloat16 where it multiplies those, else float32."""
    return "int8" if has_vnni() else load.best_arithmetic()


def uses_matrix_units() -> bool:
    """Whether wide steps in int8 run on units for matrices (AMX)."""
    return has_matrix_units()


def ours_are_faster(arithmetic: Arithmetic) -> bool:
    """Whether our products of bfloat16 or float32 beat torch's: in 512-bit vectors, unless there are units for matrices
    of bfloat16 (AMX), which only torch uses."""
    matrices = arithmetic == "bfloat16" and torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]
    return has_long_vectors() and not matrices


def load_decoder(
    path: Path, *, arithmetic: Arithmetic, tokenizer: Tokenizer, packed: Path | None = None, strict: bool | None = None
) -> Decoder:
    """Load a model's files; see engine.models.load.

    `strict`: products of bfloat16 or float32 by our kernels, under which a row's results are the same in any batch, bit
    for bit, as they always are in int8; False: by torch's; None: by the faster ones.

    In int8 the linear layers have a scale for each output and quantise what comes in token by token, smoothed by a text
    of ours; the embedding is bfloat16, all else float32. What that gives is kept in the file `packed`, if given, and
    taken from there the next time. ValueError if this processor cannot multiply bytes.
    """
    if arithmetic != "int8":
        ours = ours_are_faster(arithmetic) if strict is None else strict
        return load.load_decoder(path, arithmetic=arithmetic, linear=FloatLinear if ours else None)
    if not has_vnni():
        raise ValueError("arithmetic: int8 needs a processor with AVX512_VNNI; choose bfloat16 or float32")
    kept = None if packed is None else PackedFile(packed, path, _TEXT)
    if kept is not None and (decoder := kept.load()) is not None:
        return decoder
    decoder = _pack(path, tokenizer)
    if kept is not None:
        kept.store(decoder)
    return decoder


def _pack(path: Path, tokenizer: Tokenizer) -> Decoder:
    decoder = load.load_decoder(path, arithmetic="float32", linear=Open)
    with torch.inference_mode():
        # Before the weights change: a head that is tied to the embedding shares its memory.
        embedding = decoder.weights.embedding.bfloat16()
        weights = smooth(decoder, tokenizer.encode(_TEXT, special=False)[: decoder.config.context_length])
        return Decoder(
            decoder.config,
            replace(
                weights,
                embedding=embedding,
                layers=tuple(
                    replace(
                        layer,
                        qkv=_packed(layer.qkv),
                        attention_out=_packed(layer.attention_out),
                        gate_up=_packed(layer.gate_up),
                        down=_packed(layer.down),
                    )
                    for layer in weights.layers
                ),
                head=_packed(weights.head),
            ),
            torch.float32,
        )


def _packed(linear: Linear) -> "Int8Linear":
    layer = opened(linear)
    made = Int8Linear(pack(layer.weight, layer.bias))
    # Given back at once: the whole model in float32 is the most memory that loading needs.
    layer.weight.resize_(0)
    return made


_TEXT = '''Write a Python function `longest_run(values: list[int]) -> int` that returns the length of the longest run of
equal neighbours. Answer with one code block.
```python
def longest_run(values: list[int]) -> int:
    """Length of the longest run of equal values.

    >>> longest_run([1, 1, 2, 3, 3, 3])
    3
    """
    best = count = 0
    for index, value in enumerate(values):
        count = count + 1 if index and values[index - 1] == value else 1
        best = max(best, count)
    return best


assert longest_run([]) == 0 and longest_run([7]) == 1
```
'''
