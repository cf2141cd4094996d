import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.models.catalogue import CATALOGUE, DEFAULT_MODEL, cache_folder, fetch, resolve
from engine.models.errors import UnknownModel
from engine.models.store import State, state_of


def test_entries_are_complete() -> None:
    assert DEFAULT_MODEL == "qwen2.5-coder-0.5b-instruct"
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert entry.size > 1 << 20 and entry.licence and entry.file.endswith(".gguf")
        assert entry.hub is None or re.fullmatch(r"[0-9a-f]{40}", entry.hub.revision)
        assert entry.hub is not None or entry.parts
        assert not entry.parts or sum(part.size for part in entry.parts) == entry.size


def test_the_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "thresher" / "models"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for value in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == tmp_path / "home" / ".cache" / "thresher" / "models"


def test_a_name_or_a_path(tmp_path: Path) -> None:
    assert resolve("smollm2-135m-instruct") is CATALOGUE["smollm2-135m-instruct"]
    file = tmp_path / "own.gguf"
    file.touch()
    assert resolve(str(file)) == file
    assert fetch(str(file)) == file
    with pytest.raises(
        UnknownModel, match=r"'gpt-5' is neither in the catalogue nor a file; the catalogue has: qwen2\.5"
    ):
        resolve("gpt-5")
    with pytest.raises(UnknownModel, match=r"is a folder without config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").touch()
    assert resolve(str(tmp_path)) == tmp_path


def test_names_need_neither_torch_nor_the_hub() -> None:
    code = (
        "import sys, engine.models.catalogue, engine.text.tokenizer, engine.text.chat, engine.text.stops\n"
        "import engine.text.extract, engine.text.normalise\n"
        "print([m for m in ('torch', 'grpc', 'huggingface_hub', 'gguf', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.model
@pytest.mark.parametrize("name", list(CATALOGUE))
def test_fetched_models_are_in_the_cache(name: str) -> None:
    path = fetch(name)
    assert path.parent == cache_folder()
    assert state_of(CATALOGUE[name], cache_folder()) is State.READY
