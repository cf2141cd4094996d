"""A solve that is ended is told of at the step boundary, not after the step that others take then."""

from collections.abc import Iterator

import pytest

from engine.core.types import BranchStarted, CoreEvent, EndReason, SolveEnded
from engine.loop.messages import End
from tests.support.held_engine import HeldEngine, HeldScript, submission


@pytest.fixture
def front() -> Iterator[HeldEngine]:
    made = HeldEngine(HeldScript())
    yield made
    made.close()


def test_the_end_of_a_solve_is_told_before_the_next_step(front: HeldEngine) -> None:
    front.send(submission(1))
    front.wait_for_step(1)
    front.sent(submission(2))
    started: set[int] = set()
    while started != {1, 2}:
        started |= {event.solve for event in front.step() if isinstance(event, BranchStarted)}
    in_flight = len(front.script.begun)
    assert front.wait_for_step(in_flight) == {1, 2}
    front.sent(End(1, EndReason.CUT_OFF))
    front.script.turns.release()
    told: list[CoreEvent] = []
    while not any(isinstance(event, SolveEnded) for event in told):
        told += front.report().events  # times out where the next step has to be computed first
    assert [event.solve for event in told if isinstance(event, SolveEnded)] == [1]
    assert front.wait_for_step(in_flight + 1) == {2}, "a row of a solve that has ended"
