"""What the front tells of a model before it is loaded: a file that cannot be served is refused, with a way out."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny_gguf import vocabulary, write_gguf
from support.tiny_models import FAMILIES, write_folder

from engine.config import Settings
from engine.config_base import ConfigError
from engine.metrics import Metrics
from engine.models.catalogue import CATALOGUE, DEFAULT_MODEL, check_ahead
from engine.models.errors import ModelCorrupt, UnknownModel, UnsupportedModel
from engine.solving.build import build_solver
from engine.text.errors import ModelFileError
from engine.text.gguf_header import GgufError

TAKE = "take the GGUF file of a whole Qwen2, Qwen2.5-Coder, Qwen3 or Llama model, or a name of `thresher models list`"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of fetched models."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "thresher" / "models"


def test_a_sound_file_and_a_model_that_is_still_to_be_fetched_are_good(tmp_path: Path, cache: Path) -> None:
    check_ahead(str(write_gguf(tmp_path / "tiny.gguf")))
    check_ahead(DEFAULT_MODEL)
    assert not cache.exists()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"metadata": {"general.type": "adapter"}}, UnsupportedModel, "holds an adapter (LoRA), which only changes"),
        ({"metadata": {"general.type": "mmproj"}}, UnsupportedModel, "holds the part of a model that sees images"),
        ({"metadata": {"split.count": 3}}, UnsupportedModel, "is one of 3 parts of a model; join them"),
        ({"architecture": "gemma3"}, UnsupportedModel, "architecture 'gemma3' is not supported (supported: qwen2,"),
        ({"tensors": {}}, UnsupportedModel, "holds no weights"),
    ],
)
def test_what_is_no_model_of_ours_is_named(tmp_path: Path, changes: Any, error: type[Exception], said: str) -> None:
    path = write_gguf(tmp_path / "other.gguf", **{"tensors": None, **changes})
    with pytest.raises(error) as caught:
        check_ahead(str(path))
    assert str(caught.value).startswith(f"{path}: {said}")
    assert TAKE in str(caught.value)


@pytest.mark.parametrize("key", [b"tokenizer.ggml.model", b"tokenizer.ggml.tokens"])
def test_a_file_without_a_tokenizer_is_told_in_words(tmp_path: Path, key: bytes) -> None:
    path = write_gguf(tmp_path / "bare.gguf")
    path.write_bytes(path.read_bytes().replace(key, key[:-1] + b"_"))
    with pytest.raises(GgufError, match="holds no tokenizer, without which no text") as caught:
        check_ahead(str(path))
    assert TAKE in str(caught.value)


def test_a_damaged_file_is_told_before_it_is_loaded(tmp_path: Path, cache: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf")
    data = path.read_bytes()
    assert len(data) > 4096 + len(vocabulary()[0])
    path.write_bytes(data[:-1])
    with pytest.raises(ModelCorrupt, match="it is cut short; delete it and fetch it again"):
        check_ahead(str(path))
    path.write_bytes(data[:4096])
    with pytest.raises(GgufError, match="cut short"):
        check_ahead(str(path))
    path.write_bytes(b"PK\x03\x04" + data[4:])
    with pytest.raises(GgufError, match="is no GGUF file; name one, or a model of `thresher models list`"):
        check_ahead(str(path))
    cache.mkdir(parents=True)
    (cache / CATALOGUE[DEFAULT_MODEL].file).write_bytes(data)
    with pytest.raises(ModelCorrupt, match=f"thresher models rm {DEFAULT_MODEL}"):
        check_ahead(DEFAULT_MODEL)
    with pytest.raises(UnknownModel, match="neither in the catalogue nor a file"):
        check_ahead("no-such-model")


def folder_model(folder: Path, **config: Any) -> Path:
    """A Hugging Face folder in three shards, with a file in the tokenizer's place."""
    write_folder(folder, FAMILIES["llama"], shards=3, config=config)
    (folder / "tokenizer.json").write_text("{}")
    return folder


def refused(folder: Path) -> str:
    with pytest.raises((ModelCorrupt, ModelFileError, UnknownModel, UnsupportedModel)) as caught:
        check_ahead(str(folder))
    return str(caught.value)


def test_a_sound_folder_is_good(tmp_path: Path) -> None:
    check_ahead(str(folder_model(tmp_path / "tiny")))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model-00002-of-00003.safetensors"])
def test_a_file_that_a_folder_lacks_is_named(tmp_path: Path, name: str) -> None:
    folder = folder_model(tmp_path / "tiny")
    (folder / name).unlink()
    said = refused(folder)
    assert name in said and str(folder) in said


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_shard_that_is_cut_short_is_named(tmp_path: Path, kept: int) -> None:
    shard = folder_model(tmp_path / "tiny") / "model-00003-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:kept])
    said = refused(shard.parent)
    assert said.startswith(f"{shard}: ")
    assert said.endswith("it is damaged or cut short; delete it and fetch it again")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json"])
def test_a_file_of_a_folder_that_is_no_json_is_named(tmp_path: Path, name: str) -> None:
    folder = folder_model(tmp_path / "tiny")
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1")
    said = refused(folder)
    assert said.startswith(f"{folder / name}: is no JSON")


def test_a_folder_without_weights_says_what_is_wanted(tmp_path: Path) -> None:
    folder = folder_model(tmp_path / "tiny")
    (folder / "model.safetensors.index.json").unlink()
    assert "holds neither model.safetensors nor model.safetensors.index.json" in refused(folder)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "architecture ['MambaForCausalLM'] is not supported"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised weights (awq) are not supported"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope_type 'yarn' is not supported"),
    ],
)
def test_a_folder_that_is_no_model_of_ours_is_told_ahead(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    folder = folder_model(tmp_path / "tiny", **config)
    assert refused(folder).startswith(f"{folder / 'config.json'}: {said}")


def test_the_front_refuses_it_before_there_is_a_server(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "other.gguf", "gemma3", tensors={})
    settings = Settings.model_validate({"models": {"serve": [str(path)]}})
    executor: Any = None  # it is not asked for anything
    with pytest.raises(ConfigError, match=r"models.serve: .*architecture 'gemma3' is not supported"):
        build_solver(settings, Metrics(), executor)


@pytest.mark.parametrize("write", [lambda at: write_gguf(at / "tiny.gguf"), folder_model], ids=["gguf", "folder"])
def test_looking_at_a_head_loads_no_torch(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    code = f"import sys; from engine.models.catalogue import check_ahead; check_ahead({str(path)!r})"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'torch' not in sys.modules"], check=True, timeout=120)


@pytest.mark.slow
def test_the_command_exits_with_the_words_before_it_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    path = write_gguf(tmp_path / "tiny.gguf")
    path.write_bytes(path.read_bytes()[:-1])
    words = [sys.executable, "-m", "engine.cli.main", "serve", "--model", str(path), "--log-format", "json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    first, last = map(json.loads, done.stderr.splitlines())
    assert (first["event"], first["models"]) == ("starting", [str(path)])
    assert last["event"] == "cannot serve" and "it is cut short" in last["error"]
