"""The decoder on tiny random models, against the same network written plainly in float64."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from support.dense_attention import DenseSequence, greedy
from support.plain_network import HEAD_DIM, expected_logits
from support.tiny_gguf import vocabulary, weights, write_gguf

from engine.models.errors import ModelCorrupt, UnsupportedModel
from engine.models.gguf_file import GgufFile
from engine.models.load import best_arithmetic, load_decoder
from engine.text.gguf_header import GgufError

Array = np.ndarray[Any, Any]
TOKENS = [3, 200, 17, 17, 260, 0, 99, 41]


def neighbours(weight: Array) -> Array:
    """llama.cpp's order of q and k rows."""
    return weight.reshape(-1, 2, HEAD_DIM // 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def as_stored(architecture: str, tensors: dict[str, Array]) -> dict[str, Array]:
    """The tensors as llama.cpp's converter would write them."""
    turned = ("attn_q.weight", "attn_k.weight") if architecture == "llama" else ()
    return {name: neighbours(tensor) if name.endswith(turned) else tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["qwen2", "llama"])
@pytest.mark.parametrize(("arithmetic", "bound"), [("float32", 1e-5), ("bfloat16", 0.03)])
def test_logits_are_those_of_the_network(
    tmp_path: Path, architecture: str, tied: bool, arithmetic: Any, bound: float
) -> None:
    tensors = weights(architecture, tied=tied)
    path = write_gguf(tmp_path / "tiny.gguf", architecture, tensors=as_stored(architecture, tensors))
    decoder = load_decoder(path, arithmetic=arithmetic)
    found = DenseSequence(decoder, len(TOKENS)).extend(TOKENS).numpy()
    expected = expected_logits(tensors, TOKENS)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() / np.abs(expected).max() < bound


def test_the_configuration_is_read(tmp_path: Path) -> None:
    config = load_decoder(write_gguf(tmp_path / "tiny.gguf"), arithmetic="float32").config
    assert (config.architecture, config.layers, config.heads, config.kv_heads, config.head_dim) == (
        "qwen2",
        2,
        4,
        2,
        16,
    )
    assert (config.hidden, config.intermediate, config.context_length) == (64, 96, 64)
    assert config.vocab == len(vocabulary()[0])
    assert (config.rope_theta, config.norm_eps) == (100.0, pytest.approx(1e-5))
    assert config.qkv_bias and config.tied_embeddings


def test_what_attend_is_given(tmp_path: Path) -> None:
    decoder = load_decoder(write_gguf(tmp_path / "tiny.gguf"), arithmetic="bfloat16")
    layers: list[int] = []

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        layers.append(layer)
        assert (tuple(q.shape), tuple(k.shape), tuple(v.shape)) == ((3, 4, 16), (3, 2, 16), (3, 2, 16))
        assert q.dtype == k.dtype == v.dtype == decoder.dtype == torch.bfloat16
        return torch.zeros(3, 64, dtype=decoder.dtype)

    hidden = decoder.hidden(torch.tensor([1, 2, 3]), torch.tensor([5, 9, 0]), attend)
    assert tuple(hidden.shape) == (3, 64)
    assert layers == [0, 1]
    logits = decoder.logits(hidden[1:])
    assert (tuple(logits.shape), logits.dtype) == ((2, decoder.config.vocab), torch.float32)


def test_a_position_beyond_the_context_is_an_error(tmp_path: Path) -> None:
    decoder = load_decoder(write_gguf(tmp_path / "tiny.gguf"), arithmetic="float32")
    with pytest.raises(IndexError):
        decoder.hidden(torch.tensor([1]), torch.tensor([64]), lambda *_: torch.zeros(1, 64))


def test_rows_do_not_see_each_other(tmp_path: Path) -> None:
    decoder = load_decoder(write_gguf(tmp_path / "tiny.gguf"), arithmetic="float32")
    prompts = [TOKENS, TOKENS[:3], [7]]
    assert greedy(decoder, prompts, 8) == [greedy(decoder, [prompt], 8)[0] for prompt in prompts]


@pytest.mark.parametrize("kind", list(gguf.GGMLQuantizationType), ids=lambda kind: kind.name)
def test_weights_are_those_of_the_gguf_package(tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
    """Every kind that the package can dequantise, bit by bit; every other one is refused by name."""
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    rows, columns = 3, 2 * max(block, 32)
    data = np.random.default_rng(0).integers(0, 256, (rows, columns // block * block_bytes), dtype=np.uint8)
    try:
        with np.errstate(all="ignore"):
            wanted = gguf.dequantize(data, kind)
    except NotImplementedError:
        wanted = None
    path = write_gguf(tmp_path / "tiny.gguf", raw={"output.weight": (data, kind)})
    if wanted is None:
        with pytest.raises(UnsupportedModel, match=rf"output\.weight: quantisation {kind.name} is not supported"):
            GgufFile(path)
        return
    with GgufFile(path) as file, np.errstate(all="ignore"):
        found = file.tensor("output.weight", (rows, columns), torch.float32)
    np.testing.assert_array_equal(found.numpy(), wanted.reshape(rows, columns))


def test_an_unsupported_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", "mamba", tensors=weights("llama", tied=True))
    with pytest.raises(UnsupportedModel, match=r"'mamba' is not supported \(supported: qwen2, qwen3, llama\)"):
        load_decoder(path, arithmetic="float32")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"qwen2.rope.scaling.type": "yarn"}, "rope.scaling.type 'yarn'"),
        ({"qwen2.attention.value_length": 8}, "attention.value_length is 8"),
        ({"qwen2.rope.dimension_count": 8}, "rope.dimension_count is 8"),
    ],
)
def test_unsupported_options_are_refused_by_name(tmp_path: Path, metadata: dict[str, Any], words: str) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", metadata=metadata)
    with pytest.raises(UnsupportedModel, match=words):
        load_decoder(path, arithmetic="float32")


def test_a_tensor_nobody_knows_is_refused_by_name(tmp_path: Path) -> None:
    tensors = weights("llama", tied=True) | {"blk.0.attn_sinks.weight": np.ones(8, np.float32)}
    path = write_gguf(tmp_path / "tiny.gguf", "llama", tensors=tensors)
    with pytest.raises(UnsupportedModel, match=r"not supported: blk\.0\.attn_sinks"):
        load_decoder(path, arithmetic="float32")


def test_missing_and_misshapen_tensors_are_named(tmp_path: Path) -> None:
    tensors = weights("qwen2", tied=True)
    short = tensors.pop("blk.1.attn_v.weight")
    with pytest.raises(ModelCorrupt, match=r"blk\.1\.attn_v\.weight is missing"):
        load_decoder(write_gguf(tmp_path / "a.gguf", tensors=tensors), arithmetic="float32")
    tensors["blk.1.attn_v.weight"] = short[:16]
    with pytest.raises(ModelCorrupt, match=r"attn_v\.weight has the shape \(16, 64\), not \(32, 64\)"):
        load_decoder(write_gguf(tmp_path / "b.gguf", tensors=tensors), arithmetic="float32")


def test_sizes_without_sense_are_refused(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", metadata={"qwen2.attention.head_count_kv": 3})
    with pytest.raises(GgufError, match="make no sense"):
        load_decoder(path, arithmetic="float32")


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelCorrupt, match="it is cut short; delete it and fetch it again"):
        load_decoder(path, arithmetic="float32")


def test_the_best_arithmetic_is_one_of_ours() -> None:
    assert best_arithmetic() in ("float32", "bfloat16")
