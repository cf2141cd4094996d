"""A model's packed weights on disk: only the first start has to dequantise, smooth and pack them."""

import contextlib
import hashlib
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.models.decoder import Decoder, DecoderConfig, Layer, Linear, Weights
from engine.models.load import open_weights
from engine.runner.int8_layer import Int8Linear
from kernels.cpu.int8_linear import Int8Weight, empty

_FORMAT = 1
"""Counts the changes of how weights are smoothed, quantised or laid out."""
_ABANDONED = 3600.0  # seconds after which nobody is writing a file any more
_LINEAR = ("qkv", "attention_out", "gate_up", "down")
_NORMS = ("attention_norm", "q_norm", "k_norm", "mlp_norm")


class _Note(msgspec.Struct, frozen=True):
    """What the packed file was made from, and the (out, in) features of its layers."""

    model: str
    source: str
    features: dict[str, tuple[int, int]]


class PackedFile:
    """The safetensors file with the packed weights of the model at `path`; `text` is what it is smoothed by.

    It is as good as absent once the model's files have another size or time than when it was made.
    """

    def __init__(self, file: Path, path: Path, text: str) -> None:
        self._file = file
        self._model = path.resolve()
        parts = sorted(self._model.glob("*")) if self._model.is_dir() else [self._model]
        stats = [(part.name, part.stat()) for part in parts]
        made_of = repr((_FORMAT, text, [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]))
        self._source = hashlib.sha256(made_of.encode()).hexdigest()

    def load(self) -> Decoder | None:
        """The decoder; None if there is no such file, or none that can be read."""
        try:
            with safe_open(self._file, "pt") as file:
                note = msgspec.json.decode(file.metadata()["note"], type=_Note)
                if note.source != self._source:
                    return None
                names = list(file.keys())
                # Copied: what is only mapped is not aligned for the kernels.
                with torch.inference_mode(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
                    tensors = dict(
                        zip(names, pool.map(lambda name: _copied(file.get_tensor(name)), names), strict=True)
                    )
            with open_weights(self._model) as weights:
                return _decoder(weights.config, tensors, note.features)
        except (OSError, SafetensorError, msgspec.MsgspecError, KeyError):
            return None

    def store(self, decoder: Decoder) -> None:
        """Write the file, unless the disk is nearly full or cannot be written; what was made of absent models goes."""
        tensors, features = _tensors(decoder)
        size = sum(tensor.nbytes for tensor in tensors.values())
        folder = self._file.parent
        part = self._file.with_suffix(f".{os.getpid()}.part")
        note = msgspec.json.encode(_Note(str(self._model), self._source, features)).decode()
        # Without the file the next start takes a little longer, that is all.
        with contextlib.suppress(OSError, SafetensorError):
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            if shutil.disk_usage(folder).free > 3 * size:
                try:
                    save_file(tensors, part, {"note": note})
                    part.replace(self._file)
                finally:
                    part.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    for part in folder.glob("*.part"):
        if time.time() - part.stat().st_mtime > _ABANDONED:
            part.unlink(missing_ok=True)
    for found in folder.glob("*.safetensors"):
        with contextlib.suppress(SafetensorError, msgspec.MsgspecError, KeyError), safe_open(found, "pt") as file:
            if not Path(msgspec.json.decode(file.metadata()["note"], type=_Note).model).exists():
                found.unlink()


def _copied(tensor: Tensor) -> Tensor:
    return empty(tuple(tensor.shape), tensor.dtype).copy_(tensor)


def _tensors(decoder: Decoder) -> tuple[dict[str, Tensor], dict[str, tuple[int, int]]]:
    weights = decoder.weights
    tensors: dict[str, Tensor] = {"embedding": weights.embedding, "norm": weights.norm}
    features: dict[str, tuple[int, int]] = {}
    linears = {"head": weights.head}
    for index, layer in enumerate(weights.layers):
        linears |= {f"{index}.{name}": getattr(layer, name) for name in _LINEAR}
        norms: dict[str, Tensor | None] = {f"{index}.{name}": getattr(layer, name) for name in _NORMS}
        tensors |= {name: norm for name, norm in norms.items() if norm is not None}
    for name, linear in linears.items():
        if not isinstance(linear, Int8Linear):
            raise ValueError(f"layer {name} of the decoder is not in int8")
        weight = linear.weight
        tensors |= {f"{name}.panels": weight.panels, f"{name}.columns": weight.columns}
        features[name] = (weight.out_features, weight.in_features)
    return tensors, features


def _decoder(config: DecoderConfig, tensors: dict[str, Tensor], features: dict[str, tuple[int, int]]) -> Decoder:
    def linear(name: str) -> Linear:
        return Int8Linear(Int8Weight(tensors[f"{name}.panels"], tensors[f"{name}.columns"], *features[name]))

    def layer(index: int) -> Layer:
        return Layer(
            attention_norm=tensors[f"{index}.attention_norm"],
            qkv=linear(f"{index}.qkv"),
            q_norm=tensors.get(f"{index}.q_norm"),
            k_norm=tensors.get(f"{index}.k_norm"),
            attention_out=linear(f"{index}.attention_out"),
            mlp_norm=tensors[f"{index}.mlp_norm"],
            gate_up=linear(f"{index}.gate_up"),
            down=linear(f"{index}.down"),
        )

    layers = tuple(layer(index) for index in range(config.layers))
    return Decoder(config, Weights(tensors["embedding"], layers, tensors["norm"], linear("head")), torch.float32)
