"""Conversations with a real front, over a solver that plays scripts: what the model is told in each round."""

from collections.abc import Callable, Iterable

import pytest
from support.experiments import ADD, task
from support.scripted_solver import ScriptedSolver, Step, accepted, passed_report
from support.served import serving

from benchmarks.experiments.experiment import Draw
from benchmarks.experiments.repair_rounds import PriorAttempts, Turn, Way
from benchmarks.experiments.repair_session import Sessions
from benchmarks.experiments.served import ServerSource
from engine.core.types import FinishReason
from engine.solving.events import CandidateFinished, CandidateJudged
from engine.solving.spec import ChatPrompt, SolveSpec
from engine.solving.summary import Accounting, Candidate, Escalation, SolveOutcome, Summary
from executor.verdict import Report, TestReport, Verdict

DRAW = Draw(samples=1, seed=3, sampling={"temperature": 0.8})
FAILED = Report(
    verdict=Verdict.WRONG_ANSWER,
    tests=(TestReport(index=0, verdict=Verdict.WRONG_ANSWER, message="returned -1, expected 3", stderr=b"the end\n"),),
    tests_total=2,
)


def passing_in(solve: int) -> Callable[[SolveSpec], Iterable[Step]]:
    """One sample a solve, each program another one; that of solve number `solve` passes."""
    calls = 0

    def script(spec: SolveSpec) -> Iterable[Step]:
        nonlocal calls
        calls += 1
        passes = calls == solve
        candidate = Candidate(
            index=0,
            code=f"def add(a, b):\n    return {calls}\n",
            finish_reason=FinishReason.END_OF_PROGRAM,
            generated_tokens=9,
            samples=(0,),
            sample_logprobs=(-1.0,),
            model="scripted",
            report=passed_report(2) if passes else FAILED,
        )
        books = Accounting(samples_requested=1, samples_started=1, samples_finished=1)
        books.prompt_tokens, books.cached_prompt_tokens, books.generated_tokens = 100 * calls, 10, 9
        told = Escalation(recommended=not passes, confidence=0.5, reason="")
        ending = SolveOutcome.SOLVED if passes else SolveOutcome.EXHAUSTED
        return [
            accepted(spec),
            CandidateFinished(
                index=0, branch=None, finish_reason=candidate.finish_reason, generated_tokens=9, samples=(0,)
            ),
            CandidateJudged(candidate=candidate),
            Summary(outcome=ending, candidates=(candidate,), accounting=books, escalation=told, seed=7),
        ]

    return script


async def held(
    way_of: Callable[[ServerSource], Way], *, automatic: int, words: str = "", passes: int = 3
) -> tuple[list[Turn], list[SolveSpec]]:
    """The turns of a conversation whose solve number `passes` passes, and what the solver was asked for each."""
    async with serving(ScriptedSolver(passing_in(passes))) as served:
        address = str(served.front.bound[0])
        async with ServerSource(address) as source, way_of(source).open(task(ADD), DRAW, automatic) as dialog:
            turns = [await dialog.begin()]
            while turns[-1].failure is not None:
                turns.append(await dialog.again(words))
        return turns, served.solver.specs


def last_words(spec: SolveSpec) -> str:
    assert isinstance(spec.prompt, ChatPrompt)
    return spec.prompt.messages[-1].content


@pytest.mark.parametrize("way", [Sessions, PriorAttempts])
async def test_a_round_is_told_of_the_failure(way: Callable[[ServerSource], Way]) -> None:
    turns, specs = await held(way, automatic=3)
    assert [turn.failure is None for turn in turns] == [False, False, True]
    assert [turn.tried.spent.by("all") for turn in turns] == [109, 209, 309]
    assert len(specs) == 3 and all(spec.sampling.k == 1 and spec.sampling.temperatures == (0.8,) for spec in specs)
    # The first draw has the seed of the plain experiment, and each round another one.
    assert specs[0].sampling.seed == DRAW.seed_of(ADD.id) and len({spec.sampling.seed for spec in specs}) == 3
    failure = turns[0].failure
    assert failure is not None
    assert (failure.test, failure.expected, failure.got, failure.traceback) == (ADD.visible[0], "3", "-1", "the end")
    if way is Sessions:  # prior attempts are put into the prompt behind the scripted solver
        told = last_words(specs[1])
        for part in ("returned -1, expected 3", "assert add(1, 2) == 3", "the end"):
            assert part in told
    else:
        assert [len(spec.cascade.attempts) for spec in specs] == [0, 1, 2] and specs[2].cascade.in_prompt
        assert all(attempt.report is not None for attempt in specs[2].cascade.attempts)


async def test_a_session_is_told_the_words_beside_the_test() -> None:
    turns, specs = await held(Sessions, automatic=0, words="Add, do not subtract.")
    assert len(turns) == 3
    for spec in specs[1:]:
        assert "Add, do not subtract." in last_words(spec) and "returned -1, expected 3" in last_words(spec)
    assert "Add, do not subtract." not in last_words(specs[0])


async def test_a_session_that_is_left_ends() -> None:
    turns, specs = await held(Sessions, automatic=5, passes=1)
    assert len(turns) == len(specs) == 1
