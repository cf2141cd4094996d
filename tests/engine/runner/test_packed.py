"""Packed weights on disk: the second start takes them, and whatever changed makes them anew."""

import os
import shutil
from pathlib import Path
from typing import cast

import pytest
import torch
from support.dense_attention import DenseSequence
from support.tiny_models import FAMILIES, write_folder, write_gguf_model

from engine.models.decoder import Decoder
from engine.runner import arithmetic
from engine.runner.arithmetic import load_decoder
from engine.text.tokenizer import Tokenizer
from kernels.cpu.launch import has_vnni

pytestmark = pytest.mark.skipif(not has_vnni(), reason="this processor has no AVX512_VNNI")


class Model:
    """A tiny model with its packed file, and how often it was packed."""

    def __init__(self, folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.packed = folder / "packed" / "tiny.safetensors"
        self.packings = 0
        make = arithmetic._pack  # pyright: ignore[reportPrivateUsage]

        def counted(path: Path, tokenizer: Tokenizer) -> Decoder:
            self.packings += 1
            return make(path, tokenizer)

        monkeypatch.setattr(arithmetic, "_pack", counted)

    def logits(self) -> torch.Tensor:
        decoder = load_decoder(self.path, arithmetic="int8", tokenizer=cast(Tokenizer, Letters()), packed=self.packed)
        with torch.inference_mode():
            return DenseSequence(decoder, 100).extend(list(range(3, 60)))


class Letters:
    """A tokenizer for models that have none: a text's bytes."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        return list(text.encode())


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    return Model(tmp_path, write_gguf_model(tmp_path / "tiny.gguf", FAMILIES["qwen3"]), monkeypatch)


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_the_second_start_takes_what_the_first_has_packed(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(tmp_path, write_gguf_model(tmp_path / "tiny.gguf", FAMILIES[family]), monkeypatch)
    first = model.logits()
    assert model.packed.exists()
    assert torch.equal(model.logits(), first)
    assert model.packings == 1


def test_another_model_under_the_same_path_is_packed_anew(model: Model) -> None:
    model.logits()
    os.utime(model.path, ns=(1, 1))
    model.logits()
    assert model.packings == 2


@pytest.mark.parametrize("keep", [5, -1])
def test_a_damaged_file_is_made_anew(model: Model, keep: int) -> None:
    first = model.logits()
    content = model.packed.read_bytes()
    model.packed.write_bytes(content[:keep])
    assert torch.equal(model.logits(), first)
    assert model.packings == 2
    assert model.packed.read_bytes() == content


def test_a_folder_is_packed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(tmp_path, write_folder(tmp_path / "tiny", FAMILIES["llama"], shards=2), monkeypatch)
    assert torch.equal(model.logits(), model.logits())
    assert model.packings == 1


def test_no_room_and_no_right_to_write_cost_only_time(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(model.path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    model.logits()
    assert list(model.packed.parent.iterdir()) == []
    monkeypatch.undo()
    model.packed = model.path / "no folder" / "tiny.safetensors"
    model.logits()


def test_what_was_packed_of_a_model_that_is_gone_goes(model: Model) -> None:
    model.logits()
    gone = model.packed
    other = model.path.with_name("other.gguf")
    model.path.rename(other)
    model.path, model.packed = other, gone.with_name("other.safetensors")
    model.logits()
    assert list(gone.parent.iterdir()) == [model.packed]
