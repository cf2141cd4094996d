"""Weights and shape of a model out of a Hugging Face folder: config.json and safetensors files."""

import re
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open

from engine.models.decoder import DecoderConfig
from engine.models.errors import ModelCorrupt, UnsupportedModel
from engine.models.rope import linear_factors, llama3_factors
from engine.text.errors import ModelFileError
from engine.text.json_file import JsonFile

_ARCHITECTURES = {
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "LlamaForCausalLM": "llama",
}
_CONTEXT_DEFAULT = {"qwen2": 32768, "qwen3": 32768, "llama": 2048}
_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
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
            for file in _shards(path):
                opened = stack.enter_context(_opened(file))
                self._places |= dict.fromkeys(opened.keys(), opened)
            self.config = read_config(JsonFile.read(path / "config.json"), self._places)
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


def _shards(path: Path) -> list[Path]:
    if (path / _WHOLE).is_file():
        return [path / _WHOLE]
    index = path / _INDEX
    if not index.is_file():
        raise ModelFileError(path, f"holds neither {_WHOLE} nor {_INDEX}; name a GGUF file or a folder of safetensors")
    names = JsonFile.read(index).part("weight_map").values.values()
    files = sorted({str(name) for name in names})
    if not files or any("/" in name or not name.endswith(".safetensors") for name in files):
        raise ModelFileError(index, "weight_map names no safetensors files beside it: the file is damaged")
    missing = [name for name in files if not (path / name).is_file()]
    if missing:
        raise ModelCorrupt(f"{path}: {', '.join(missing)} of {_INDEX} is missing; fetch the folder again")
    return [path / name for name in files]


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, struct.error) as error:
        raise ModelCorrupt(f"{path}: {error}: it is damaged or cut short; delete it and fetch it again") from error


def read_config(file: JsonFile, tensors: Iterable[str]) -> DecoderConfig:
    """The decoder's shape from config.json. UnsupportedModel names an architecture or an option that is not ours."""
    named = file.values.get("architectures") or [None]
    architecture = _ARCHITECTURES.get(str(named[0]) if isinstance(named, list) else "")
    if architecture is None:
        raise UnsupportedModel(
            f"{file.path}: architecture {named!r} is not supported (supported: {', '.join(_ARCHITECTURES)})"
        )
    _refuse_options(file, architecture)
    heads, hidden = file.integer("num_attention_heads"), file.integer("hidden_size")
    kv_heads = file.integer("num_key_value_heads", heads)
    # Qwen3 has its own width of a head where the file is silent; the other two divide.
    head_dim = file.integer("head_dim", 128 if architecture == "qwen3" else hidden // max(heads, 1))
    theta, factors = _rope(file, head_dim)
    config = DecoderConfig(
        architecture=architecture,
        layers=file.integer("num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        hidden=hidden,
        intermediate=file.integer("intermediate_size"),
        vocab=file.integer("vocab_size"),
        rope_theta=theta,
        norm_eps=file.number("rms_norm_eps", 1e-6),
        context_length=file.integer("max_position_embeddings", _CONTEXT_DEFAULT[architecture]),
        qkv_bias="model.layers.0.self_attn.q_proj.bias" in set(tensors),
        qk_norm=architecture == "qwen3",
        tied_embeddings=file.flag("tie_word_embeddings", False),
        rope_factors=factors,
    )
    sizes = (config.layers, heads, kv_heads, head_dim, hidden, config.intermediate, config.context_length, config.vocab)
    if min(sizes) < 1 or heads % kv_heads or head_dim % 2:
        raise ModelFileError(file.path, f"the model's sizes make no sense: {config}")
    return config


def _refuse_options(file: JsonFile, architecture: str) -> None:
    """Refuse by name what would change the arithmetic."""
    if (quantised := file.part("quantization_config")).values:
        method = quantised.text("quant_method", "of an unnamed method")
        raise UnsupportedModel(f"{file.path}: quantised weights ({method}) are not supported; take a GGUF file instead")
    wanted: dict[str, object] = {"hidden_act": "silu", "use_sliding_window": False, "mlp_bias": False}
    if architecture == "llama":
        wanted |= {"attention_bias": False, "pretraining_tp": 1}
    wanted |= {"partial_rotary_factor": 1.0}
    for key, only in wanted.items():
        if (found := file.values.get(key, only)) is not None and found != only:
            raise UnsupportedModel(f"{file.path}: {key} is {found!r}; only {only!r} is supported")
    kinds = file.values.get("layer_types")
    if isinstance(kinds, list) and (others := {str(kind) for kind in kinds} - {"full_attention"}):
        raise UnsupportedModel(f"{file.path}: layer_types {', '.join(sorted(others))} are not supported")


def _rope(file: JsonFile, head_dim: int) -> tuple[float, tuple[float, ...] | None]:
    """Base and factors of the rotations; transformers 5 moved them into one object."""
    scaling = file.part("rope_parameters" if "rope_parameters" in file.values else "rope_scaling")
    theta = scaling.number("rope_theta", file.number("rope_theta", 10_000.0))
    kind = scaling.text("rope_type", scaling.text("type", "default"))
    if scaling.number("partial_rotary_factor", 1.0) != 1.0:
        raise UnsupportedModel(f"{file.path}: partial_rotary_factor other than 1.0 is not supported")
    match kind:
        case "default":
            return theta, None
        case "linear":
            return theta, linear_factors(head_dim, scaling.number("factor"))
        case "llama3":
            factors = llama3_factors(
                head_dim,
                theta,
                factor=scaling.number("factor"),
                low=scaling.number("low_freq_factor"),
                high=scaling.number("high_freq_factor"),
                original=scaling.integer("original_max_position_embeddings"),
            )
            return theta, factors
        case _:
            raise UnsupportedModel(f"{file.path}: rope_type {kind!r} is not supported (default, linear and llama3 are)")
