"""Every example of docs/client.md runs."""

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import thresher.client
from support.fake_server import PROGRAM, FakeServer
from thresher.client import Attempt, Result
from thresher.client.runtime import RuntimeInfo, write_runtime_file

PAGE = (Path(__file__).parents[3] / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """The server that runs here, as far as clients can see."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("THRESHER_ADDRESS", raising=False)
    with FakeServer(tmp_path / "s.sock") as fake:
        write_runtime_file(RuntimeInfo(fake.address, os.getpid()))
        yield fake


def test_the_examples_run_one_after_the_other(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(compile(example, "docs/client.md", "exec"), namespace)  # noqa: S102
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert PROGRAM.splitlines()[0] in lines
    assert [line for line in lines if line == "solved"] == ["solved"] * 3
    assert "1 of 1" in lines
    assert {"0 1", "1 1", "2 1"} <= set(lines)
    assert "StatusCode.UNAVAILABLE" in lines[-1]
    assert len(server.programs) == 4
    assert [spec.sampling.k for spec in server.specs[:3]] == [16, 8, 4]


def test_the_tables_name_what_there_is() -> None:
    told = set(re.findall(r"`(\w+)`", PAGE))
    assert {one.name for one in dataclasses.fields(Attempt)} <= told
    properties = {name for name, value in vars(Result).items() if isinstance(value, property)}
    assert properties | {"attempts", "summary", "spec"} <= told
    functions = {name for name in thresher.client.__all__ if name[0].islower()}
    assert functions - {"load_document", "parse_document", "to_plain", "solve_spec", "program"} <= told
