"""Tiny random models of each family, drawn once and written as GGUF or as a Hugging Face folder.

numpy and the writers of the two formats only: benchmarks/parity/make_golden.py, which runs beside transformers in an
environment of its own, makes its models here.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A model's shape in the words of config.json. Dimensions of blocks are multiples of 32, so that all simple
    quantisations fit."""

    name: str
    architecture: str  # llama.cpp's name
    model_class: str
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    seed: int = 0

    def shape(self, key: str) -> int:
        """A size of the configuration."""
        return int(self.hugging_face_config[key])

    @property
    def hugging_face_config(self) -> dict[str, Any]:
        """config.json."""
        return {
            "architectures": [self.model_class],
            "model_type": self.architecture,
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 160,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "hidden_act": "silu",
            "max_position_embeddings": 512,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
            "bos_token_id": None,
            "eos_token_id": None,
            **self.config,
        }


LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="qwen2",
            architecture="qwen2",
            model_class="Qwen2ForCausalLM",
            config={"rope_theta": 1e6, "tie_word_embeddings": True},
            seed=1,
        ),
        # The heads together are wider than the hidden state, as in the smallest Qwen3.
        Family(
            name="qwen3",
            architecture="qwen3",
            model_class="Qwen3ForCausalLM",
            config={"rope_theta": 1e6, "head_dim": 32, "attention_bias": False},
            seed=2,
        ),
        Family(
            name="llama",
            architecture="llama",
            model_class="LlamaForCausalLM",
            config={"rope_theta": 1e4, "rms_norm_eps": 1e-5},
            seed=3,
        ),
        Family(
            name="llama3-rope",
            architecture="llama",
            model_class="LlamaForCausalLM",
            config={
                "rope_theta": 5e5,
                "rms_norm_eps": 1e-5,
                "tie_word_embeddings": True,
                "rope_scaling": LLAMA3_SCALING,
            },
            seed=4,
        ),
    )
}


def tensors(family: Family) -> Tensors:
    """Random float32 tensors by their Hugging Face names, rows first."""
    rng = np.random.default_rng(family.seed)
    hidden, inner, head = family.shape("hidden_size"), family.shape("intermediate_size"), family.shape("head_dim")
    q_width = family.shape("num_attention_heads") * head
    kv_width = family.shape("num_key_value_heads") * head

    def matrix(rows: int, columns: int) -> Array:
        return (rng.standard_normal((rows, columns)) * (1.5 / np.sqrt(columns))).astype(np.float32)

    def vector(size: int, middle: float) -> Array:
        return (middle + 0.3 * rng.standard_normal(size)).astype(np.float32)

    found = {"model.embed_tokens.weight": matrix(family.shape("vocab_size"), hidden)}
    for layer in range(family.shape("num_hidden_layers")):
        name = f"model.layers.{layer}."
        found[name + "input_layernorm.weight"] = vector(hidden, 1)
        for part, width in (("q", q_width), ("k", kv_width), ("v", kv_width)):
            found[f"{name}self_attn.{part}_proj.weight"] = matrix(width, hidden)
            if family.architecture == "qwen2":
                found[f"{name}self_attn.{part}_proj.bias"] = vector(width, 0)
        if family.architecture == "qwen3":
            found[name + "self_attn.q_norm.weight"] = vector(head, 1)
            found[name + "self_attn.k_norm.weight"] = vector(head, 1)
        found[name + "self_attn.o_proj.weight"] = matrix(hidden, q_width)
        found[name + "post_attention_layernorm.weight"] = vector(hidden, 1)
        found[name + "mlp.gate_proj.weight"] = matrix(inner, hidden)
        found[name + "mlp.up_proj.weight"] = matrix(inner, hidden)
        found[name + "mlp.down_proj.weight"] = matrix(hidden, inner)
    found["model.norm.weight"] = vector(hidden, 1)
    if not family.hugging_face_config["tie_word_embeddings"]:
        found["lm_head.weight"] = matrix(family.shape("vocab_size"), hidden)
    return found


def prompt(family: Family, length: int = 200) -> list[int]:
    """Random tokens."""
    return np.random.default_rng(100 + family.seed).integers(0, family.shape("vocab_size"), length).tolist()


def write_folder(folder: Path, family: Family, *, shards: int = 1, config: dict[str, Any] | None = None) -> Path:
    """A Hugging Face folder without a tokenizer; `config` replaces values, None takes a key out."""
    folder.mkdir(parents=True, exist_ok=True)
    values = family.hugging_face_config | (config or {})
    (folder / "config.json").write_text(json.dumps({key: value for key, value in values.items() if value is not None}))
    all_of_them = tensors(family)
    if shards == 1:
        save_file(all_of_them, folder / "model.safetensors")
        return folder
    names = sorted(all_of_them)
    places: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        mine = names[shard::shards]
        save_file({name: all_of_them[name] for name in mine}, folder / file)
        places |= dict.fromkeys(mine, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


_GGUF_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_tensors(family: Family) -> Tensors:
    """The same tensors under llama.cpp's names and in its order of rows."""
    head = family.shape("head_dim")
    found: Tensors = {}
    for theirs, tensor in tensors(family).items():
        base, kind = theirs.rsplit(".", 1)
        if base.startswith("model.layers."):
            _, _, layer, part = base.split(".", 3)
            name = f"blk.{layer}.{_GGUF_NAMES[part]}.{kind}"
        else:
            name, part = f"{_GGUF_NAMES[base]}.{kind}", ""
        if family.architecture == "llama" and part in ("self_attn.q_proj", "self_attn.k_proj"):
            tensor = tensor.reshape(-1, 2, head // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)
        found[name] = tensor
    if "rope_scaling" in family.config:
        found["rope_freqs.weight"] = _llama3_factors(family)
    return found


def _llama3_factors(family: Family) -> Array:
    """As llama.cpp's converter writes them, case by case."""
    scaling, head = family.config["rope_scaling"], family.shape("head_dim")
    original = scaling["original_max_position_embeddings"]
    low_wavelength, high_wavelength = original / scaling["low_freq_factor"], original / scaling["high_freq_factor"]
    factors: list[float] = []
    for index in range(0, head, 2):
        wavelength = 2 * np.pi * family.config["rope_theta"] ** (index / head)
        if wavelength < high_wavelength:
            factors.append(1.0)
        elif wavelength > low_wavelength:
            factors.append(scaling["factor"])
        else:
            smooth = (original / wavelength - scaling["low_freq_factor"]) / (
                scaling["high_freq_factor"] - scaling["low_freq_factor"]
            )
            factors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(factors, np.float32)


def write_gguf_model(path: Path, family: Family) -> Path:
    """A GGUF file in float32 without a tokenizer."""
    writer = gguf.GGUFWriter(path, family.architecture)
    writer.add_block_count(family.shape("num_hidden_layers"))
    writer.add_context_length(family.shape("max_position_embeddings"))
    writer.add_embedding_length(family.shape("hidden_size"))
    writer.add_feed_forward_length(family.shape("intermediate_size"))
    writer.add_head_count(family.shape("num_attention_heads"))
    writer.add_head_count_kv(family.shape("num_key_value_heads"))
    writer.add_key_length(family.shape("head_dim"))
    writer.add_value_length(family.shape("head_dim"))
    writer.add_rope_dimension_count(family.shape("head_dim"))
    writer.add_rope_freq_base(family.config["rope_theta"])
    writer.add_layer_norm_rms_eps(family.hugging_face_config["rms_norm_eps"])
    for name, tensor in gguf_tensors(family).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
