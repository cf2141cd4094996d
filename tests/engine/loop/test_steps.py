"""The engine's loop over a device that computes while the host goes on: steps are submitted ahead of their results."""

from collections.abc import Callable, Iterator

import pytest

from engine.core.types import CoreEvent, EndReason, SolveEnded
from engine.loop.messages import End, TurnGranted
from tests.support.held_engine import HeldAhead, HeldEngine, submission, wait_for

Start = Callable[..., HeldEngine]


@pytest.fixture
def start() -> Iterator[Start]:
    made: list[HeldEngine] = []

    def started(*, shared: bool = False) -> HeldEngine:
        made.append(HeldEngine(HeldAhead(), shared=shared))
        return made[-1]

    yield started
    for one in made:
        one.close()


def ahead(front: HeldEngine) -> HeldAhead:
    assert isinstance(front.script, HeldAhead)
    return front.script


def in_flight(front: HeldEngine) -> None:
    """Until a step is computed, and behind it another waits whose token that one draws."""
    front.send(submission(1))
    front.script.turns.release()  # the prompt
    front.report()
    settled(front, begun=2)


def settled(front: HeldEngine, *, begun: int) -> None:
    """Until so many steps are computed or being computed, and one more is submitted."""
    script = ahead(front)
    wait_for(lambda: len(script.begun) == begun and len(script.submitted) == begun + 1)
    assert script.submitted[-1].after


def test_the_next_step_is_submitted_while_one_is_computed(start: Start) -> None:
    front = start()
    in_flight(front)
    for begun in range(3, 7):
        front.script.turns.release()
        report = front.report()
        # The first of them was planned whole: the device had to wait for that.
        assert report.rows == 1 and (report.overhead_seconds == 0.0) == (begun > 3)
        settled(front, begun=begun)


def test_a_solve_that_is_ended_in_flight_is_told_and_the_engine_goes_on(start: Start) -> None:
    front = start()
    in_flight(front)
    script = ahead(front)
    front.sent(End(1, EndReason.CUT_OFF))
    script.turns.release()
    told: list[CoreEvent] = []
    while not any(isinstance(event, SolveEnded) for event in told):
        told += front.report().events
    script.turns.release(1000)  # what was submitted ahead is computed in vain
    wait_for(lambda: front.scheduler.idle)
    front.send(submission(2))
    told.clear()
    while not any(isinstance(event, SolveEnded) for event in told):
        report = front.report()
        told += report.events
        script.turns.release()
    assert [(event.solve, event.reason) for event in told if isinstance(event, SolveEnded)] == [(2, EndReason.COMPLETE)]
    wait_for(lambda: len(script.begun) == len(script.submitted))
    pool = front.scheduler.pool
    assert pool.free + pool.idle == pool.capacity


def test_an_engine_that_shares_its_device_leaves_no_step_on_it(start: Start) -> None:
    front = start(shared=True)
    front.send(submission(1))
    front.send(TurnGranted(keep=True))
    front.script.turns.release(1000)
    told: list[CoreEvent] = []
    while not any(isinstance(event, SolveEnded) for event in told):
        told += front.report().events
    script = ahead(front)
    assert len(script.submitted) == 0 and len(script.begun) > 400 and script.ahead == 0
