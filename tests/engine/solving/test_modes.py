"""The ways to draw, from request to summary: distinct, beam, a ladder, several prompts, an open end."""

import math
from typing import Any

import pytest

from engine.core.types import Mode
from engine.solving.events import (
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    SamplesJoined,
    SolveEvent,
)
from engine.solving.spec import Budget, CompletionPrompt, EventOptions, HeldTest, ReturnPolicy, Sampling, SolveSpec
from engine.solving.summary import SolveOutcome, Summary
from executor.types import SnippetTest
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver

TESTS = (HeldTest(SnippetTest(code="visible")),)
LIKELY, RARE = "x = 'FAIL likely'\n", "x = 'PASS rare'\n"
PROGRAMS = {
    "skewed": {LIKELY: 97.0, "x = 'FAIL b'\n": 2.0, RARE: 1.0},
    "layout": {f"x{' ' * n}= 1\n": 8.0 for n in range(1, 9)} | {f"y{' ' * n}= 2\n": 4.0 for n in range(1, 9)}
    | {"z = 3\n": 1.0, "w = 'PASS'\n": 0.5},
    "long": {f"x = '{letter * 60}'\n": 1.0 for letter in "abcdefghij"},
    "first": {"x = 'FAIL first'\n": 1.0},
    "second": {"x = 'PASS second'\n": 1.0},
}  # fmt: skip


def spec(name: str, *, variants: tuple[str, ...] = (), tests: Any = TESTS, **more: Any) -> SolveSpec:
    sampling = Sampling(**{"seed": 5, "top_p": 1.0, **more.pop("sampling", {})})
    return SolveSpec(
        request_id=f"test-{name}",
        prompt=CompletionPrompt(name),
        variants=tuple(CompletionPrompt(variant) for variant in variants),
        tests=tests,
        sampling=sampling,
        events=EventOptions(branches=True),
        **{"return_policy": ReturnPolicy.ALL, **more},
    )


async def solved(asked: SolveSpec, *, seconds: float = 0.0, step: float = 0.0, max_k: int = 256) -> list[SolveEvent]:
    script = Script(PROGRAMS, step_seconds=step)
    solver = scripted_solver(script, FakeExecutor(seconds), max_k=max_k)
    await solver.start()
    try:
        events = [event async for event in solver.solve(asked, deadline=20.0)]
    finally:
        await solver.close()
    check_books(events)
    return events


def summary_of(events: list[SolveEvent]) -> Summary:
    assert isinstance(events[-1].body, Summary)
    return events[-1].body


def check_books(events: list[SolveEvent]) -> None:
    """Every sample that has started has ended in one way, and so has every branch."""
    books = summary_of(events).accounting
    assert books.samples_started == books.samples_finished + books.samples_pruned + books.samples_cut_off
    started = [event.body.branch for event in events if isinstance(event.body, BranchStarted)]
    ended = [event.body.branch for event in events if isinstance(event.body, BranchEnded)]
    assert sorted(ended) == sorted(started)
    assert len(started) == books.branches_started
    candidates = summary_of(events).candidates
    for candidate in candidates:
        assert len(candidate.sample_logprobs) == len(candidate.samples)
        assert all(logprob <= 0 for logprob in candidate.sample_logprobs)


def finished(events: list[SolveEvent]) -> list[int]:
    return [event.body.index for event in events if isinstance(event.body, CandidateFinished)]


async def test_distinct_draws_give_every_program_once() -> None:
    events = await solved(spec("skewed", sampling={"mode": Mode.DISTINCT, "k": 3}))
    summary = summary_of(events)
    assert {candidate.code for candidate in summary.candidates} == set(PROGRAMS["skewed"])
    assert all(len(candidate.samples) == 1 for candidate in summary.candidates)
    assert summary.accounting.samples_finished == 3
    assert not any(isinstance(event.body, SamplesJoined) for event in events)
    independent = summary_of(await solved(spec("skewed", sampling={"k": 3})))
    assert len(independent.candidates) < 3


async def test_distinct_ends_when_there_is_no_other_text() -> None:
    summary = summary_of(await solved(spec("skewed", sampling={"mode": Mode.DISTINCT, "k": 50})))
    assert summary.accounting.samples_requested == 50
    assert summary.accounting.samples_finished == len(summary.candidates) == 3


@pytest.mark.parametrize("width", [1, 4, None])
async def test_distinct_programs_count_programs(width: int | None) -> None:
    sampling = {"mode": Mode.DISTINCT, "k": 3, "distinct_programs": True, "width": width}
    events = await solved(spec("layout", sampling=sampling), seconds=0.001)
    summary = summary_of(events)
    assert len(summary.candidates) == 3, "not one program more, whatever the engine still completed"
    texts = summary_of(await solved(spec("layout", sampling={"mode": Mode.DISTINCT, "k": 18})))
    assert [c.code for c in summary.candidates] == [c.code for c in texts.candidates[:3]]
    assert summary.accounting.samples_finished == sum(len(c.samples) for c in summary.candidates) > 3
    assert summary.outcome is (
        SolveOutcome.SOLVED if any("PASS" in c.code for c in summary.candidates) else SolveOutcome.EXHAUSTED
    )
    outcomes = {event.body.outcome for event in events if isinstance(event.body, BranchEnded)}
    assert outcomes <= {
        BranchOutcome.FINISHED, BranchOutcome.DUPLICATE, BranchOutcome.CUT_OFF, BranchOutcome.PRUNED
    }  # fmt: skip


