"""The legs of one ascent that have not ended: who reads each, what all of them tell, and how they are ended."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, replace
from enum import Enum

import structlog

from engine.core.types import EndReason
from engine.solving.errors import EngineFailed, SolveError
from engine.solving.events import SolveEvent
from engine.solving.leg import Leg
from engine.solving.purse import Purse
from engine.solving.stage import Stage
from engine.solving.timers import GRACE_SECONDS
from engine.tracing import Span, context_within

_log = structlog.stdlib.get_logger("flight")

_ROOM = 256
"""Events of tiers that wait here for a slow reader; the tiers then wait, too."""
_SLACK_SECONDS = 0.25
"""Tiers keep the deadline and their time themselves; this much later they are no longer waited for."""


class Bell(Enum):
    """What can go off."""

    DEADLINE = "deadline"
    BUDGET = "budget"
    DRAIN = "drain"
    LEFT = "left"
    GRACE = "grace"


@dataclass(frozen=True, slots=True)
class Late:
    """A tier has had its time, or the time after which the next one starts beside it (`hedge`)."""

    leg: Leg
    hedge: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes of a leg; `error`: how it failed."""

    leg: Leg
    error: Exception | None


Happening = tuple[Leg, SolveEvent] | Ended | Late | Bell


class Legs:
    """Iterate over those that run. `ends_at` is the solve's deadline on time.monotonic's clock, `span` its span."""

    def __init__(self, request_id: str, purse: Purse, ends_at: float | None, span: Span | None) -> None:
        self._request_id = request_id
        self._purse = purse
        self._ends_at = ends_at
        self._span = span
        self._inbox: asyncio.Queue[Happening] = asyncio.Queue()
        self._room = asyncio.Semaphore(_ROOM)
        self._readers: dict[Leg, asyncio.Task[None]] = {}
        self._timers: list[asyncio.TimerHandle] = []

    def __iter__(self) -> Iterator[Leg]:
        return iter(self._readers)

    def __contains__(self, leg: Leg) -> bool:
        return leg in self._readers

    def __len__(self) -> int:
        return len(self._readers)

    async def happening(self) -> Happening:
        """The next thing that has happened."""
        happening = await self._inbox.get()
        if isinstance(happening, tuple):
            self._room.release()
        return happening

    def post(self, happening: Happening) -> None:
        """It has happened."""
        self._inbox.put_nowait(happening)

    # Timers

    def post_later(self, happening: Happening, seconds: float) -> None:
        """It happens in so many seconds, unless all is over by then."""
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self.post, happening))

    def ring(self, bell: Bell, seconds: float | None) -> None:
        """A bell goes off once the tiers have had their chance to keep these seconds; None: it does not."""
        if seconds is not None:
            self.post_later(bell, max(0.0, seconds) + _SLACK_SECONDS)

    # Readers

    def start(self, leg: Leg, stage: Stage) -> None:
        """Begin with a leg."""
        self._readers[leg] = asyncio.create_task(self._read(leg, stage), context=context_within(self._span))

    async def _read(self, leg: Leg, stage: Stage) -> None:
        """Put the events of a leg into the inbox, and its end, however it comes."""
        error: Exception | None = None
        try:
            async with stage.turns or nullcontext():
                left = None if self._ends_at is None else self._ends_at - time.monotonic()
                # Its time begins with its turn.
                seconds = self._purse.seconds_for(stage.terms)
                asked = replace(leg.spec, budget=replace(leg.spec.budget, wall_seconds=seconds))
                if seconds is not None:
                    self.post_later(Late(leg, hedge=False), seconds + GRACE_SECONDS)
                async with aclosing(stage.tier.solve(asked, deadline=left, cut=leg.cut)) as events:
                    async for event in events:
                        await self._room.acquire()
                        self.post((leg, event))
        except SolveError as failed:
            error = failed
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                error = EngineFailed("a part of the tier was cancelled")
        except Exception as fault:
            _log.exception("tier_failed", request_id=self._request_id, tier=leg.name)
            error = EngineFailed(f"{type(fault).__name__}: {fault}")
        self.post(Ended(leg, error))

    def ended(self, leg: Leg) -> None:
        """Its end was told."""
        del self._readers[leg]

    def cancel(self, leg: Leg) -> None:
        """End a leg without its last words."""
        self._readers[leg].cancel()

    def cut(self, leg: Leg, reason: EndReason = EndReason.CUT_OFF, *, at_once: bool = False) -> None:
        """End a leg that the solve does not need any more; `at_once`: without its last words."""
        if not leg.cut.done():
            leg.cut.set_result(reason)
        if at_once or not leg.accepted:
            self.cancel(leg)

    async def end_all(self) -> None:
        """Cancel what still runs, and wait until it is gone. No timer goes off any more."""
        for timer in self._timers:
            timer.cancel()
        for reader in self._readers.values():
            reader.cancel()
        if self._readers:
            await asyncio.wait(self._readers.values())
