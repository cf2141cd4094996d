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
OF_MODELS = {"--greedy": 1, "--temperature": 2, "--end": 2, "--prompt": 2, "--tests-in-prompt": 2, "--beams": 2}
"""Options that mean nothing to the synthetic generator, and how many words they are."""
ABOUT_MODELS = ("sizes", "ways", "repair")
"""Commands that draw from a model or not at all; test_with_a_model runs them."""
BLOCKS = (
    "has_close_elements([1.0, 2.0], 0.5) == False\nassert has_close_elements([1.0, 1.1], 0.5) == True\n",
    "separate_paren_groups('() (())') == ['()', '(())']\n",
    "truncate_number(3.5) == 0.5\n",
)
"""Generated tests of the first three problems, as a model writes them."""
WRITTEN = Path("results") / "selection-tests.jsonl"
"""Where the page's selection leaves the tests that a model wrote (test_generated_tests draws some)."""
CONTESTS = ("abc318_a", "abc323_a")
"""Two problems of September and October 2023."""
FEWER = {"--total-k": "15", "--problems": "3"}


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
    if "--generate-tests" in left:
        place = left.index("--generate-tests")
        left[place : place + 2] = ["--tests", str(WRITTEN)]
    for option, value in FEWER.items():
        if option in left:
            left[left.index(option) + 1] = value
    if left[0] == "apps":  # of which only five problems here have references
        return [*left, "--ids", "train/4184"]
    if left[0] == "contests":  # of which none has one
        place = left.index("--generator")
        return [*left[:place], "--generator", "replay", "--recorded", "contests.jsonl", "--only-recorded"]
    return left if {"--problems", "--recorded"} & set(left) else [*left, "--problems", "3"]


def test_every_command_of_the_page_is_one_of_ours() -> None:
    assert len(COMMANDS) >= 12
    assert all(words[:2] == ["thresher", "bench"] for words in COMMANDS)
    named = {words[2] for words in COMMANDS}
    assert named == {
        "humaneval",
        "mbpp",
        "edited",
        "prompt-tests",
        "ensemble",
        "apps",
        "contests",
        "mathqa",
        "prediction",
        "curve",
        "sweep",
        "sizes",
        "ways",
        "repair",
        "give-up",
        "overfit",
        "selection",
        "report",
    }


def test_the_page_names_every_generator() -> None:
    table = re.findall(r"^\| `(\w+)`", PAGE.split("## Where samples come from")[1].split("## ")[0], re.MULTILINE)
    assert table == [kind.value for kind in Kind]


@pytest.mark.sandbox
def test_the_commands_of_the_page(tmp_path: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THRESHER_DATA", str(data_folder.resolve()))
    monkeypatch.chdir(tmp_path)
    blocks = [{"task_id": f"HumanEval/{number}", "samples": [BLOCKS[number]]} for number in range(3)]
    WRITTEN.parent.mkdir()
    WRITTEN.write_text("".join(json.dumps(block) + "\n" for block in blocks))
    contest = [{"task_id": f"{letter}", "samples": ["print(input())"] * 10} for letter in CONTESTS]
    Path("contests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in contest))
    for words in (words for words in COMMANDS if words[2] not in ABOUT_MODELS):
        run = CliRunner().invoke(app, without_a_model(words[2:]))
        assert run.exit_code == 0, (words, run.output)
        if "--out" in words:
            out = Path(words[words.index("--out") + 1])
            assert all(out.with_suffix(ending).is_file() for ending in (".json", ".jsonl", ".md", ".html"))
            assert json.loads(out.read_text())["complete"]
    first, again = (json.loads(Path(f"results/{name}.json").read_text()) for name in ("synthetic", "again"))
    assert first["scores"]["samples"]["solved"] == again["scores"]["samples"]["solved"]
