"""Weights and shape of a model out of a GGUF file."""

import mmap
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from engine.models.decoder import DecoderConfig
from engine.models.errors import ModelCorrupt, UnsupportedModel
from engine.models.gguf_head import byte_count, check_head
from engine.models.rope import linear_factors
from engine.models.weights import halves_apart
from engine.text.gguf_header import GgufError, GgufHeader, TensorInfo, read_header

# A piece of this many weights stays in the second-level cache between the passes of its dequantisation.
_PIECE = 1 << 17
_TURNED = re.compile(r"blk\.\d+\.attn_[qk]\.(weight|bias)")
_ROPE_FACTORS = "rope_freqs.weight"


class GgufFile:
    """An open GGUF file; the weights are read through a memory map.

    Raises GgufError or ModelCorrupt if it is damaged or cut short, UnsupportedModel if the model is none of ours.
    """

    def __init__(self, path: Path) -> None:
        self.header = read_header(path)
        check_head(self.header)
        config = read_config(self.header)
        self._taken: set[str] = set()
        self._turned = config.head_dim if config.architecture == "llama" else 0
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.config = replace(config, rope_factors=self._rope_factors(config))
        """The decoder's shape."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """The tensor `name`, dequantised; see WeightFiles. ModelCorrupt if it is absent or of another shape."""
        info = self.header.tensors.get(name)
        if info is None:
            raise ModelCorrupt(f"{self.header.path}: tensor {name} is missing")
        if info.shape != shape:
            raise ModelCorrupt(f"{self.header.path}: tensor {name} has the shape {info.shape}, not {shape}")
        self._taken.add(name)
        out = torch.empty(shape, dtype=dtype)
        flat = out.view(-1)
        position = 0
        for piece in self._pieces(info):
            flat[position : position + len(piece)] = torch.tensor(piece)
            position += len(piece)
        return halves_apart(out, self._turned) if self._turned and _TURNED.fullmatch(name) else out

    def check_all_taken(self) -> None:
        """UnsupportedModel if the file holds a tensor that nobody asked for: its model is another than ours."""
        if left := sorted(self.header.tensors.keys() - self._taken):
            names = ", ".join(left[:5]) + (" ..." if len(left) > 5 else "")
            raise UnsupportedModel(f"{self.header.path}: tensors that are not supported: {names}")

    def _pieces(self, info: TensorInfo) -> Iterator[npt.NDArray[np.float32]]:
        kind = GGMLQuantizationType(info.kind)
        block, block_bytes = GGML_QUANT_SIZES[kind]
        data = np.frombuffer(self._map, np.uint8, byte_count(info), info.offset)
        step = max(1, _PIECE // block) * block_bytes
        for start in range(0, len(data), step):
            # As one long row: dequantize works on sixteen rows at a time, which is slow for short ones.
            yield dequantize(data[start : start + step].reshape(1, -1), kind).reshape(-1)

    def _rope_factors(self, config: DecoderConfig) -> tuple[float, ...] | None:
        if _ROPE_FACTORS not in self.header.tensors:
            return config.rope_factors
        found = self.tensor(_ROPE_FACTORS, (config.head_dim // 2,), torch.float32)
        if config.rope_factors is not None or not bool((found > 0).all()):
            problem = "contradicts rope.scaling.type" if config.rope_factors is not None else "holds no positive factor"
            raise UnsupportedModel(f"{self.header.path}: tensor {_ROPE_FACTORS} {problem}")
        return tuple(found.tolist())


def read_config(header: GgufHeader) -> DecoderConfig:
    """The decoder's shape; `header` passes `check_head`. UnsupportedModel names an option that is not supported."""
    architecture = header.text("general.architecture")
    heads = header.integer(f"{architecture}.attention.head_count")
    hidden = header.integer(f"{architecture}.embedding_length")
    head_dim = header.integer(f"{architecture}.attention.key_length", hidden // max(heads, 1))
    for key in ("attention.value_length", "rope.dimension_count"):
        found = header.integer(f"{architecture}.{key}", head_dim)
        if found != head_dim:
            raise UnsupportedModel(f"{header.path}: {architecture}.{key} is {found}; only {head_dim} is supported")
    scaling = header.text(f"{architecture}.rope.scaling.type", "none")
    if scaling not in ("none", "linear"):
        raise UnsupportedModel(f"{header.path}: {architecture}.rope.scaling.type {scaling!r} is not supported")
    factor = header.number(f"{architecture}.rope.scaling.factor", 1.0) if scaling == "linear" else 1.0
    embedding = header.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise GgufError(header.path, "has no tensor token_embd.weight with rows and columns")
    config = DecoderConfig(
        architecture=architecture,
        layers=header.integer(f"{architecture}.block_count"),
        heads=heads,
        kv_heads=header.integer(f"{architecture}.attention.head_count_kv", heads),
        head_dim=head_dim,
        hidden=hidden,
        intermediate=header.integer(f"{architecture}.feed_forward_length"),
        vocab=embedding.shape[0],
        rope_theta=header.number(f"{architecture}.rope.freq_base", 10_000.0),
        norm_eps=header.number(f"{architecture}.attention.layer_norm_rms_epsilon"),
        context_length=header.integer(f"{architecture}.context_length"),
        qkv_bias="blk.0.attn_q.bias" in header.tensors,
        qk_norm=architecture == "qwen3",
        tied_embeddings="output.weight" not in header.tensors,
        rope_factors=linear_factors(head_dim, factor) if factor != 1.0 else None,
    )
    sizes = (config.layers, heads, config.kv_heads, head_dim, hidden, config.intermediate, config.context_length)
    if min(sizes) < 1 or heads % config.kv_heads or head_dim % 2 or factor <= 0:
        raise GgufError(header.path, f"the model's sizes make no sense: {config}")
    return config
