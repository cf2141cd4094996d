"""A model's GGUF file as a Hugging Face folder, for peers that read nothing else.

    python -m benchmarks.peers.folder FILE.gguf FOLDER bf16|w8a8

The weights are dequantised, so that every peer computes the same model. The folder has no tokenizer: peers are given
token ids.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.models.decoder import DecoderConfig
from engine.models.gguf_file import GgufFile

Form = Literal["bf16", "w8a8"]

_CLASSES = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM"}
_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_NORMS = {
    "attn_norm": "input_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
}
_LINEAR = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# What llmcompressor writes for its scheme W8A8: a scale for each output, one for each token as it comes; the head,
# which vLLM computes in bfloat16 in any case, is left out.
_W8A8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True, "dynamic": False},
            "input_activations": {
                "num_bits": 8,
                "type": "int",
                "strategy": "token",
                "symmetric": True,
                "dynamic": True,
            },
        }
    },
}


def write_folder(gguf: Path, out: Path, form: Form) -> None:
    """Write config.json and model.safetensors: bfloat16, or the blocks' linear layers in eight bits (round to nearest).

    Raises what GgufFile raises, and ValueError for a model whose rotations are scaled.
    """
    tensors: dict[str, Tensor] = {}
    with GgufFile(gguf) as file:
        if file.config.rope_factors is not None:
            raise ValueError(f"{gguf}: scaled rotations are not written to folders; race another model")
        for info in file.header.tensors.values():
            name, linear = hugging_face_name(info.name)
            values = file.tensor(info.name, info.shape, torch.float32)
            if form == "w8a8" and linear and name.endswith(".weight"):
                tensors[name], tensors[f"{name}_scale"] = eight_bits(values)
            else:
                tensors[name] = values.bfloat16()
        config = _config(file.config)
    if form == "w8a8":
        config["quantization_config"] = _W8A8
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def hugging_face_name(name: str) -> tuple[str, bool]:
    """What transformers calls a tensor of a GGUF file, and whether it is part of a block's linear layer."""
    *layer, part, kind = name.split(".")
    if not layer:
        return f"{_OUTER[part]}.{kind}", False
    return f"model.layers.{layer[1]}.{(_LINEAR | _NORMS)[part]}.{kind}", part in _LINEAR


def eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [out, in] as int8 and the scale of each output [out, 1]."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round().to(torch.int8), scale


def _config(config: DecoderConfig) -> dict[str, Any]:
    return {
        "architectures": [_CLASSES[config.architecture]],
        "model_type": config.architecture,
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": config.context_length,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": config.tied_embeddings,
        "torch_dtype": "bfloat16",
    }


def main() -> None:
    """Entry of the command line."""
    gguf, out, form = sys.argv[1:]
    if form not in get_args(Form):
        raise SystemExit(f"{form!r} is none of {', '.join(get_args(Form))}")
    write_folder(Path(gguf), Path(out), form)  # pyright: ignore[reportArgumentType]  # just checked


if __name__ == "__main__":
    main()
