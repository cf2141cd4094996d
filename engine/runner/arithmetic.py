"""In which numbers a model is computed on this processor, and how it is loaded for them."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from engine.models import load
from engine.models.decoder import Decoder, Linear
from engine.runner.smoothing import Open, opened, smooth
from engine.text.tokenizer import Tokenizer
from kernels.cpu.int8_linear import Int8Weight, multiply, pack
from kernels.cpu.launch import has_vnni
from kernels.cpu.rows import bytes_kernel

Arithmetic = Literal["int8", "bfloat16", "float32"]


def best_arithmetic() -> Arithmetic:
    """int8 where the processor multiplies bytes in long vectors, bfloat16 where it multiplies those, else float32."""
    return "int8" if has_vnni() else load.best_arithmetic()


def load_decoder(path: Path, *, arithmetic: Arithmetic, tokenizer: Tokenizer) -> Decoder:
    """Load a model's files; see engine.models.load.

    In int8 the linear layers have a scale for each output and quantise what comes in token by token, smoothed by a text
    of ours; the embedding is bfloat16, all else float32. ValueError if this processor cannot multiply bytes.
    """
    if arithmetic != "int8":
        return load.load_decoder(path, arithmetic=arithmetic)
    if not has_vnni():
        raise ValueError("arithmetic: int8 needs a processor with AVX512_VNNI; choose bfloat16 or float32")
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
    packed = Int8Linear(layer.weight, layer.bias)
    # Given back at once: the whole model in float32 is the most memory that loading needs.
    layer.weight.resize_(0)
    return packed


class Int8Linear:
    """A linear layer in bytes; see kernels.cpu.int8_linear."""

    __slots__ = ("weight",)

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight: Int8Weight = pack(weight, bias)

    def __call__(self, rows: Tensor) -> Tensor:
        """[T, in] -> [T, out], float32 both."""
        count = len(rows)
        rows = rows.contiguous()
        quantised = torch.empty(rows.shape, dtype=torch.uint8)
        scales = torch.empty(count)
        bytes_kernel(count, rows.shape[1], rows.data_ptr(), quantised.data_ptr(), scales.data_ptr())
        out = torch.empty(count, self.weight.width)
        multiply(count, quantised.data_ptr(), scales.data_ptr(), self.weight, out.data_ptr())
        return out[:, : self.weight.out_features]


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
