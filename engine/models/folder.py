"""Weights and shape of a model out of a Hugging Face folder: config.json and safetensors files."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch

from engine.models.errors import ModelCorrupt, UnsupportedModel
from engine.models.folder_head import config_of, opened, shards

_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Old folders carry the rotations' frequencies, which follow from the configuration.
_DERIVED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class ModelFolder:
    """An open folder; the weights are read through memory maps.

    Raises ModelFileError or ModelCorrupt if a file is damaged, cut short or missing, UnsupportedModel if the model is
    none of ours.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taken: set[str] = set()
        with ExitStack() as stack:
            self._places: dict[str, Any] = {}
            for file in shards(path):
                weights = stack.enter_context(opened(file, "pt"))
                self._places |= dict.fromkeys(weights.keys(), weights)
            self.config = config_of(path, self._places)
            """The decoder's shape."""
            self._files = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._places.clear()
        self._files.close()

    def tensor(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """The tensor `name` in `dtype`; see WeightFiles. ModelCorrupt if it is absent or of another shape."""
        theirs = _their_name(name)
        file = self._places.get(theirs)
        if file is None:
            raise ModelCorrupt(f"{self._path}: tensor {theirs} is missing")
        self._taken.add(theirs)
        found: torch.Tensor = file.get_tensor(theirs)
        if tuple(found.shape) != shape:
            raise ModelCorrupt(f"{self._path}: tensor {theirs} has the shape {tuple(found.shape)}, not {shape}")
        if found.dtype not in _DTYPES:
            kind = str(found.dtype).removeprefix("torch.")
            raise UnsupportedModel(f"{self._path}: tensor {theirs} is stored as {kind}, which is not supported")
        return found.to(dtype, copy=True)

    def check_all_taken(self) -> None:
        """UnsupportedModel if the files hold a tensor that nobody asked for: their model is another than ours."""
        left = {name for name in self._places.keys() - self._taken if _DERIVED.fullmatch(name) is None}
        if self.config.tied_embeddings:
            left.discard("lm_head.weight")  # some writers keep both names of the one matrix
        if left:
            names = ", ".join(sorted(left)[:5]) + (" ..." if len(left) > 5 else "")
            raise UnsupportedModel(f"{self._path}: tensors that are not supported: {names}")


def _their_name(name: str) -> str:
    *layer, part, kind = name.split(".")
    return ".".join([*(("model.layers", layer[1]) if layer else ()), _NAMES[part], kind])
