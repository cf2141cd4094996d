"""A server that does what it is told, a problem file, and no settings of the person who runs the tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_server import FakeServer

from tests.support.command_line import PROBLEM


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(tmp_path / "s.sock") as fake:
        yield fake


@pytest.fixture
def no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("THRESHER_ADDRESS", "THRESHER_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def problem(tmp_path: Path) -> str:
    path = tmp_path / "problem.yaml"
    path.write_text(PROBLEM)
    return str(path)
