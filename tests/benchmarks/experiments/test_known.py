"""`make bench-replay`: known answers are compared value by value, and a few of the quick ones are run."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.data import load
from benchmarks.experiments import known
from benchmarks.experiments.known import KNOWN, Known, differences, run, value_at

ONE = Known(
    name="one", command="mbpp", equal={"scores.samples.solved": 3}, at_most={"cost.run": 5}, at_least={"cost.run": 1}
)


def result(solved: Any = 3, run: int = 5, *, complete: bool = True) -> dict[str, Any]:
    return {"complete": complete, "scores": {"samples": {"solved": solved}}, "cost": {"run": run}}


def test_a_result_that_is_as_known_has_no_difference() -> None:
    assert differences(ONE, result()) == differences(ONE, result(run=1)) == []


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (result(4), "scores.samples.solved is 4, and must be 3"),
        (result(run=6), "cost.run is 6, and must be 5 at most"),
        (result(run=0), "cost.run is 0, and must be 1 at least"),
        (result(complete=False), "is not complete"),
        ({"complete": True}, "scores.samples.solved is None"),
    ],
)
def test_what_differs_is_told(found: dict[str, Any], says: str) -> None:
    assert any(says in line for line in differences(ONE, found))


def test_a_value_by_its_place() -> None:
    assert value_at({"a": {"b": [1]}}, "a.b") == [1]
    assert value_at({"a": {"b": 1}}, "a.b.c") is value_at({}, "a") is None


def test_every_known_answer_is_a_command_of_ours_and_has_a_name_of_its_own() -> None:
    assert len({one.name for one in KNOWN}) == len(KNOWN) >= 20
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for one in KNOWN:
        words = shlex.split(one.command)
        assert words[0] in commands and (one.equal or one.at_most), one.name


def test_a_run_that_fails_is_a_difference(tmp_path: Path) -> None:
    [line] = run(ONE, tmp_path / "nowhere", tmp_path)
    assert line.startswith("one: exit code 2")


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["known", "--list", "--only", "codegen-16b"])
    known.main()
    assert capsys.readouterr().out.startswith("codegen-16b: thresher bench curve --set humaneval")


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "name",
    [
        "mbpp-edited-references",
        "prediction-references",
        "cruxeval-o-1.5b",
        "cruxeval-o-7b",
        "mathqa-references",
        "humaneval-starcoder",
        "humaneval-starcoder-alone",
        "humaneval-gpt-4",
        "false-accepts-humaneval-1.5b",
        "false-accepts-humaneval-7b",
    ],
)
def test_known_answers_come_again(tmp_path: Path, data_folder: Path, name: str) -> None:
    [one] = [one for one in KNOWN if one.name == name]
    assert run(one, data_folder, tmp_path) == []


@pytest.mark.sandbox
def test_one_sample_set_by_two_commands(tmp_path: Path, data_folder: Path) -> None:
    # Recordings that leave out a problem are not scored for less than they claim.
    words = ["prediction", "--generator", "replay", "--recorded"]
    answers = tmp_path / "answers.json"
    answers.write_text('{"sample_0": ["1"]}')
    few = CliRunner().invoke(app, [*words, str(answers), "--data", str(data_folder), "--out", str(tmp_path / "r.json")])
    assert few.exit_code == 2 and "for 399 of 400 problems" in " ".join(few.output.split())


@pytest.mark.sandbox
def test_a_program_of_mathqa_without_an_answer_is_wrong_and_ends_nothing(tmp_path: Path, data_folder: Path) -> None:
    [right] = [one for one in load("mathqa-python", data=data_folder).records if one.id == "test/0"]
    codes = ["n0 = 5.0\n", "raise ValueError\n", "answer = None\n", "answer = 'x'\n", right.references[0]]
    recording = tmp_path / "programs.jsonl"
    recording.write_text("".join(json.dumps({"task_id": "test/0", "solution": code}) + "\n" for code in codes))
    words = ["mathqa", "--generator", "replay", "--recorded", str(recording), "--only-recorded", "--data"]
    done = CliRunner().invoke(app, [*words, str(data_folder), "--out", str(tmp_path / "r.json")])
    assert done.exit_code == 0, done.output
    [line] = json.loads((tmp_path / "r.json").read_text())["problems"]["samples"]
    assert (line["samples"], line["passed"]) == (5, 1)
