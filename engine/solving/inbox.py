"""What happens to a solve, in its order, until its reader comes to it.

A reader may be slow: its caller reads slowly, and gRPC lets no more be written. The engine goes on meanwhile. Most of
what it tells is text, some with each step; so once a number of steps wait, the texts of a branch become one, and what
waits is bounded by the number of branches and the length of their texts.
"""

import asyncio
from dataclasses import replace

from engine.core.types import BranchStarted, BranchText, CoreEvent
from engine.solving.judging import Posted
from engine.solving.timers import Timer

Happening = list[CoreEvent] | Timer | Posted | None
"""Events of one step or of several; None: the engine has died."""

_MOST_STEPS = 64


class Inbox:
    """A queue with one reader."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Happening] = asyncio.Queue()
        self._last: list[CoreEvent] | None = None
        self._texts: dict[int, int] = {}

    def __len__(self) -> int:
        return self._queue.qsize()

    def post(self, happening: Timer | Posted | None) -> None:
        """Add what is no step."""
        self._last = None
        self._queue.put_nowait(happening)

    def take(self, events: list[CoreEvent] | None) -> None:
        """Add the events of a step, to those of the step before where too many wait; None as in `post`."""
        if events is None:
            self.post(None)
        elif self._last is not None and len(self) > _MOST_STEPS:
            for event in events:
                self._join(self._last, event)
        else:
            self._last, self._texts = list(events), {}
            self._queue.put_nowait(self._last)

    async def get(self) -> Happening:
        """The next one, once there is one."""
        happening = await self._queue.get()
        if happening is self._last:
            self._last = None
        return happening

    def _join(self, last: list[CoreEvent], event: CoreEvent) -> None:
        match event:
            case BranchText(branch=branch) if branch in self._texts:
                place = self._texts[branch]
                before = last[place]
                assert isinstance(before, BranchText)
                last[place] = replace(before, text=before.text + event.text, tokens=event.tokens)
                return
            case BranchText(branch=branch):
                self._texts[branch] = len(last)
            case BranchStarted(parent=int() as parent):
                # What its parent wrote before is the child's beginning; what it writes afterwards is not.
                self._texts.pop(parent, None)
            case _:
                pass
        last.append(event)
