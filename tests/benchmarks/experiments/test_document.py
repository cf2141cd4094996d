"""docs/experiments.md: every command runs, in its order, and writes what the page says it writes.

Those that would ask a model get samples of the synthetic generator instead, and few problems.
"""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.experiments.generators import Kind

PAGE = (Path(__file__).parents[3] / "docs" / "experiments.md").read_text()
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
OF_MODELS = {"--greedy": 1, "--temperature": 2, "--end": 2, "--prompt": 2, "--tests-in-prompt": 2}
"""Options that mean nothing to the synthetic generator, and how many words they are."""


def without_a_model(words: list[str]) -> list[str]:
    """The same command for the synthetic generator, over few problems with few samples."""
    if words[0] == "report" or "--print-prompt" in words:
        return words
    left = list(words)
    if "--generator" not in words:
        for option, count in OF_MODELS.items():
            if option in left and not (words[0] == "sweep" and option == "--temperature"):
                place = left.index(option)
                del left[place : place + count]
        left += ["--generator", "synthetic", "--p", "0.3"]
    if "--problems" in left:
        left[left.index("--problems") + 1] = "3"
    elif "--only-recorded" not in left:
        left += ["--problems", "3"]
    return left


def test_every_command_of_the_page_is_one_of_ours() -> None:
    assert len(COMMANDS) >= 12
    assert all(words[:2] == ["thresher", "bench"] for words in COMMANDS)
    named = {words[2] for words in COMMANDS}
    assert named == {"humaneval", "mbpp", "curve", "sweep", "report"}


def test_the_page_names_every_generator() -> None:
    table = re.findall(r"^\| `(\w+)`", PAGE.split("## Where samples come from")[1].split("## ")[0], re.MULTILINE)
    assert table == [kind.value for kind in Kind]


@pytest.mark.sandbox
def test_the_commands_of_the_page(tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_DATA", str(data_folder.resolve()))
    monkeypatch.chdir(tmp_path)
    for words in COMMANDS:
        run = CliRunner().invoke(app, without_a_model(words[2:]))
        assert run.exit_code == 0, (words, run.output)
        if "--out" in words:
            out = Path(words[words.index("--out") + 1])
            assert all(out.with_suffix(ending).is_file() for ending in (".json", ".jsonl", ".md", ".html"))
            assert json.loads(out.read_text())["complete"]
    first, again = (json.loads(Path(f"results/{name}.json").read_text()) for name in ("synthetic", "again"))
    assert first["scores"]["samples"]["solved"] == again["scores"]["samples"]["solved"]
