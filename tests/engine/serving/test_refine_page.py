"""docs/refine.md: its examples run against a server, its commands are accepted, and it names what there is."""

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from thresher.client import RefineSession, Turn
from typer.testing import CliRunner

from engine.cli.main import app
from engine.config_sessions import SessionSettings
from tests.support.fake_server import FakeServer, unsolved_events
from tests.support.refine_talk import failing_until
from tests.support.scripted_solver import ScriptedSolver
from tests.support.served import serving

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "refine.md").read_text(encoding="utf-8")


async def test_the_examples_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    async with serving(ScriptedSolver(failing_until(2))):
        for example in examples:
            await asyncio.to_thread(exec, compile(example, "docs/refine.md", "exec"), names)
    assert "True 3" in capsys.readouterr().out.splitlines()
    assert '"outcome": "solved"' in names["text"]


def test_the_commands_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = re.findall(r"^thresher solve .*$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    monkeypatch.chdir(ROOT)
    with FakeServer(tmp_path / "s.sock") as server:
        server.events = unsolved_events
        monkeypatch.setenv("THRESHER_ADDRESS", server.address)
        for command in commands:
            result = CliRunner().invoke(app, shlex.split(command, comments=True)[1:])
            assert result.exit_code == 1, result.stderr


def test_it_names_what_there_is() -> None:
    told = set(re.findall(r"`(?:\w+\.)?(\w+)[`(]", PAGE))
    methods = {name for name, value in vars(RefineSession).items() if callable(value) and not name.startswith("_")}
    assert methods - {"hear", "transcript"} <= told
    assert "session.transcript()" in PAGE
    assert {"number", "outcome", "candidates", "summary", "added"} <= told & set(Turn.__slots__)
    assert set(SessionSettings.model_fields) - {"max_turns"} <= set(re.findall(r"`sessions\.(\w+)`", PAGE))
