"""The command itself: version, lazy loading, missing extras."""

import subprocess
import sys
from importlib.metadata import EntryPoint, version
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.cli import main
from engine.cli.main import app, missing_package_advice


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"thresher {version('thresher')}\n")


def test_help_lists_the_commands_and_the_exit_codes() -> None:
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for word in ("solve", "exec", "serve", "models", "doctor", "Exit codes: 0 solved"):
        assert word in result.stdout


def test_version_loads_no_command_and_nothing_heavy() -> None:
    code = (
        "import sys\nfrom engine.cli.main import app\n"
        "try:\n    app(['--version'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('grpc', 'torch', 'yaml', 'engine.cli.solve', 'engine.config') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_client_commands_load_neither_torch_nor_the_server() -> None:
    code = (
        "import sys, engine.cli.solve, engine.cli.execute, engine.cli.doctor\n"
        "print([m for m in ('torch', 'msgspec', 'pydantic_settings', 'engine.serving.app') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_missing_package_is_named_with_what_to_install() -> None:
    advice = missing_package_advice(ModuleNotFoundError("no", name="torch.nn"))
    assert advice is not None
    assert "torch is not installed" in advice
    assert "thresher[server]" in advice
    assert missing_package_advice(ModuleNotFoundError("no", name="engine.gone")) is None


def _point(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    points = [EntryPoint(name=name, value=value, group=main.GROUP)]
    monkeypatch.setattr(main, "entry_points", lambda **_: points)


def test_command_of_a_missing_extra_explains_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    _point(monkeypatch, "zap", "no_such_package_at_all:zap")
    fresh: Any = main.typer.Typer(cls=main.CommandsByEntryPoint)
    fresh.callback()(lambda: None)
    result = CliRunner().invoke(fresh, ["zap", "--any", "thing"])
    assert result.exit_code == 3
    assert "no_such_package_at_all is not installed" in result.stderr
    listed = CliRunner().invoke(fresh, ["--help"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0
    assert "zap" in listed.stdout
    assert "pip install 'thresher[server]'" in listed.stdout, "the extra is no markup"


def test_fault_of_ours_is_not_taken_for_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    _point(monkeypatch, "zap", "engine.cli.no_such_module:zap")
    fresh: Any = main.typer.Typer(cls=main.CommandsByEntryPoint)
    fresh.callback()(lambda: None)
    result = CliRunner().invoke(fresh, ["zap"])
    assert isinstance(result.exception, ModuleNotFoundError)
