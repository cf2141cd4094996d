"""Execution prediction: how problems are made of asserts, and which answers are refused."""

from pathlib import Path

import pytest
from support.experiments import ADD

from benchmarks.data import load
from benchmarks.experiments.experiment import Draw, Task
from benchmarks.experiments.judging import ExecutorJudge
from benchmarks.experiments.prediction import call_and_value, cruxeval, mbpp, refused
from benchmarks.experiments.programs import References
from benchmarks.experiments.sources import ProgramsSource
from benchmarks.experiments.tasks import prompt_text

LIMITS = {"cpu_seconds": 2.0}


class Answers:
    """The stub with each of these behind it."""

    def __init__(self, *answers: str) -> None:
        self._answers = answers

    def draw(self, task: Task, draw: Draw) -> list[str]:
        return [task.record.stub + answer for answer in self._answers]

    def measured(self, task: Task, draw: Draw) -> list[tuple[int, float]]:
        return []


@pytest.mark.parametrize(
    ("test", "pair"),
    [
        ("assert f(1, 'a') == [1, 2]", ("f(1, 'a')", "[1, 2]")),
        ("assert f(1)==2", ("f(1)", "2")),
        ("assert f(1) == 2 == 2", None),
        ("assert f(1)", None),
        ("assert set(f(1)) == {1}", ("set(f(1))", "{1}")),
        ("assert a.f(1) == 2", None),
        ("x = 1\nassert f(1) == x", None),
        ("assert", None),
    ],
)
def test_asserts_are_split_into_call_and_value(test: str, pair: tuple[str, str] | None) -> None:
    assert call_and_value(test) == pair


def test_a_problem_is_made_of_each_assert() -> None:
    asked = mbpp([ADD], LIMITS, shown=1)
    assert [task.id for task in asked.tasks] == ["1/1", "1/2"]
    told = "def add(a, b):\n    return a + b\n\n# add(0, 0) == 0\nadd(1, 2)\n[/PYTHON]\n[ANSWER]\n"
    assert prompt_text(asked.tasks, "1/1").endswith(f"[PYTHON]\n{told}")
    assert asked.tasks[0].document["tests"] == ["assert predicted == 3"]
    assert "add(0, 0) == 0" not in prompt_text(mbpp([ADD], LIMITS, shown=0).tasks, "1/1")


def test_every_assert_of_mbpp_is_split(data_folder: Path) -> None:
    records = load("mbpp", data=data_folder).records
    made = mbpp(records, LIMITS, shown=2).tasks
    assert len(made) == sum(len(record.visible) for record in records) == 2172


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (" 3", ""),
        (" (1, 2)", ""),
        (" add(1, 2)", "the answer calls add"),
        (" 0 or add(1, 2)", "the answer calls add"),
        (" len('abc')", ""),
        (" 1, 2", "several values"),
        (" (", ""),
    ],
)
def test_answers_that_are_no_prediction_are_refused(answer: str, why: str) -> None:
    [task, _] = mbpp([ADD], LIMITS, shown=0).tasks
    found = refused(task.record.stub + answer)
    assert (why in found) if why else found == ""


@pytest.mark.sandbox
async def test_what_is_predicted_decides() -> None:
    [task, _] = mbpp([ADD], LIMITS, shown=0).tasks
    answers = Answers(" 3", " 4", " add(1, 2)", " 4 or True", " (", " exit()")
    async with ProgramsSource(answers, ExecutorJudge(slots=1)) as source:  # type: ignore[arg-type]
        found = await source.outcome(task, Draw(samples=6))
    assert [one.passed for one in found.by_sample()] == [True, False, False, False, False, False]
    assert found.executed == 5 and "calls add" in found.by_sample()[2].message


@pytest.mark.sandbox
async def test_references_predict_themselves(data_folder: Path) -> None:
    asked = cruxeval(load("cruxeval", data=data_folder).records[:8], LIMITS)
    asked_of_mbpp = mbpp(load("mbpp", data=data_folder).records[10:13], LIMITS, shown=0)
    async with ProgramsSource(References(), ExecutorJudge(slots=1)) as source:
        for task in (*asked.tasks, *asked_of_mbpp.tasks):
            assert (await source.outcome(task, Draw(samples=1))).solved, task.id
