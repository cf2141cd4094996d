"""Generated tests as they are read, behaviour as it is kept, and selection over both arms."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.experiments import ADD, outcome

from benchmarks.experiments.errors import CannotRun, NotCountable
from benchmarks.experiments.experiment import Draw
from benchmarks.experiments.judging import ExecutorJudge
from benchmarks.experiments.outcome import Candidate, Outcome
from benchmarks.experiments.programs import References
from benchmarks.experiments.selection import BEHAVIOUR, EXPERIMENT, OWN
from benchmarks.experiments.selection_tasks import digest, example_of, generated, read_blocks, task
from benchmarks.experiments.sources import ProgramsSource

DECIDING = {"prompt": "Write add(a, b).", "entry_point": "add", "tests": list(ADD.visible)}


@pytest.mark.parametrize(
    ("test", "arguments", "value"),
    [
        ("assert add(1, 2) == 3", (1, 2), 3),
        ("assert add(1,\n    2) == 3, 'a reason'", (1, 2), 3),
        ("assert add('a', 'b') == 'ab'\nif x:", ("a", "b"), "ab"),
        ("assert not add(0, 0)", (0, 0), False),
        ("assert add(1, 0)", (1, 0), True),
        ("assert add(1, 0) is True", (1, 0), True),
    ],
)
def test_literal_calls_are_read(test: str, arguments: tuple[Any, ...], value: Any) -> None:
    found = example_of(test, "add")
    assert found is not None and (found.arguments, found.value) == (arguments, value)


@pytest.mark.parametrize(
    "test",
    [
        "assert other(1) == 2",
        "assert add(x, 2) == 3",
        "assert add(1, 2) == add(2, 1)",
        "assert add(a=1, b=2) == 3",
        "assert add(1, 2) != 3",
        "assert add(1, 2) == ",
        "assert",
        "print(add(1, 2))",
    ],
)
def test_others_are_left(test: str) -> None:
    assert example_of(test, "add") is None


def test_of_each_block_the_first_five_are_taken_and_each_is_there_once() -> None:
    block = "add(0, 0) == 0\nassert " + "\nassert ".join(f"add({one}, 1) == {one + 1}" for one in range(9))
    found = generated([block, block, " add(0, 1) == 1\n"], "add")
    assert [(one.arguments, one.value) for one in found] == [((0, 0), 0), *(((one, 1), one + 1) for one in range(4))]


@given(st.recursive(st.integers() | st.text() | st.booleans(), lambda one: st.lists(one, max_size=3), max_leaves=6))
def test_equal_values_have_equal_digests(value: Any) -> None:
    assert digest(value) == digest(value)
    if isinstance(value, list):
        assert digest(value) == digest(tuple(value))
    assert digest([value]) != digest([value, value])


def test_numbers_are_equal_as_python_finds_them() -> None:
    assert digest(1) == digest(1.0) == digest(True) != digest("1")
    assert digest({1, 2}) == digest({2, 1}) and digest({"a": 1}) == digest({"a": 1.0}) != digest({"a": 2})


def test_a_file_that_holds_no_blocks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blocks.jsonl"
    path.write_text(json.dumps({"task_id": "1", "samples": ["a"]}) + "\n")
    assert read_blocks(path).texts == {"1": ["a"]}
    for bad in ('{"samples": ["a"]}', '["a"]', "nothing"):
        path.write_text(bad)
        with pytest.raises(CannotRun, match="cannot be read as blocks of tests"):
            read_blocks(path)


@pytest.mark.sandbox
async def test_programs_are_run_on_the_inputs_and_compared_with_the_tests() -> None:
    tests = generated(
        ["add(1, 2) == 3\nassert add(1, 2) == 4\nassert add('a', 'b') == 'ab'\nassert add([], 1) == 0"], "add"
    )
    made = task(ADD, DECIDING, tests[:1], tests[1:])
    async with ProgramsSource(References(), ExecutorJudge(slots=1)) as source:
        [candidate] = (await source.outcome(made, Draw(samples=1))).candidates
    assert candidate.tests == ("passed", "wrong_answer", "passed", "wrong_answer")
    assert candidate.values == (digest(3), digest("ab"), "!runtime_error")
    assert candidate.verdict == "wrong_answer"


def protocol(**visible: int) -> dict[str, Any]:
    arms = [{"name": name, "samples": 3, "seed": 0, "sampling": {}, "problems": 1} for name in ("samples", BEHAVIOUR)]
    return {"arms": arms, "ks": [1, 2], "visible_used": visible, "generated_tests_copied": {"a": []}}


def behaviour(codes: list[str], values: list[str], tests: list[str]) -> Outcome:
    candidates = tuple(
        Candidate(
            code=code,
            samples=(place,),
            verdict="wrong_answer",
            values=tuple(value),
            tests=tuple("passed" if one == "+" else "wrong_answer" for one in test),
        )
        for place, (code, value, test) in enumerate(zip(codes, values, tests, strict=True))
    )
    return Outcome(id="a", asked=3, finished=3, candidates=candidates)


def test_selection_sees_the_deciding_tests_only_in_its_score() -> None:
    truth = outcome("a", ["wrong_answer", "passed", "passed"])
    codes = [one.code for one in truth.candidates]
    ran = behaviour(codes, ["x", "y", "y"], ["+-", "-+", "-+"])
    found = EXPERIMENT.scores(protocol(a=0), {"samples": [truth], BEHAVIOUR: [ran]})
    assert found["choices"]["random"]["value"] == pytest.approx(2 / 3)
    assert found["choices"]["majority"]["value"] == found["choices"]["codet"]["value"] == 1
    assert found["oracle"]["value"] == 1 and "logprob" not in found["choices"]
    # One visible test filters first, and it keeps the wrong one alone.
    filtered = EXPERIMENT.scores(protocol(a=1), {"samples": [truth], BEHAVIOUR: [ran]})
    assert filtered["choices"]["random"]["value"] == 0 == filtered["filtered_pass_at_k"]["1"]["value"]
    assert filtered["unfiltered_random"]["value"] == pytest.approx(2 / 3)


def test_tests_that_were_copied_from_the_docstring_can_be_left_out() -> None:
    truth = outcome("a", ["wrong_answer", "passed", "passed"])
    ran = behaviour([one.code for one in truth.candidates], ["x", "y", "y"], ["--+", "+--", "+--"])
    arms = {"samples": [truth], BEHAVIOUR: [ran]}
    asked = {**protocol(a=0), "generated_tests_copied": {"a": [0, 1]}}
    choices = EXPERIMENT.scores(asked, arms)["choices"]
    # Two samples pass the copied test, the wrong one alone passes the model's own.
    assert choices["codet"]["value"] == 1 and choices[OWN]["value"] == 0


def test_log_probabilities_choose_where_a_recording_has_them() -> None:
    truth = outcome("a", ["wrong_answer", "passed", "wrong_answer"])
    candidates = tuple(
        replace(one, tokens=(tokens,), logprobs=(logprob,))
        for one, tokens, logprob in zip(truth.candidates, (10, 20, 10), (-5.0, -6.0, -4.0), strict=True)
    )
    truth = replace(truth, candidates=candidates)
    ran = behaviour([one.code for one in candidates], ["x", "y", "z"], ["+", "-", "-"])
    found = EXPERIMENT.scores(protocol(a=0), {"samples": [truth], BEHAVIOUR: [ran]})
    # -0.5, -0.3 and -0.4 a token.
    assert found["choices"]["logprob"]["value"] == 1 and found["choices"]["codet"]["value"] == 0


def test_arms_with_other_samples_are_refused() -> None:
    truth = outcome("a", ["passed"] * 3)
    other = behaviour(["x", "y", "z"], ["a", "a", "a"], ["+", "+", "+"])
    with pytest.raises(NotCountable, match="do not hold the same samples"):
        EXPERIMENT.scores(protocol(a=0), {"samples": [truth], BEHAVIOUR: [other]})
