"""Who gets the rows: clients by what they were served, interactive before batch, deadlines; nobody starves."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.clients import LAG
from engine.core.limits import DeadlineTooClose
from engine.core.plan import Plan
from engine.core.types import BranchFinished, EndReason, SolveStarted
from tests.support.core_harness import Harness, request
from tests.support.scripted_runner import ScriptedRunner


def wide(spread: int = 40, **limits: int) -> Harness:
    """A scheduler whose samples hardly ever agree, with a clock that runs as a CPU does."""
    harness = Harness(ScriptedRunner(pages=20_000, vocabulary=spread * 3 // 2, spread=spread), **limits)
    harness.seconds = lambda plan: 0.02 + 0.001 * plan.rows + 0.0005 * plan.prefill_tokens
    return harness


def served(harness: Harness, steps: int) -> Counter[str]:
    """Rows by client over some steps."""
    rows: Counter[str] = Counter()
    seconds = harness.seconds

    def count(plan: Plan) -> float:
        for piece in plan.work:
            if piece.is_row:
                rows[piece.solve.request.client] += len(piece.chunk.tokens)
        return seconds(plan)

    harness.seconds = count
    for _ in range(steps):
        harness.step()
    harness.seconds = seconds
    return rows


def test_a_greedy_client_takes_no_more_than_its_share() -> None:
    harness = wide(rows=16)
    for solve in range(4):
        harness.scheduler.submit(request(solve=solve, client="greedy", k=256, new=40, seed=solve))
    for solve, name in enumerate("abc", start=10):
        harness.scheduler.submit(request(solve=solve, client=name, k=32, new=40, seed=solve))
    served(harness, 10)
    rows = served(harness, 60)
    assert sum(rows.values()) == 16 * 60
    for name in ("greedy", "a", "b", "c"):
        assert abs(rows[name] - 4 * 60) <= 16


def test_rows_that_others_leave_unused_do_not_slow_them_much() -> None:
    harness = wide(rows=32)
    harness.seconds = lambda plan: 0.02 + 0.01 * plan.rows
    harness.scheduler.submit(request(solve=1, client="greedy", k=256, new=60))
    served(harness, 20)  # what a row costs is known
    assert sum(served(harness, 10).values()) == 32 * 10, "alone it has all rows"
    harness.scheduler.submit(request(solve=2, client="modest", k=2, new=40, seed=5))
    served(harness, 2)
    both = 0
    while "modest" in (rows := served(harness, 1)):
        both += 1
        # An equal part is 16, and the oldest solve has a row beside. A step of those takes 0.2 s: 15 % are 3 rows.
        assert 16 < rows["greedy"] <= 16 + 1 + 3
    assert both > 5
    assert sum(served(harness, 5).values()) == 32 * 5, "and all of them again"


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(2, 12))
def test_busy_clients_are_served_alike_whatever_the_others_do(seed: int, rows: int) -> None:
    """Two clients always have work; others come and go. Over any stretch the two get the same, up to the lag."""
    chance = random.Random(seed)
    harness = wide(rows=rows)
    for solve, name in enumerate(("one", "two")):
        k = chance.choice([24, 60])
        harness.scheduler.submit(request(solve=solve, client=name, k=k, new=60, seed=solve))
    total: Counter[str] = Counter()
    for solve in range(2, 12):
        name = f"guest {chance.randrange(4)}"
        harness.scheduler.submit(request(solve=solve, client=name, k=chance.randint(1, 6), new=8, seed=solve))
        total += served(harness, chance.randint(1, 10))
    per_second = rows / (0.02 + 0.001 * rows)
    assert abs(total["one"] - total["two"]) <= LAG * per_second * 0.5 + 2 * rows


def test_time_spent_idle_is_not_saved_up() -> None:
    harness = wide(rows=8)
    harness.scheduler.submit(request(solve=1, client="late", k=1, new=2))
    served(harness, 10)
    harness.scheduler.submit(request(solve=2, client="busy", k=200, new=60))
    served(harness, 300)
    harness.scheduler.submit(request(solve=3, client="late", k=200, new=60, seed=3))
    served(harness, 3)
    rows = served(harness, 40)
    assert abs(rows["late"] - rows["busy"]) <= 16


def test_interactive_goes_first_and_batch_goes_on() -> None:
    harness = wide(spread=300, rows=32)
    harness.scheduler.submit(request(solve=1, client="nightly", k=400, new=60, interactive=False))
    alone = served(harness, 20)["nightly"] / 20
    harness.scheduler.submit(request(solve=2, client="editor", k=8, new=60, seed=2))
    served(harness, 2)
    rows = served(harness, 30)
    assert rows["editor"] == 8 * 30
    # A step of 8 rows takes 28 ms; a quarter of that is 7 rows.
    assert 30 <= rows["nightly"] <= 9 * 30 < alone * 30


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_nobody_starves(seed: int) -> None:
    """Interactive solves never cease to come, of clients that want all; each solve is over in the end."""
    chance = random.Random(seed)
    harness = wide(rows=chance.randint(1, 6), least_prefill=4)
    harness.scheduler.submit(request(solve=0, client="meek", k=3, new=6, interactive=False))
    harness.scheduler.submit(request(solve=1, client="loud", k=3, new=6, interactive=False))
    for solve in range(2, 400):
        loud = request(
            solve=solve, client=f"loud{chance.choice(['', ' too'])}", k=chance.randint(1, 6), new=6, seed=solve
        )
        harness.scheduler.submit(loud)
        for _ in range(chance.randint(1, 3)):
            harness.step()
        if {0, 1} <= {event.solve for event in harness.events if type(event).__name__ == "SolveEnded"}:
            return
    raise AssertionError("batch solves starve")


def test_within_a_client_the_earliest_deadline_goes_first() -> None:
    harness = wide(rows=1)
    for solve, deadline in enumerate((None, 90.0, 30.0, 60.0), start=1):
        harness.scheduler.submit(request(solve=solve, k=1, new=4, seed=solve, deadline=deadline))
    harness.run()
    finished = [event.solve for event in harness.events if isinstance(event, BranchFinished)]
    assert finished == [3, 4, 2, 1]


def test_an_expired_solve_is_never_prefilled() -> None:
    harness = wide(rows=1, least_prefill=4)
    harness.scheduler.submit(request(solve=1, k=4, new=60))
    served(harness, 5)
    harness.scheduler.submit(request(solve=2, prompt=[9, 9, 9, 9], k=1, new=4, deadline=harness.now + 0.3))
    for _ in range(4):
        harness.scheduler.submit(request(solve=10 + _, prompt=[8, 8, 8, 8], k=1, new=4, deadline=harness.now + 0.2))
    for one in harness.runner.steps:
        one.chunks.clear()
    harness.now += 0.5
    harness.run()
    started = {event.solve for event in harness.events if isinstance(event, SolveStarted)}
    assert started == {1}
    assert all(harness.ended(solve).reason is EndReason.DEADLINE for solve in (2, 10, 11, 12, 13))
    assert {chunk.solve for step in harness.runner.steps for chunk in step.chunks} == {1}


def test_a_deadline_that_cannot_be_met_is_refused_with_the_reason() -> None:
    harness = wide(rows=4)
    harness.scheduler.submit(request(solve=1, prompt=[1 + n % 11 for n in range(400)], k=2, new=4))
    harness.run()  # learns what a prompt token costs: 0.5 ms
    long = request(solve=2, prompt=[1 + n % 7 for n in range(2000)], k=1, new=4, deadline=harness.now + 0.1)
    with pytest.raises(
        DeadlineTooClose, match=r"0\.10 s are left, and the first token of a prompt of 2000 tokens takes"
    ):
        harness.scheduler.submit(long)
    harness.scheduler.submit(request(solve=3, prompt=[5, 6], k=1, new=4, deadline=harness.now + 0.5))
    harness.run()
    assert harness.ended(3).reason is EndReason.COMPLETE


def test_what_ends_while_it_waits_is_forgotten() -> None:
    harness = wide(rows=1)
    harness.scheduler.submit(request(solve=1, k=2, new=30))
    served(harness, 3)
    for solve in range(2, 8):
        harness.scheduler.submit(request(solve=solve, client=f"{solve % 3}", k=1, new=4, interactive=solve % 2 == 0))
    for solve in (2, 3, 7):
        harness.scheduler.end(solve, EndReason.CANCELLED)
    harness.run()
    assert [harness.ended(solve).reason for solve in (2, 3, 7)] == [EndReason.CANCELLED] * 3
    assert [harness.ended(solve).reason for solve in (4, 5, 6)] == [EndReason.COMPLETE] * 3
    assert harness.scheduler.waiting == 0
