"""Guesses of a twin: that they make the drafts as many, and as often right, as those that were measured."""

import pytest

from benchmarks.load.loads import Replay
from benchmarks.load.trace import Point
from benchmarks.plan.guesses import Drafted, Guessing, drafted_of
from benchmarks.plan.recorded import Measured, Solved
from benchmarks.plan.twin import Twin, guessing_of
from tests.support.measured import STEP, measured, mix, problem, window

CHEAP = tuple(window(rows, STEP * (1 + rows / 400)) for rows in (1, 2, 4, 8, 16, 32, 64) for _ in range(10))
"""A row costs next to nothing: what is found is drafted."""


def played(found: Measured, guessing: Guessing, *, calls: int = 12) -> tuple[Drafted, float]:
    """Drafts of so many calls, one after another, and seconds of one."""
    load = Replay(name="calls", points=tuple(Point(30.0 * n) for n in range(calls)), speed=1.0)
    twin = Twin(found, mix("p"), guessing=guessing)
    answers = twin.play(load, seed=1)
    return twin.drafted, sum(answer.seconds for answer in answers) / calls


def texts(number: int = 400) -> Measured:
    """A problem of so many texts that none comes twice in a row."""
    return measured(problem("p", [(60, 1, True)] * number), windows=CHEAP)


def test_without_guesses_nothing_is_drafted_that_was_not_drawn_before() -> None:
    drafts, seconds = played(texts(), Guessing())
    assert drafts.drafted < drafts.rows / 20
    assert seconds == pytest.approx(60 * STEP, rel=0.15)


def test_right_guesses_write_several_tokens_in_a_step() -> None:
    drafts, seconds = played(texts(), Guessing(often=0.5, right=0.9))
    assert drafts.accepted > 0.4 * drafts.drafted > 0
    assert seconds < 0.75 * 60 * STEP


def test_wrong_guesses_cost_rows_and_bring_nothing() -> None:
    drafts, seconds = played(texts(), Guessing(often=0.5, right=0.0))
    assert drafts.drafted > 0 and drafts.accepted < drafts.drafted / 3  # a text that comes again
    assert seconds == pytest.approx(60 * STEP, rel=0.2)


@pytest.mark.parametrize(("often", "right"), [(0.2, 0.7), (0.6, 0.5)])
def test_measuring_loads_are_played_with_as_many_drafts_as_they_had(often: float, right: float) -> None:
    had, _ = played(texts(), Guessing(often, right))
    solves = tuple(
        Solved(
            users=users,
            entry="a",
            problem="p",
            first_pass=1.0,
            rows=a.rows + a.drafted,
            drafted=a.drafted,
            accepted=a.accepted,
        )
        for users, a in ((1, had), (2, had))
    )
    about = {"samples": 400, "seconds": 30.0}
    found = measured(*texts().problems["a"], windows=CHEAP, solves=solves, about=about)
    assert drafted_of(solves) == had.with_other(had)
    again, _ = played(found, guessing_of(found, mix("p")))
    assert again.drafted / again.rows == pytest.approx(had.drafted / had.rows, rel=0.35)
    assert again.accepted / again.drafted == pytest.approx(had.accepted / had.drafted, abs=0.12)


def test_where_nothing_was_drafted_nothing_is_guessed() -> None:
    assert guessing_of(texts(), mix("p")) == Guessing()
    solves = (Solved(users=1, entry="a", problem="p", first_pass=None, rows=50, drafted=0, accepted=0),)
    assert guessing_of(measured(*texts().problems["a"], solves=solves), mix("p")) == Guessing()