async def test_distinct_programs_with_fewer_than_wanted() -> None:
    sampling = {"mode": Mode.DISTINCT, "k": 9, "distinct_programs": True}
    summary = summary_of(await solved(spec("layout", sampling=sampling)))
    assert len(summary.candidates) == 4
    assert summary.accounting.samples_finished == 18


async def test_the_last_wanted_program_may_use_up_the_executions() -> None:
    sampling = {"mode": Mode.DISTINCT, "k": 2, "distinct_programs": True, "width": 1}
    asked = spec("layout", sampling=sampling, budget=Budget(executions=2))
    summary = summary_of(await solved(asked, step=0.002))
    assert summary.accounting.candidates_executed == 2
    assert summary.outcome in (SolveOutcome.EXHAUSTED, SolveOutcome.SOLVED)


async def test_a_first_pass_ends_distinct_draws() -> None:
    asked = spec("skewed", sampling={"mode": Mode.DISTINCT, "k": 3}, return_policy=ReturnPolicy.FIRST_PASS)
    summary = summary_of(await solved(asked))
    assert summary.outcome is SolveOutcome.SOLVED
    assert [candidate.code for candidate in summary.candidates] == [RARE]


async def test_a_beam_finds_the_best_texts() -> None:
    events = await solved(spec("skewed", sampling={"mode": Mode.BEAM, "k": 2, "length_penalty": 0.0}))
    summary = summary_of(events)
    best = max(summary.candidates, key=lambda candidate: candidate.sample_logprobs[0])
    assert best.code == LIKELY
    assert best.sample_logprobs[0] == pytest.approx(math.log(0.97), abs=1e-5)
    assert summary.accounting.samples_finished >= 2


async def test_a_beam_of_one_is_greedy() -> None:
    beam = summary_of(await solved(spec("skewed", sampling={"mode": Mode.BEAM, "k": 1})))
    greedy = summary_of(await solved(spec("skewed", sampling={"k": 1, "temperatures": (0.0,)})))
    assert [c.code for c in beam.candidates] == [c.code for c in greedy.candidates] == [LIKELY]


async def test_samples_of_several_prompts_take_turns() -> None:
    events = await solved(spec("first", variants=("second",), sampling={"k": 7}))
    codes = {candidate.code: candidate.samples for candidate in summary_of(events).candidates}
    assert codes == {"x = 'FAIL first'\n": (0, 2, 4, 6), "x = 'PASS second'\n": (1, 3, 5)}
    assert summary_of(events).accounting.prompt_tokens == len("first") + len("second")


async def test_the_program_of_a_sample_is_made_with_its_own_prompt() -> None:
    texts = {"def f():\n    return ": {"1\n": 1.0}, "def f():\n    yield ": {"2\n": 1.0}}
    own, other = (CompletionPrompt(text, part_of_program=True) for text in texts)
    solver = scripted_solver(Script(texts), FakeExecutor())
    await solver.start()
    asked = SolveSpec(
        request_id="two",
        prompt=own,
        variants=(other,),
        tests=TESTS,
        sampling=Sampling(k=4),
        return_policy=ReturnPolicy.ALL,
    )
    try:
        summary = summary_of([event async for event in solver.solve(asked, deadline=20.0)])
    finally:
        await solver.close()
    assert {c.code.strip(): c.samples for c in summary.candidates} == {
        "def f():\n    return 1": (0, 2),
        "def f():\n    yield 2": (1, 3),
    }


async def test_a_ladder_reaches_the_engine_rung_by_rung() -> None:
    # The script knows no temperature; that rungs draw by their own filters is shown in tests/engine/core.
    events = await solved(spec("skewed", sampling={"k": 6, "temperatures": (0.2, 0.8, 1.0)}))
    assert summary_of(events).accounting.samples_finished == 6


async def test_an_open_end_goes_on_until_a_pass() -> None:
    asked = spec("skewed", budget=Budget(rows=20_000), return_policy=ReturnPolicy.FIRST_PASS, sampling={"seed": 3})
    summary = summary_of(await solved(asked, max_k=4096))
    assert summary.outcome is SolveOutcome.SOLVED
    assert summary.accounting.samples_requested == 4096
    assert min(summary.candidates[0].samples) >= 16, "none of the first would have passed"


@pytest.mark.parametrize(
    ("budget", "outcome"),
    [
        (Budget(generated_tokens=5000), SolveOutcome.BUDGET_TOKENS),
        (Budget(rows=100), SolveOutcome.BUDGET_ROWS),
        (Budget(executions=7), SolveOutcome.BUDGET_EXECUTIONS),
    ],
)
async def test_an_open_end_ends_with_its_budget(budget: Budget, outcome: SolveOutcome) -> None:
    summary = summary_of(await solved(spec("long", budget=budget), max_k=4096))
    assert summary.outcome is outcome
    assert summary.accounting.samples_started > 0


async def test_the_log_probability_of_each_sample_is_told() -> None:
    events = await solved(spec("skewed", sampling={"k": 40, "seed": 2}))
    for candidate in summary_of(events).candidates:
        share = PROGRAMS["skewed"][candidate.code] / 100
        assert candidate.sample_logprobs == pytest.approx([math.log(share)] * len(candidate.samples), abs=1e-4)
    for event in events:
        if isinstance(event.body, SamplesJoined):
            assert len(event.body.sample_logprobs) == len(event.body.samples)
