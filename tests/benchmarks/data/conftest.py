"""Places for problem sets: the published ones, which may be absent, and empty ones of a test's own."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.dataset_hub import use_hub


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with the public problem sets."""
    path = os.environ.get("THRESHER_DATA")
    if not path or not Path(path).is_dir():
        pytest.skip("THRESHER_DATA does not name the folder with the problem sets")
    return Path(path)


@dataclass(frozen=True)
class Places:
    """Folders where sets are looked for; all are empty."""

    given: Path
    named: Path
    cache: Path


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """No set is to be found: not in THRESHER_DATA, not in the cache, and no hub answers."""
    found = Places(given=tmp_path / "given", named=tmp_path / "named", cache=tmp_path / "thresher" / "data")
    for folder in (found.given, found.named, found.cache):
        folder.mkdir(parents=True)
    monkeypatch.setenv("THRESHER_DATA", str(found.named))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    use_hub(monkeypatch, "http://127.0.0.1:9")  # the port that discards
    return found
