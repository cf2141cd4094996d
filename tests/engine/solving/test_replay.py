"""What a session keeps for a resume: the newest messages within a bound, and what was seen no longer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.solving.errors import InvalidRequest, SessionEventsGone
from engine.solving.replay import ReplayLog

MOST = 2000


@given(st.lists(st.one_of(st.binary(max_size=400), st.integers(0, 60)), max_size=60))
def test_it_keeps_an_unbroken_end_within_its_bound(steps: list[bytes | int]) -> None:
    log, said, seen = ReplayLog(MOST), [b""], 0
    for step in steps:
        if isinstance(step, int):
            seen = max(seen, min(step, log.last))
            log.trim(min(step, log.last))
        else:
            log.append(step)
            said.append(step)
        kept = [number for number in range(1, log.last + 1) if log.get(number) is not None]
        assert kept == list(range(kept[0], log.last + 1)) if kept else log.size == 0
        assert all(log.get(number) == said[number] for number in kept)
        assert log.size <= MOST
        assert log.size_after(log.last) == 0
        assert log.size_after(seen) == log.size
        for number in range(log.last + 1):
            if number + 1 in kept or number == log.last:
                log.check(number)
            else:
                with pytest.raises(SessionEventsGone):
                    log.check(number)


def test_what_is_unsent_stays_whatever_it_takes() -> None:
    log = ReplayLog(1000)
    for _ in range(10):
        log.append(b"x" * 300, unsent=4)
    assert log.get(3) is None
    assert log.get(4) is not None


def test_one_message_beyond_the_bound_is_kept() -> None:
    log = ReplayLog(10)
    log.append(b"x" * 300)
    log.append(b"y" * 300)
    assert (log.get(1), log.get(2)) == (None, b"y" * 300)


def test_what_was_never_said_cannot_have_been_seen() -> None:
    log = ReplayLog(1000)
    log.append(b"x")
    for ask in (log.trim, log.check):
        with pytest.raises(InvalidRequest, match="seen: is 2; the last message of this session has the number 1"):
            ask(2)
