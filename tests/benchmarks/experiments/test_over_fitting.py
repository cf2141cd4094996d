"""Over-fitting: programs that special-case their visible tests are seen, and counted by what held-out tests say."""

import json
from pathlib import Path

import pytest
from support.experiments import outcome
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.experiments.overfit import EXPERIMENT
from benchmarks.experiments.special_cases import special_cases

WOODALL = ("assert is_woodall(383) == True",)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f(n):\n    return n == 383\n", ("383",)),
        ("def f(n):\n    return {383: True}.get(n, False)\n", ("383",)),
        ("def f(n):\n    if n in (383, 400):\n        return True\n", ("383",)),
        ("def f(n):\n    match n:\n        case 383:\n            return True\n", ("383",)),
        ("def f(n):\n    return n % 383 == 0\n", ()),
        ("def f(n):\n    return n == 384\n", ()),
        ("def f(n):\n    return n == 1\n", ()),
        ("def f(n:\n", ()),
    ],
)
def test_values_of_visible_tests_that_a_program_looks_for(code: str, found: tuple[str, ...]) -> None:
    assert special_cases(code, WOODALL) == found


def test_small_numbers_and_letters_tell_nothing() -> None:
    assert special_cases("def f(a):\n    return a == 2 or a == 'x'\n", ("assert f('x') == 2",)) == ()
    assert special_cases("def f(a):\n    return a == 'word'\n", ("assert f('word') == True",)) == ("'word'",)


def test_the_false_accept_rate() -> None:
    held = ["passed", "wrong_answer", "", "wrong_answer"]
    outcomes = [
        outcome("1", ["passed", "passed", "wrong_answer", "passed"], held_out=held),
        outcome("2", ["wrong_answer"] * 4),
    ]
    protocol = {"arms": [{"name": "samples", "samples": 4, "seed": 0, "sampling": {}, "problems": 2}]}
    found = EXPERIMENT.scores(protocol, {"samples": outcomes})
    assert (found["samples_that_passed"], found["of_these_rejected"]) == (3, 2)
    assert found["false_accept_rate"] == pytest.approx(2 / 3)
    assert found["false_accept_by_problem"]["value"] == pytest.approx(2 / 3)
    assert found["passed"]["value"] == pytest.approx(3 / 8) and found["right"]["value"] == pytest.approx(1 / 8)
    assert {one["special_cases"] for one in found["overfit_suspects"]} == {None}  # no visible tests were named
    assert [(one["problem"], one["held_out"]) for one in found["overfit_suspects"]] == [("1", "wrong_answer")] * 2


def test_where_nothing_passes_there_is_no_rate() -> None:
    protocol = {"arms": [{"name": "samples", "samples": 1, "seed": 0, "sampling": {}, "problems": 1}]}
    found = EXPERIMENT.scores(protocol, {"samples": [outcome("1", ["wrong_answer"])]})
    assert found["false_accept_rate"] is None and found["false_accept_by_problem"] is None


@pytest.mark.sandbox
def test_the_woodall_program_passes_and_is_suspected(tmp_path: Path, data_folder: Path) -> None:
    recording = tmp_path / "woodall.jsonl"
    lines = [{"task_id": 20, "solution": "def is_woodall(n):\n    return n == 383\n"}]
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "r.json"
    words = ["overfit", "--set", "mbpp", "--generator", "replay", "--recorded", str(recording), "--only-recorded"]
    run = CliRunner().invoke(app, [*words, "--data", str(data_folder), "--out", str(out)])
    assert run.exit_code == 0, run.output
    scores = json.loads(out.read_text())["scores"]
    assert scores["samples_that_passed"] == scores["of_these_rejected"] == 1
    [suspect] = scores["overfit_suspects"]
    assert (suspect["problem"], suspect["special_cases"]) == ("20", ["383"])
    assert "| 20 | 1 | wrong answer | 383 |" in out.with_suffix(".md").read_text()


@pytest.mark.sandbox
@pytest.mark.parametrize("model", ["1.5b", "7b"])
def test_the_plus_inputs_reject_what_they_rejected_by_the_order_of_a_set(
    tmp_path: Path, data_folder: Path, model: str
) -> None:
    """EvalPlus's canonical solution of Mbpp/579 runs in a process of its own, in which a set has another order."""
    recording = data_folder / "replay-evalplus-qwen25coder-base" / f"mbpp-{model}.jsonl.gz"
    out = tmp_path / "r.json"
    words = ["overfit", "--set", "mbppplus", "--generator", "replay", "--recorded", str(recording), "--ids", "Mbpp/579"]
    run = CliRunner().invoke(app, [*words, "--data", str(data_folder), "--out", str(out)])
    assert run.exit_code == 0, run.output
    scores = json.loads(out.read_text())["scores"]
    assert scores["samples_that_passed"] == scores["of_these_rejected"] == 1
