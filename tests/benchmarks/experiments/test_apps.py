"""APPS: the prompt of the paper, and the grader's comparison beside ours."""

from pathlib import Path

import pytest

from benchmarks.data import Record, load
from benchmarks.experiments.apps_tasks import apps, paper_prompt
from benchmarks.experiments.experiment import Draw, Task
from benchmarks.experiments.judging import ExecutorJudge
from benchmarks.experiments.programs import References
from benchmarks.experiments.sources import ProgramsSource

LIMITS = {"cpu_seconds": 2.0}
SAYS = Record(
    id="train/1",
    text="Say it.",
    visible=({"stdio": {"stdin": "", "expected": "YES NO YES\n"}},),
    held_out=({"stdio": {"stdin": "x\n", "expected": "YES NO YES\n"}},),
    references=("print('YES NO YES')",),
    split="train",
    facts={"difficulty": "interview", "call_based": False},
)
ADDS = Record(
    id="train/2",
    text="Add.",
    stub="def add(a, b):",
    entry_point="add",
    visible=({"call": {"function": "add", "args": [1, 2], "expected": 3, "comparison": "approx"}},),
    split="train",
    facts={"difficulty": "interview", "call_based": True},
)


class Programs:
    """These programs, whatever the task."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes

    def draw(self, task: Task, draw: Draw) -> list[str]:
        return list(self._codes)

    def measured(self, task: Task, draw: Draw) -> list[tuple[int, float]]:
        return []


def test_the_prompt_of_the_paper() -> None:
    assert paper_prompt(SAYS) == "\nQUESTION:\nSay it.\nUse Standard Input format\nANSWER:\n"
    assert paper_prompt(ADDS) == "\nQUESTION:\nAdd.\ndef add(a, b):\nUse Call-Based format\nANSWER:\n"


def test_all_tests_decide_and_a_server_gets_none_of_our_making() -> None:
    [asked] = apps([SAYS], "chat", LIMITS, compat=False, to_model=True).tasks
    assert len(asked.document["tests"]) == 2 and asked.make is None and asked.run_all
    [lenient] = apps([SAYS], "chat", LIMITS, compat=True, to_model=True).tasks
    assert [test["stdio"]["comparison"] for test in lenient.document["tests"]] == ["apps", "apps"]


@pytest.mark.sandbox
@pytest.mark.parametrize(("compat", "passes"), [(False, 0), (True, 1)])
async def test_the_graders_comparison_loses_the_order(compat: bool, passes: int) -> None:
    [asked] = apps([SAYS], "chat", LIMITS, compat=compat, to_model=False).tasks
    async with ProgramsSource(Programs("print('NO YES YES')"), ExecutorJudge(slots=1)) as source:  # type: ignore[arg-type]
        found = await source.outcome(asked, Draw(samples=1))
    assert found.passed == passes and len(found.candidates[0].tests) == 2


@pytest.mark.sandbox
async def test_functions_are_called_and_broken_programs_are_syntax_errors() -> None:
    [asked] = apps([ADDS], "chat", LIMITS, compat=False, to_model=False).tasks
    codes = ("def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a - b\n", "def add(a, b:\n")
    async with ProgramsSource(Programs(*codes), ExecutorJudge(slots=1)) as source:  # type: ignore[arg-type]
        found = await source.outcome(asked, Draw(samples=3))
    assert [one.verdict for one in found.by_sample()] == ["passed", "wrong_answer", "compile_error"]


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("compat", [False, True])
async def test_native_solutions_pass_either_way(data_folder: Path, compat: bool) -> None:
    records = [record for record in load("apps", data=data_folder).records if record.references]
    assert len(records) == 5
    async with ProgramsSource(References(), ExecutorJudge(slots=1)) as source:
        for asked in apps(records, "chat", {"cpu_seconds": 8.0}, compat=compat, to_model=False).tasks:
            assert (await source.outcome(asked, Draw(samples=1))).solved, asked.id
