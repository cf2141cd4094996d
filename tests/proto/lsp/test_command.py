"""`thresher lsp` as a command: it is found, says what it lacks, and the base install stays without it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli import main
from engine.cli.main import app

ROOT = Path(__file__).parents[3]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command as pyproject.toml names it, whatever was installed before."""
    from importlib.metadata import EntryPoint

    named = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][main.GROUP]["lsp"]
    points = [EntryPoint(name="lsp", value=named, group=main.GROUP)]
    monkeypatch.setattr(main, "entry_points", lambda **_: points)


@pytest.mark.usefixtures("found")
def test_the_command_is_found_by_its_entry_point() -> None:
    result = CliRunner().invoke(app, ["lsp", "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for word in ("--address", "--token-file", "--log-file", "Language Server Protocol"):
        assert word in result.stdout


@pytest.mark.usefixtures("found")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--log-level", "loud"], "--log-level: 'loud' is none of error, warning, info, debug"),
        (["--token-file", "/no/such/file"], "--token-file: cannot read /no/such/file"),
    ],
)
def test_wrong_use_is_told(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["lsp", *arguments])
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys\nsys.modules['pygls'] = None\nsys.argv = ['thresher lsp']\n"
        "import typer\nfrom thresher.lsp.command import lsp\ntyper.run(lsp)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr.strip() == "thresher lsp: pygls is not installed; run: pip install 'thresher[lsp]'"


def test_the_language_server_loads_nothing_of_the_server() -> None:
    code = (
        "import sys, thresher.lsp.server\n"
        "print([name for name in ('engine', 'executor', 'kernels', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
