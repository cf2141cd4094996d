"""The scripted human: a sentence on what a person sees, the same for the same failure."""

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thresher.v1 import verdict_pb2

from benchmarks.experiments import repair_human
from benchmarks.experiments.repair_failure import Failure, failure_of
from benchmarks.experiments.repair_human import say

TEXT = "Write a function\nto sort a list."


def wrong(test: str, expected: str, got: str) -> Failure:
    return Failure(verdict="wrong_answer", passed=0, total=3, test=test, expected=expected, got=got, message="not so")


@pytest.mark.parametrize(
    ("test", "expected", "got", "told"),
    [
        ("assert f(1) == 5", "5", "None", "f(1) gives nothing: return 5"),
        ("assert f(1) == (1, 2)", "(1, 2)", "[1, 2]", "a tuple, (1, 2), with the same elements, not a list"),
        ("assert f(1) == 5", "5", "'5'", "an int, 5, not a str"),
        ("assert f(1) == [1, 2]", "[1, 2]", "[2, 1]", "their order is wrong"),
        ("assert f(1) == [1, 2]", "[1, 2]", "[1, 2, 3]", "too many elements"),
        ("assert f(1) == [1, 2]", "[1, 2]", "[1]", "too few elements"),
        ("assert f(1) == 5", "5", "5.0", "an int, 5, not a float"),
        ("assert f(1) == 5", "5", "9.5", "f(1) must give 5, but your function gives 9.5"),
        ("assert f(1) == False", "False", "0", "a bool, False, not an int"),
        ("assert f(1) == 5", "5", "6", "off by one"),
        ("assert f(1) == 5", "5", "-5", "sign is wrong"),
        ("assert f(1) == 5", "5", "9", "f(1) must give 5, but your function gives 9"),
        ("assert not f(1)", "False", "True", "f(1) must be False"),
        ("assert f(1) == 'Ab'", "'Ab'", "'aB'", "Upper and lower case"),
        ("assert f(1) == 'a b'", "'a b'", "'a  b'", "Only the spaces"),
        ("assert f(1) == 5", "5", "<object>", "f(1) must give 5, but your function gives <object>"),
        ("assert f(1) == 5", "5", "", "f(1) must give 5, and it does not"),
        ("while f(1): pass", "", "3", "This test fails: while f(1): pass"),
    ],
)
def test_what_is_said_of_a_wrong_value(test: str, expected: str, got: str, told: str) -> None:
    assert told in say(wrong(test, expected, got), TEXT, [])


@pytest.mark.parametrize(
    ("verdict", "message", "told"),
    [
        ("compile_error", "SyntaxError: '(' was never closed (line 2)", "not valid Python (SyntaxError"),
        ("time_limit", "", "does not come to an end at f(1)"),
        ("memory_limit", "", "needs far too much at f(1)"),
        ("runtime_error", "NameError: name 'math' is not defined", "use math without defining or importing"),
        ("runtime_error", "ModuleNotFoundError: No module named 'numpy'", "no numpy here"),
        ("runtime_error", "TypeError: f() takes 2 positional arguments but 1 was given", "it is called as f(1)"),
        (
            "runtime_error",
            "IndexError: list index out of range",
            "ends with an IndexError at f(1), where it must give 5",
        ),
        ("runtime_error", "", "ends with an error at f(1)"),
    ],
)
def test_what_is_said_of_another_verdict(verdict: str, message: str, told: str) -> None:
    failure = Failure(verdict=verdict, test="assert f(1) == 5", expected="5", message=message)
    assert told in say(failure, TEXT, [])


def test_the_same_mistake_again_is_told_with_the_task() -> None:
    failure = wrong("assert f(1) == 5", "5", "9")
    other = wrong("assert f(1) == 5", "5", "8")
    assert say(failure, TEXT, [other]) == say(failure, TEXT, [])
    again = say(failure, TEXT, [failure, other])
    assert "same mistake again" in again and "Write a function to sort a list." in again


@given(
    st.sampled_from(["wrong_answer", "runtime_error", "compile_error", "time_limit", "sandbox_violation"]),
    st.text(max_size=40),
    st.one_of(st.text(max_size=20), st.from_type(int).map(repr), st.lists(st.integers()).map(repr)),
    st.one_of(st.text(max_size=20), st.from_type(int).map(repr), st.lists(st.integers()).map(repr)),
    st.text(max_size=40),
)
def test_something_is_said_of_any_failure_and_always_the_same(
    verdict: str, test: str, expected: str, got: str, message: str
) -> None:
    failure = Failure(verdict=verdict, test=test, expected=expected, got=got, message=message)
    said = say(failure, TEXT, [])
    assert said and said == say(failure, TEXT, [])


def test_the_human_is_shown_no_program_and_no_reference() -> None:
    assert list(inspect.signature(repair_human.say).parameters) == ["failure", "text", "before"]
    assert "code" not in Failure.__dataclass_fields__


def report(**values: object) -> verdict_pb2.ExecutionReport:
    found = verdict_pb2.ExecutionReport(tests_passed=1, tests_total=2, **values)  # type: ignore[arg-type]
    found.results.add(test_index=0, verdict=verdict_pb2.VERDICT_PASSED)
    return found


def test_a_failure_is_read_from_a_report() -> None:
    tests = ["assert f(0) == 0", {"snippet": {"code": "assert f(2) == 4"}}, {"snippet": "assert f(9)", "hidden": True}]
    got = report(verdict=verdict_pb2.VERDICT_WRONG_ANSWER, stderr=b"one\ntwo\n")
    got.results.add(test_index=1, verdict=verdict_pb2.VERDICT_WRONG_ANSWER, message="returned 3, expected 4")
    assert failure_of(got, tests).plain() == {
        "verdict": "wrong_answer",
        "passed": 1,
        "total": 2,
        "test": "assert f(2) == 4",
        "expected": "4",
        "got": "3",
        "message": "returned 3, expected 4",
        "traceback": "one\ntwo",
    }
    held = report(verdict=verdict_pb2.VERDICT_WRONG_ANSWER)
    held.results.add(test_index=1, verdict=verdict_pb2.VERDICT_WRONG_ANSWER, message="not so: f(2) == 4 (got [1, (2)])")
    assert (failure_of(held, tests).expected, failure_of(held, tests).got) == ("4", "[1, (2)]")


def test_what_never_ran_has_no_failing_test() -> None:
    broken = verdict_pb2.ExecutionReport(verdict=verdict_pb2.VERDICT_COMPILE_ERROR, detail="SyntaxError: invalid")
    failure = failure_of(broken, ["assert f(0) == 0"])
    assert (failure.verdict, failure.test, failure.expected, failure.message) == (
        "compile_error",
        "",
        "",
        "SyntaxError: invalid",
    )
