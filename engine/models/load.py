"""From a model file to a decoder ready to run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.decoder import Decoder, Layer, Linear, Weights
from engine.models.folder import ModelFolder
from engine.models.gguf_file import GgufFile
from engine.models.weights import WeightFiles

Arithmetic = Literal["float32", "bfloat16"]
MakeLinear = Callable[[Tensor, Tensor | None], Linear]
"""A layer of weight [out, in] and bias [out]; it may keep neither."""
_DTYPES: dict[Arithmetic, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def best_arithmetic() -> Arithmetic:
    """bfloat16 where the processor multiplies it natively (AVX-512 BF16 or AMX), else float32."""
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # pyright: ignore[reportPrivateUsage]
    return "bfloat16" if native else "float32"


def open_weights(path: Path) -> WeightFiles:
    """A GGUF file, or a folder of safetensors files as the Hugging Face hub has them; errors as load_decoder."""
    return ModelFolder(path) if path.is_dir() else GgufFile(path)


def load_decoder(path: Path, *, arithmetic: Arithmetic, linear: MakeLinear | None = None) -> Decoder:
    """Load a GGUF file or a Hugging Face folder. All weights are in memory afterwards; the files are closed.

    In bfloat16 the weights are kept only in oneDNN's packed form. `linear` makes the linear layers instead, out of
    weights in `arithmetic`, on several threads at once. Raises ModelFileError, ModelCorrupt or
    UnsupportedModel, each naming what is wrong, and OSError.
    """
    with open_weights(path) as file:
        decoder = _Loader(file, arithmetic, linear).load()
        file.check_all_taken()
    return decoder


class _Loader:
    def __init__(self, file: WeightFiles, arithmetic: Arithmetic, linear: MakeLinear | None) -> None:
        self.file = file
        self.config = file.config
        self.dtype = _DTYPES[arithmetic]
        self.linear = linear or (_Plain if self.dtype is torch.float32 else _Packed)

    def load(self) -> Decoder:
        config = self.config
        # Dequantisation is numpy, which lets go of the interpreter lock: as many layers at a time as torch has threads.
        with torch.inference_mode(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
            embedding = pool.submit(self.matrix, "token_embd.weight", config.vocab, config.hidden)
            head = (
                None
                if config.tied_embeddings
                else pool.submit(self.matrix, "output.weight", config.vocab, config.hidden)
            )
            layers = tuple(pool.map(self.layer, range(config.layers)))
            weights = Weights(
                embedding=embedding.result(),
                layers=layers,
                norm=self.file.tensor("output_norm.weight", (config.hidden,), torch.float32),
                head=self.linear(embedding.result() if head is None else head.result(), None),
            )
        return Decoder(config, weights, self.dtype)

    def layer(self, index: int) -> Layer:
        config, name = self.config, f"blk.{index}."
        widths = {"q": config.heads * config.head_dim, "k": config.kv_heads * config.head_dim}
        widths["v"] = widths["k"]
        with torch.inference_mode():
            qkv = [self.projection(f"{name}attn_{part}", width) for part, width in widths.items()]
            biases = [bias for _, bias in qkv if bias is not None]
            return Layer(
                attention_norm=self.file.tensor(f"{name}attn_norm.weight", (config.hidden,), torch.float32),
                qkv=self.linear(torch.cat([weight for weight, _ in qkv]), torch.cat(biases) if biases else None),
                q_norm=self.head_norm(f"{name}attn_q_norm.weight"),
                k_norm=self.head_norm(f"{name}attn_k_norm.weight"),
                attention_out=self.linear(self.matrix(f"{name}attn_output.weight", config.hidden, widths["q"]), None),
                mlp_norm=self.file.tensor(f"{name}ffn_norm.weight", (config.hidden,), torch.float32),
                gate_up=self.linear(
                    torch.cat(
                        [
                            self.matrix(f"{name}ffn_gate.weight", config.intermediate, config.hidden),
                            self.matrix(f"{name}ffn_up.weight", config.intermediate, config.hidden),
                        ]
                    ),
                    None,
                ),
                down=self.linear(self.matrix(f"{name}ffn_down.weight", config.hidden, config.intermediate), None),
            )

    def head_norm(self, name: str) -> Tensor | None:
        return self.file.tensor(name, (self.config.head_dim,), torch.float32) if self.config.qk_norm else None

    def projection(self, name: str, width: int) -> tuple[Tensor, Tensor | None]:
        weight = self.matrix(f"{name}.weight", width, self.config.hidden)
        return weight, self.file.tensor(f"{name}.bias", (width,), self.dtype) if self.config.qkv_bias else None

    def matrix(self, name: str, rows: int, columns: int) -> Tensor:
        return self.file.tensor(name, (rows, columns), self.dtype)


class _Plain:
    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        return F.linear(rows, self._weight, self._bias)


class _Packed:
    """A weight in oneDNN's blocked layout, laid out once instead of at each call.

    These are the operations that inductor itself compiles to; on two Zen 5 cores they take a third of F.linear's time
    at one row, half at 16 and eight tenths at 64.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight)
        self._bias = bias

    def __call__(self, rows: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(rows, self._weight, self._bias, "none", [], "")
