"""What waits for a slow reader is bounded, and says the same."""

import random
from collections import defaultdict

import pytest

from engine.core.types import BranchCut, BranchStarted, BranchText, CoreEvent
from engine.solving.inbox import _MOST_STEPS, Happening, Inbox
from engine.solving.timers import Timer


def text(branch: int, words: str, tokens: int) -> BranchText:
    return BranchText(solve=1, branch=branch, text=words, tokens=tokens)


def started(branch: int, parent: int | None, position: int) -> BranchStarted:
    return BranchStarted(solve=1, branch=branch, parent=parent, position=position, samples=(branch,))


async def drain(inbox: Inbox) -> list[Happening]:
    return [await inbox.get() for _ in range(len(inbox))]


def read(happenings: list[Happening]) -> list[CoreEvent]:
    return [event for one in happenings if isinstance(one, list) for event in one]


async def test_a_long_text_that_nobody_reads_is_one_event_in_the_end() -> None:
    inbox = Inbox()
    for step in range(10_000):
        inbox.take([text(0, f"{step} ", step + 1), text(1, "y", step + 1)])
    assert len(inbox) == _MOST_STEPS + 1
    events = read(await drain(inbox))
    assert len(events) == 2 * (_MOST_STEPS + 2)
    assert "".join(event.text for event in events if isinstance(event, BranchText) and event.branch == 0) == "".join(
        f"{step} " for step in range(10_000)
    )
    last = events[-1]
    assert isinstance(last, BranchText)
    assert last.tokens == 10_000


async def test_a_reader_that_keeps_up_gets_every_step() -> None:
    inbox = Inbox()
    for step in range(200):
        inbox.take([text(0, "x", step + 1)])
        assert await inbox.get() == [text(0, "x", step + 1)]


async def test_what_is_no_step_keeps_its_place() -> None:
    inbox = Inbox()
    for step in range(2 * _MOST_STEPS):
        inbox.take([text(0, "x", step + 1)])
    inbox.post(Timer.DEADLINE)
    inbox.take([text(0, "late", 999)])
    inbox.take(None)
    happenings = await drain(inbox)
    assert happenings[-3:] == [Timer.DEADLINE, [text(0, "late", 999)], None]


def story_of(luck: random.Random) -> list[list[CoreEvent]]:
    """Steps of a few branches that write, fork and end."""
    tokens: dict[int, int] = {0: 0}
    steps: list[list[CoreEvent]] = [[started(0, None, 0)]]
    children = 0
    for _ in range(luck.randint(1, 300)):
        step: list[CoreEvent] = []
        for branch in list(tokens):
            match luck.choice(("text",) * 20 + ("fork", "end", "nothing")):
                case "text":
                    tokens[branch] += 1
                    step.append(text(branch, f"{branch}.{tokens[branch]} ", tokens[branch]))
                case "fork" if len(tokens) < 6:
                    children += 1
                    tokens[children] = tokens[branch]
                    step.append(started(children, branch, tokens[branch]))
                case "end" if len(tokens) > 1:
                    step.append(BranchCut(solve=1, branch=branch, samples=(branch,), tokens=tokens.pop(branch)))
                case _:
                    pass
        steps.append(step)
    return steps


@pytest.mark.parametrize("seed", range(40))
async def test_texts_forks_and_ends_are_told_in_their_order(seed: int) -> None:
    """A reader who copies the parent's text at each fork has the same texts, however far behind it is."""
    luck = random.Random(seed)
    story, pace = story_of(luck), luck.choice((0.0, 0.3, 0.9, 1.1))
    inbox = Inbox()
    seen: list[Happening] = []
    for step in story:
        inbox.take(step)
        if luck.random() < pace and len(inbox):
            seen.append(await inbox.get())
    told = read(seen + await drain(inbox))
    wanted = [event for step in story for event in step]
    assert texts_of(told) == texts_of(wanted)
    assert len(told) <= len(wanted)


def texts_of(events: list[CoreEvent]) -> tuple[dict[int, str], dict[int, int], list[str]]:
    written: dict[int, str] = defaultdict(str)
    lengths: dict[int, int] = {}
    marks: list[str] = []
    for event in events:
        match event:
            case BranchText():
                written[event.branch] += event.text
                lengths[event.branch] = event.tokens
            case BranchStarted(parent=int() as parent):
                written[event.branch] = written[parent]
                marks.append(f"{event.branch} of {parent} at {event.position}")
            case BranchCut():
                marks.append(f"{event.branch} ends at {event.tokens} after {written[event.branch]}")
            case _:
                pass
    return written, lengths, marks
