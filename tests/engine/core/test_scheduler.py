"""The core against a scripted runner: k samples of a tree equal k separate draws, whatever the schedule and memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.admission import pages_for
from engine.core.limits import Limits, NeverFits, QueueIsFull
from engine.core.scheduler import Scheduler
from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchStarted,
    CoreRequest,
    Counts,
    EndReason,
    Filters,
    SolveStarted,
)
from tests.support.core_harness import Harness, request, separate_draw
from tests.support.scripted_runner import ScriptedRunner


def assert_equals_separate_draws(harness: Harness, asked: CoreRequest) -> None:
    texts = harness.texts(asked.solve)
    assert sorted(texts) == list(range(asked.k))
    for sample, text in texts.items():
        assert text == " ".join(map(str, separate_draw(harness.runner, asked, sample))), f"sample {sample}"


@settings(max_examples=40, deadline=None)
@given(
    k=st.integers(1, 40),
    width=st.one_of(st.none(), st.integers(1, 8)),
    rows=st.integers(1, 16),
    prompt=st.lists(st.integers(1, 11), min_size=1, max_size=30),
    seed=st.integers(0, 2**64 - 1),
    spread=st.integers(1, 6),
    keep=st.one_of(st.none(), st.integers(1, 3)),
    greedy=st.booleans(),
    page_size=st.sampled_from([1, 3, 4, 16]),
)
def test_the_tree_equals_separate_draws(
    k: int,
    width: int | None,
    rows: int,
    prompt: list[int],
    seed: int,
    spread: int,
    keep: int | None,
    greedy: bool,
    page_size: int,
) -> None:
    runner = ScriptedRunner(pages=4000, page_size=page_size, spread=spread, keep=keep)
    harness = Harness(runner, rows=rows)
    asked = request(prompt=prompt, k=k, seed=seed, width=width, greedy_first=greedy)
    harness.scheduler.submit(asked)
    harness.run()
    assert_equals_separate_draws(harness, asked)
    ended = harness.ended(1)
    assert ended.reason is EndReason.COMPLETE
    assert ended.counts.samples_finished == k
    assert ended.counts.generated_tokens == sum(len(text.split()) for text in harness.texts(1).values())
    assert harness.scheduler.pool.free + harness.scheduler.pool.idle == runner.pages
    widest = max(sum(1 for c in s.chunks if c.asks and c.start >= len(prompt)) for s in runner.steps)
    assert widest <= min(rows, width or rows)


def test_the_prompt_is_computed_once_and_late_samples_need_no_prefill() -> None:
    runner = ScriptedRunner(pages=500)
    harness = Harness(runner, rows=2, least_prefill=8)
    prompt = [1 + i % 11 for i in range(50)]
    harness.scheduler.submit(request(prompt=prompt, k=24, width=2))
    harness.run()
    prefill = [c for s in runner.steps for c in s.chunks if c.start < len(prompt)]
    assert sum(len(c.tokens) for c in prefill) == len(prompt)
    assert harness.ended(1).counts.recomputed_tokens == 0


def test_equal_draws_share_one_row() -> None:
    runner = ScriptedRunner(pages=500, spread=1)
    harness = Harness(runner)
    harness.scheduler.submit(request(k=32))
    harness.run()
    counts = harness.ended(1).counts
    length = len(harness.texts(1)[0].split())
    assert counts.branches == 1
    assert counts.rows == length - 1
    assert counts.rows_saved == 31 * (length - 1)


def test_hundreds_of_samples_that_agree_do_not_hold_up_a_step() -> None:
    harness = Harness(ScriptedRunner(pages=200), rows=4)
    harness.scheduler.submit(request(k=600, width=1, filters=(Filters(temperature=0.0),)))
    started: list[int] = []
    while not harness.scheduler.idle:
        before = harness.scheduler.running and harness.scheduler._running[0].counts.samples_started  # pyright: ignore[reportPrivateUsage]
        harness.step()
        running = harness.scheduler._running  # pyright: ignore[reportPrivateUsage]
        after = running[0].counts.samples_started if running else 600
        started.append(after - before)
    assert max(started) <= 256
    assert len(harness.texts(1)) == harness.ended(1).counts.samples_finished == 600


def test_wrong_drafts_are_no_rows_that_sharing_costs() -> None:
    """Two samples of ten tokens, five of them in common: five rows are saved, however many guesses were wrong."""
    counts = Counts(generated_tokens=20, samples_started=2, rows=13 + 6, drafted_tokens=9, accepted_tokens=3)
    assert counts.rows_saved == 5


def test_rows_saved_of_one_sample_is_nothing() -> None:
    harness = Harness(ScriptedRunner(pages=500))
    harness.scheduler.submit(request(k=1))
    harness.run()
    assert harness.ended(1).counts.rows_saved == 0


def test_many_solves_share_steps() -> None:
    runner = ScriptedRunner(pages=2000)
    harness = Harness(runner, rows=16)
    asked = [request(solve=i, prompt=[1 + i, 3, 4], k=6, seed=i) for i in range(8)]
    for one in asked:
        harness.scheduler.submit(one)
    harness.run()
    for one in asked:
        assert_equals_separate_draws(harness, one)
    assert max(len({c.solve for c in s.chunks}) for s in runner.steps) == 8


def test_interactive_goes_ahead_of_batch() -> None:
    harness = Harness(ScriptedRunner(pages=2000), rows=1)
    harness.scheduler.submit(request(solve=1, k=1, interactive=False))
    harness.scheduler.submit(request(solve=2, k=1, interactive=False))
    harness.scheduler.submit(request(solve=3, k=1))
    harness.run()
    begun = [e.solve for e in harness.events if isinstance(e, SolveStarted)]
    assert begun[0] == 3


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_tight_memory_changes_nothing(data: st.DataObject) -> None:
    asked = [
        request(
            solve=i,
            prompt=data.draw(st.lists(st.integers(1, 11), min_size=1, max_size=12)),
            k=data.draw(st.integers(1, 12)),
            seed=data.draw(st.integers(0, 1000)),
            width=data.draw(st.one_of(st.none(), st.integers(1, 6))),
        )
        for i in range(data.draw(st.integers(1, 5)))
    ]
    keep = data.draw(st.one_of(st.none(), st.integers(1, 3)))
    page_size = data.draw(st.sampled_from([1, 4, 5]))
    least = max(pages_for(one, page_size) for one in asked)
    pages = least + data.draw(st.integers(0, 12))
    runner = ScriptedRunner(pages=pages, page_size=page_size, keep=keep)
    harness = Harness(runner, rows=data.draw(st.integers(1, 12)), least_prefill=data.draw(st.sampled_from([1, 4, 32])))
    for one in asked:
        harness.scheduler.submit(one)
    harness.run()
    for one in asked:
        assert_equals_separate_draws(harness, one)
        assert harness.ended(one.solve).reason is EndReason.COMPLETE
    assert harness.scheduler.pool.free + harness.scheduler.pool.idle == pages


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_ends_at_any_time_free_everything_once(data: st.DataObject) -> None:
    page_size = data.draw(st.sampled_from([1, 4]))
    runner = ScriptedRunner(pages=data.draw(st.integers(20, 120)), page_size=page_size)
    harness = Harness(runner, rows=data.draw(st.integers(1, 8)))
    submitted: list[int] = []
    for _ in range(data.draw(st.integers(5, 60))):
        action = data.draw(st.sampled_from(["submit", "step", "step", "step", "end"]))
        if action == "submit":
            one = request(solve=len(submitted), k=data.draw(st.integers(1, 8)), seed=data.draw(st.integers(0, 99)))
            harness.scheduler.submit(one)
            submitted.append(one.solve)
        elif action == "end" and submitted:
            solve = data.draw(st.sampled_from(submitted))
            harness.scheduler.end(solve, data.draw(st.sampled_from([EndReason.CUT_OFF, EndReason.CANCELLED])))
        else:
            harness.step()
    harness.run()
    assert runner.pages == harness.scheduler.pool.free + harness.scheduler.pool.idle
    for solve in submitted:
        ended = harness.ended(solve)
        mine = [e for e in harness.events if e.solve == solve]
        assert mine[-1] is ended, "nothing is reported after the end"
        started = {e.branch for e in mine if isinstance(e, BranchStarted)}
        over = [e.branch for e in mine if isinstance(e, BranchFinished | BranchCut)]
        assert sorted(over) == sorted(started), "each branch ends exactly once"
        counts = ended.counts
        assert counts.samples_finished + counts.samples_cut == counts.samples_started


def test_the_first_end_wins_and_takes_one_step() -> None:
    harness = Harness(ScriptedRunner(pages=500, vocabulary=40))
    harness.scheduler.submit(request(k=8, new=500))
    for _ in range(5):
        harness.step()
    assert harness.scheduler.branches
    harness.scheduler.end(1, EndReason.CUT_OFF)
    harness.scheduler.end(1, EndReason.CANCELLED)
    harness.step()
    assert harness.ended(1).reason is EndReason.CUT_OFF
    assert harness.scheduler.pool.free + harness.scheduler.pool.idle == 500
    assert harness.scheduler.idle


@pytest.mark.parametrize(
    ("field", "reason"), [("max_rows", EndReason.BUDGET_ROWS), ("max_tokens", EndReason.BUDGET_TOKENS)]
)
def test_budgets_end_the_solve(field: str, reason: EndReason) -> None:
    harness = Harness(ScriptedRunner(pages=500, vocabulary=40))
    harness.scheduler.submit(request(k=4, new=200, **{field: 20}))
    harness.run()
    ended = harness.ended(1)
    assert ended.reason is reason
    spent = ended.counts.rows if field == "max_rows" else ended.counts.generated_tokens
    assert 20 <= spent <= 24


def test_what_can_never_fit_is_refused_at_once() -> None:
    harness = Harness(ScriptedRunner(pages=4, page_size=4))
    with pytest.raises(NeverFits, match="the pool has 4"):
        harness.scheduler.submit(request(prompt=[1] * 12, new=12))
    assert harness.scheduler.idle


def test_the_queue_is_bounded() -> None:
    scheduler = Scheduler(pages=100, page_size=4, limits=Limits(waiting=2))
    scheduler.submit(request(solve=1))
    scheduler.submit(request(solve=2))
    with pytest.raises(QueueIsFull):
        scheduler.submit(request(solve=3))


def test_prefill_is_chunked_beside_decoding() -> None:
    runner = ScriptedRunner(pages=2000, vocabulary=60)
    harness = Harness(runner, least_prefill=8)
    harness.scheduler.step_time.prefill_budget = lambda rows, context, bound, least: 8  # type: ignore[method-assign]
    harness.scheduler.submit(request(solve=1, k=2, new=30))
    harness.step()
    harness.scheduler.submit(request(solve=2, prompt=[1] * 50, k=1))
    harness.run()
    mixed = [s for s in runner.steps if len({c.solve for c in s.chunks}) == 2]
    assert mixed, "decoding went on while the long prompt was computed"
    assert max(len(c.tokens) for s in runner.steps for c in s.chunks) <= 8
