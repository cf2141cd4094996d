"""Hugging Face folders: what is damaged or not supported is said by name."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from support.tiny_models import FAMILIES, tensors, write_folder

from engine.models.errors import ModelCorrupt, UnsupportedModel
from engine.models.folder import ModelFolder
from engine.models.load import load_decoder
from engine.models.rope import llama3_factors
from engine.text.errors import ModelFileError

LLAMA = FAMILIES["llama"]


def test_the_configuration_is_read(tmp_path: Path) -> None:
    with ModelFolder(write_folder(tmp_path, FAMILIES["qwen3"])) as folder:
        config = folder.config
    assert (config.architecture, config.layers, config.heads, config.kv_heads, config.head_dim) == (
        "qwen3",
        3,
        4,
        2,
        32,
    )
    assert (config.hidden, config.intermediate, config.context_length, config.vocab) == (64, 160, 512, 320)
    assert (config.rope_theta, config.norm_eps) == (1e6, pytest.approx(1e-6))
    assert (config.qkv_bias, config.qk_norm, config.tied_embeddings) == (False, True, False)


@pytest.mark.parametrize("parameters", [{"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}])
def test_rotations_in_the_words_of_transformers_5(tmp_path: Path, parameters: dict[str, Any]) -> None:
    config = {"rope_theta": None, "rope_parameters": parameters | {"rope_theta": 123.0}}
    with ModelFolder(write_folder(tmp_path, LLAMA, config=config)) as folder:
        assert folder.config.rope_theta == 123.0
        assert folder.config.rope_factors == ((4.0,) * 8 if "factor" in parameters else None)


def test_llama_3_1_slows_down_what_metas_code_slows_down() -> None:
    factors = llama3_factors(128, 5e5, factor=8.0, low=1.0, high=4.0, original=8192)
    waves = [8192 / (2 * np.pi * 5e5 ** (2 * i / 128)) for i in range(64)]
    assert all(factor == pytest.approx(1.0) for factor, n in zip(factors, waves, strict=True) if n >= 4)
    assert all(factor == pytest.approx(8.0) for factor, n in zip(factors, waves, strict=True) if n <= 1)
    assert list(factors) == sorted(factors) and len({round(factor, 6) for factor in factors}) > 4


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architectures": ["MambaForCausalLM"]}, r"MambaForCausalLM.*supported: Qwen2ForCausalLM, Qwen3ForCausalLM"),
        ({"architectures": None}, "is not supported"),
        ({"quantization_config": {"quant_method": "awq"}}, r"quantised weights \(awq\).*take a GGUF file"),
        ({"use_sliding_window": True}, "use_sliding_window is True"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types sliding_attention"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"mlp_bias": True}, "mlp_bias is True"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, r"rope_type 'yarn' is not supported"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        load_decoder(write_folder(tmp_path, LLAMA, config=config), arithmetic="float32")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers should be an integer but is absent"),
        ({"num_hidden_layers": "three"}, "num_hidden_layers should be an integer but is str 'three'"),
        ({"num_key_value_heads": 3}, "make no sense"),
        ({"rope_scaling": {"rope_type": "llama3"}}, r"rope_scaling\.factor should be a number but is absent"),
    ],
)
def test_a_configuration_without_sense_is_named(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelFileError, match=words):
        load_decoder(write_folder(tmp_path, LLAMA, config=config), arithmetic="float32")


def test_a_configuration_that_is_no_json_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, LLAMA)
    (tmp_path / "config.json").write_bytes(b'{"hidden_size": 6')
    with pytest.raises(ModelFileError, match=r"config\.json: is no JSON.*damaged"):
        load_decoder(tmp_path, arithmetic="float32")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ModelFileError, match=r"config\.json: is missing"):
        load_decoder(tmp_path, arithmetic="float32")


def test_a_folder_without_weights_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"holds neither model\.safetensors nor model\.safetensors\.index\.json"):
        load_decoder(tmp_path, arithmetic="float32")


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_truncated_weights_are_named(tmp_path: Path, kept: int) -> None:
    write_folder(tmp_path, LLAMA)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ModelCorrupt, match=r"model\.safetensors: .*damaged or cut short; delete it and fetch it again"):
        load_decoder(tmp_path, arithmetic="float32")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, LLAMA, shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelCorrupt, match=r"model-00002-of-00003\.safetensors of .* is missing; fetch the folder"):
        load_decoder(tmp_path, arithmetic="float32")


def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, LLAMA, shards=3)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../other.safetensors"}}))
    with pytest.raises(ModelFileError, match="names no safetensors files beside it"):
        load_decoder(tmp_path, arithmetic="float32")


def save(folder: Path, changes: dict[str, Any]) -> Path:
    write_folder(folder, LLAMA)
    found = {name: tensor for name, tensor in (tensors(LLAMA) | changes).items() if tensor is not None}
    save_file(found, folder / "model.safetensors")
    return folder


def test_missing_misshapen_and_unknown_tensors_are_named(tmp_path: Path) -> None:
    v_proj = "model.layers.1.self_attn.v_proj.weight"
    with pytest.raises(ModelCorrupt, match=rf"{v_proj} is missing"):
        load_decoder(save(tmp_path / "a", {v_proj: None}), arithmetic="float32")
    with pytest.raises(ModelCorrupt, match=rf"{v_proj} has the shape \(2, 2\), not \(32, 64\)"):
        load_decoder(save(tmp_path / "b", {v_proj: np.zeros((2, 2), np.float32)}), arithmetic="float32")
    with pytest.raises(UnsupportedModel, match=r"not supported: model\.layers\.0\.sinks"):
        load_decoder(save(tmp_path / "c", {"model.layers.0.sinks": np.zeros(4, np.float32)}), arithmetic="float32")
    with pytest.raises(UnsupportedModel, match=rf"{v_proj} is stored as int8, which is not supported"):
        load_decoder(save(tmp_path / "d", {v_proj: np.zeros((32, 64), np.int8)}), arithmetic="float32")


def test_frequencies_in_old_folders_are_no_weights(tmp_path: Path) -> None:
    frequencies = {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(8, np.float32)}
    load_decoder(save(tmp_path, frequencies), arithmetic="float32")


@pytest.mark.parametrize("kind", ["BF16", "F16"])
def test_halves_are_read_exactly(tmp_path: Path, kind: str) -> None:
    bits = np.random.default_rng(0).integers(0, 0x7000, (320, 64), dtype=np.uint16)
    header = json.dumps(
        {"model.embed_tokens.weight": {"dtype": kind, "shape": [320, 64], "data_offsets": [0, bits.nbytes]}}
    ).encode()
    write_folder(tmp_path, LLAMA)
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bits.tobytes())
    with ModelFolder(tmp_path) as folder:
        found = folder.tensor("token_embd.weight", (320, 64), torch.float32)
    wide = bits.astype(np.uint32) << 16
    np.testing.assert_array_equal(found, wide.view(np.float32) if kind == "BF16" else bits.view(np.float16))
