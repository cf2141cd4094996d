"""Random schedules in small pools: see tests/support/random_schedule.py."""

from tests.support import random_schedule
from tests.support.random_schedule import Tally


def test_a_page_whose_end_another_text_has_is_not_taken_again() -> None:
    # A text that had ended gave its pages back: its place was taken, and what lay behind it.
    random_schedule.run(573, ahead=False)


def test_random_schedules_keep_every_invariant() -> None:
    tally = sum((random_schedule.run(seed, ahead=bool(seed % 2)) for seed in range(40)), Tally())
    # The schedules must be such that there is something to go wrong.
    happened = (tally.forks, tally.branch_ends, tally.prunes, tally.cuts, tally.evictions, tally.accepted_tokens)
    assert min(*happened, tally.compared, tally.cached_tokens, tally.drafted_tokens) > 40
    assert tally.planned_ahead > 40 and tally.void_rows > 10
