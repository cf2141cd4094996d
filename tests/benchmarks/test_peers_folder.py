"""A GGUF file as a Hugging Face folder for peers: the same model, as our own reader of folders sees it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.tiny_models import FAMILIES, write_gguf_model

from benchmarks.peers.folder import eight_bits, hugging_face_name, write_folder
from engine.models.load import load_decoder, open_weights


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_the_folder_holds_the_same_model(tmp_path: Path, family: str) -> None:
    gguf = write_gguf_model(tmp_path / "model.gguf", FAMILIES[family])
    write_folder(gguf, tmp_path / "folder", "bf16")
    load_decoder(tmp_path / "folder", arithmetic="float32")  # raises if a tensor is missing or not known
    with open_weights(gguf) as one, open_weights(tmp_path / "folder") as other:
        assert other.config == one.config
        for name, shape in (
            ("token_embd.weight", (one.config.vocab, one.config.hidden)),
            ("blk.1.attn_q.weight", (one.config.heads * one.config.head_dim, one.config.hidden)),
            ("blk.2.ffn_down.weight", (one.config.hidden, one.config.intermediate)),
        ):
            wanted = one.tensor(name, shape, torch.float32).bfloat16().float()
            assert torch.equal(other.tensor(name, shape, torch.float32), wanted)


def test_eight_bits_are_near_the_weights(tmp_path: Path) -> None:
    gguf = write_gguf_model(tmp_path / "model.gguf", FAMILIES["qwen2"])
    write_folder(gguf, tmp_path / "folder", "w8a8")
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert config["quantization_config"]["format"] == "int-quantized"
    found = load_file(tmp_path / "folder" / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    with open_weights(gguf) as file:
        weight = file.tensor("blk.0.ffn_up.weight", (file.config.intermediate, file.config.hidden), torch.float32)
    scale = found[f"{name}_scale"]
    assert found[name].dtype == torch.int8 and scale.shape == (len(weight), 1)
    assert torch.all((found[name].float() * scale - weight).abs() <= scale * 0.5001)
    # What is no linear layer of a block stays as it is.
    assert found["model.embed_tokens.weight"].dtype == torch.bfloat16
    assert found["model.layers.0.self_attn.q_proj.bias"].dtype == torch.bfloat16


def test_scaled_rotations_are_refused(tmp_path: Path) -> None:
    gguf = write_gguf_model(tmp_path / "model.gguf", FAMILIES["llama3-rope"])
    with pytest.raises(ValueError, match="scaled rotations"):
        write_folder(gguf, tmp_path / "folder", "bf16")


def test_a_row_of_zeros_has_a_scale() -> None:
    values, scale = eight_bits(torch.tensor([[0.0, 0.0], [2.0, -4.0]]))
    assert values.tolist() == [[0, 0], [64, -127]]
    assert scale.min() > 0


def test_names() -> None:
    assert hugging_face_name("token_embd.weight") == ("model.embed_tokens.weight", False)
    assert hugging_face_name("blk.7.attn_k.bias") == ("model.layers.7.self_attn.k_proj.bias", True)
    assert hugging_face_name("blk.7.ffn_norm.weight") == ("model.layers.7.post_attention_layernorm.weight", False)
