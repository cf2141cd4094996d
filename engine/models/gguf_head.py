"""Whether a GGUF file can be served, as far as its head tells. Knows no torch, so that the front can look, too."""

import math
from contextlib import suppress
from functools import cache

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from engine.models.errors import ModelCorrupt, UnsupportedModel
from engine.text.gguf_header import WHAT_TO_TAKE, GgufHeader, TensorInfo

ARCHITECTURES = ("qwen2", "qwen3", "llama")
_KINDS = {
    "adapter": "an adapter (LoRA), which only changes another model",
    "mmproj": "the part of a model that sees images",
    "imatrix": "statistics for quantising a model",
    "vocab": "a vocabulary",
}
"""What a GGUF file may hold instead of a model, by its general.type."""


def check_head(header: GgufHeader) -> None:
    """Raises UnsupportedModel for a file that holds something else than a model of ours, or not all of it, and
    ModelCorrupt for one that is cut short."""
    metadata = header.metadata
    kind, parts = metadata.get("general.type"), metadata.get("split.count", 1)
    if isinstance(kind, str) and kind in _KINDS:
        raise _unsupported(header, f"holds {_KINDS[kind]}, and no model")
    if isinstance(parts, int) and parts > 1:
        raise _unsupported(
            header, f"is one of {parts} parts of a model; join them with llama.cpp's `llama-gguf-split --merge`"
        )
    if "general.architecture" not in metadata:
        raise _unsupported(header, "does not say what kind of model it holds (general.architecture)")
    architecture = header.text("general.architecture")
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise _unsupported(header, f"architecture {architecture!r} is not supported (supported: {known})")
    if not header.tensors:
        raise _unsupported(header, "holds no weights")
    _check_bounds(header)


def byte_count(info: TensorInfo) -> int:
    """How many bytes a tensor takes. ValueError says what is wrong with it."""
    kind = readable().get(info.kind)
    if kind is None:
        name = next((kind.name for kind in GGMLQuantizationType if kind == info.kind), f"number {info.kind}")
        known = ", ".join(sorted(kind.name for kind in readable().values()))
        raise ValueError(f"quantisation {name} is not supported (supported: {known})")
    block, block_bytes = GGML_QUANT_SIZES[kind]
    weights = math.prod(info.shape)
    if weights % block:
        raise ValueError(f"{weights} weights are no multiple of the block size {block}")
    return weights // block * block_bytes


@cache
def readable() -> dict[int, GGMLQuantizationType]:
    """Every kind of tensor that the `gguf` package can dequantise, by its number."""
    found: dict[int, GGMLQuantizationType] = {}
    for kind in GGMLQuantizationType:
        # The package has no list: it says so when it is asked for one it lacks.
        with suppress(NotImplementedError), np.errstate(all="ignore"):
            dequantize(np.zeros((1, GGML_QUANT_SIZES[kind][1]), np.uint8), kind)
            found[kind.value] = kind
    return found


def _check_bounds(header: GgufHeader) -> None:
    size = header.path.stat().st_size
    for info in header.tensors.values():
        try:
            end = info.offset + byte_count(info)
        except ValueError as error:
            raise UnsupportedModel(f"{header.path}: tensor {info.name}: {error}") from error
        if end > size:
            raise ModelCorrupt(
                f"{header.path}: tensor {info.name} ends at byte {end}, but the file has {size}: it is cut short; "
                "delete it and fetch it again"
            )


def _unsupported(header: GgufHeader, problem: str) -> UnsupportedModel:
    return UnsupportedModel(f"{header.path}: {problem}; {WHAT_TO_TAKE}")
