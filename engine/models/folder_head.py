"""Whether a Hugging Face folder can be served, as far as the heads of its files tell. Knows no torch, so that the front
can look, too."""

import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from engine.models.decoder_config import DecoderConfig
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


def check_folder(path: Path) -> None:
    """Looks at config.json, at the header and the length of each file of weights, and at tokenizer.json.

    Raises UnsupportedModel, ModelCorrupt, ModelFileError or OSError; each names the file.
    """
    tensors: set[str] = set()
    for file in shards(path):
        with opened(file, "numpy") as weights:
            tensors.update(weights.keys())
    config_of(path, tensors)
    JsonFile.read(path / "tokenizer.json")


def shards(path: Path) -> list[Path]:
    """The files of the folder's weights, all of them there. Raises ModelFileError or ModelCorrupt."""
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


def opened(path: Path, framework: Literal["pt", "numpy"]) -> Any:
    """A file of weights, for a `with`; ModelCorrupt if its header is damaged or its length not what the header says."""
    try:
        return safe_open(path, framework=framework)
    except (SafetensorError, struct.error) as error:
        raise ModelCorrupt(f"{path}: {error}: it is damaged or cut short; delete it and fetch it again") from error


def config_of(path: Path, tensors: Collection[str]) -> DecoderConfig:
    """The decoder's shape from the folder's config.json; `tensors` are the names of its weights.

    UnsupportedModel names an architecture or an option that is not ours, ModelFileError what makes no sense.
    """
    file = JsonFile.read(path / "config.json")
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
        qkv_bias="model.layers.0.self_attn.q_proj.bias" in tensors,
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
