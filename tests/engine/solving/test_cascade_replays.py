"""Recorded programs and verdicts played through a cascade: how many it solves, and how often each tier is asked.

The figures are those that the recordings themselves give; what is ours is who is asked, when, with what, and which
program comes back. (shared data: replay-evalplus-qwen25coder-base, replay-humaneval-ldb-seeds.)
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.core.types import Mode
from engine.metrics import Metrics
from engine.solving.events import TierStarted
from engine.solving.solver import Solver
from engine.solving.spec import CompletionPrompt, HeldTest, Sampling, SolveSpec
from engine.solving.summary import SolveOutcome, Summary
from executor.types import SnippetTest
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver
from tests.support.scripted_tiers import FAILED, PASSED, Play, ScriptedTier, Step, cascade_of, checked

FOLDER = Path(os.environ.get("THRESHER_DATA", ""))
TESTS = (HeldTest(SnippetTest(code="the visible tests")),)

pytestmark = pytest.mark.skipif(
    not os.environ.get("THRESHER_DATA"), reason="THRESHER_DATA does not name the folder of problem sets"
)


def lines(folder: str, name: str) -> list[dict[str, Any]]:
    with gzip.open(FOLDER / folder / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def qwen(data_set: str, model: str) -> dict[str, tuple[str, bool, bool]]:
    """Program, whether the base tests pass, and whether the plus tests do as well, by problem."""
    return {
        line["task_id"]: (
            line["evaluated_solution"],
            line["base_status"] == "pass",
            line["base_status"] == line["plus_status"] == "pass",
        )
        for line in lines("replay-evalplus-qwen25coder-base", f"{data_set}-{model}")
    }


def seeds(model: str) -> dict[str, tuple[str, bool, bool]]:
    found: dict[str, tuple[str, bool, bool]] = {}
    for line in lines("replay-humaneval-ldb-seeds", model):
        solved = bool(line["is_solved"] if "is_solved" in line else line["is_passing"])
        found[line["task_id"]] = (line["solution"], solved, solved)
    return found


Recording = Mapping[str, tuple[str, bool, bool]]


def recorded(name: str, of: Recording) -> ScriptedTier:
    """A tier that draws the recorded program of a problem, with its recorded verdict."""

    def script(spec: SolveSpec) -> Iterable[Step]:
        assert isinstance(spec.prompt, CompletionPrompt)
        code, base, _ = of[spec.prompt.text]
        play = Play(spec, model=name)
        yield from play.begin()
        assert not any(candidate.passed for candidate in play.made), "it was solved before"
        before = len(play.made)
        yield from play.start(0)
        yield from play.finish(0, code)
        if len(play.made) > before:
            yield from play.judge(before, PASSED if base else FAILED)
        yield from play.end()

    return ScriptedTier(name, script, model=name)


async def played(tiers: Mapping[str, Recording]) -> tuple[int, int, list[int]]:
    """Problems solved by the base tests, and by the plus tests as well; how often each tier was asked."""
    cascade = cascade_of(*(recorded(name, of) for name, of in tiers.items()))
    base = plus = 0
    asked: Counter[str] = Counter()
    for task in next(iter(tiers.values())):
        spec = SolveSpec(request_id=task, prompt=CompletionPrompt(task), tests=TESTS, sampling=Sampling(k=1, seed=1))
        events = await checked(cascade, spec)
        asked.update(event.body.name for event in events if isinstance(event.body, TierStarted))
        summary = events[-1].body
        assert isinstance(summary, Summary)
        if summary.outcome is SolveOutcome.SOLVED:
            (best,) = summary.candidates
            code, passes, passes_plus = tiers[best.model][task]
            assert (best.code, passes) == (code, True)
            base, plus = base + 1, plus + passes_plus
        else:
            assert not any(of[task][1] for of in tiers.values()), "no tier had it"
    return base, plus, [asked[name] for name in tiers]


@pytest.mark.parametrize(
    ("data_set", "alone", "together", "calls"),
    [
        ("mbpp", ((199, 168), (219, 177)), (241, 194), [281, 82]),
        ("humaneval", ((42, 36), (52, 45)), (57, 47), [82, 40]),
    ],
)
async def test_two_models(
    data_set: str, alone: tuple[tuple[int, int], ...], together: tuple[int, int], calls: list[int]
) -> None:
    models = {model: qwen(data_set, model) for model in ("1.5b", "7b")}
    for (model, of), wanted in zip(models.items(), alone, strict=True):
        assert (await played({model: of}))[:2] == wanted
    assert await played(models) == (*together, calls)


async def test_four_tiers() -> None:
    names = ("starcoder", "codellama", "gpt-3.5-turbo-0613", "gpt-4-1106-preview")
    tiers = {name: seeds(name) for name in names}
    base, _, calls = await played(tiers)
    assert (base, calls) == (77, [82, 52, 30, 17])


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_until_one_passes_it_draws_as_many_as_the_order_makes_it() -> None:
    """Of n recorded programs, c of which pass, (n + 1) / (c + 1) are drawn in the mean until the first pass.

    All recorded programs of a problem are drawn without replacement, which makes a random order of them, one row wide.
    """
    names = ("starcoder", "codellama", "gpt-3.5-turbo-0613", "gpt-4-1106-preview")
    pools = [*(seeds(name) for name in names), *(qwen("humaneval", model) for model in ("1.5b", "7b"))]
    solvable = {task: [pool[task][1] for pool in pools] for task in pools[0]}
    solvable = {task: passes for task, passes in solvable.items() if any(passes)}
    texts = {
        f"{task}#": {f"{number}{'PASS' if passed else 'FAIL'}": 1.0 for number, passed in enumerate(passes)}
        for task, passes in solvable.items()
    }
    metrics = Metrics()
    solver: Solver = scripted_solver(Script(texts), FakeExecutor(), metrics=metrics)
    await solver.start()
    drawn = wanted = 0.0
    try:
        for shuffle in range(20):
            for number, (task, passes) in enumerate(solvable.items()):
                spec = SolveSpec(
                    request_id="r",
                    prompt=CompletionPrompt(f"{task}#"),
                    tests=TESTS,
                    sampling=Sampling(mode=Mode.DISTINCT, k=len(passes), seed=1000 * shuffle + number, width=1),
                )
                events = [event async for event in solver.solve(spec, deadline=20)]
                summary = events[-1].body
                assert isinstance(summary, Summary) and summary.outcome is SolveOutcome.SOLVED
                drawn += summary.accounting.candidates_to_first_pass or 0
                wanted += (len(passes) + 1) / (sum(passes) + 1)
    finally:
        await solver.close()
    assert drawn == pytest.approx(wanted, rel=0.02)
