"""Whose step the device computes: engines that share one take turns, a step a turn.

One budget for all of them: the rows and the seconds of one step. Within a class (engines with interactive work, engines
with batch work alone) the device's time is shared by weight with start-time fair queueing (Goyal, Vin, Cheng,
"Start-time fair queueing", SIGCOMM 1996): an engine's clock runs by the seconds of its steps over its weight, the one
whose clock is furthest behind is next, and one that comes back from being idle begins where the clocks of the others
are. While two engines have work, what they get, each over its weight, differs by no more than one step of each, over
its weight. Interactive work goes first, and leaves batch work a part of the time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

import structlog

from engine.loop.messages import TurnAsked, TurnGranted

_BATCH_PART = 8
"""Of so many seconds one is the batch work's if any waits."""
_FIRST_STEP = 0.1
"""Seconds that an engine's step is taken to last until it has had one."""
LONGEST_TURN = 30.0
"""Seconds after which the others go on without an engine that does not end its step."""

_log = structlog.stdlib.get_logger("engine")

Tell = Callable[[TurnGranted | TurnAsked], None]


class Timer(Protocol):
    """What `later` returns."""

    def cancel(self) -> None:
        """It is not to go off."""
        ...


def _clocks() -> dict[bool, float]:
    return {True: 0.0, False: 0.0}


@dataclass(slots=True, eq=False)
class Seat:
    """One engine's place. `clocks` by class (interactive or not): virtual seconds; `step`: seconds of its last step."""

    arbiter: "Arbiter"
    name: str
    weight: float
    tell: Tell | None = None
    wants: bool = False
    interactive: bool = False
    asked: int = 0  # in which order the seats have come to wait
    step: float = _FIRST_STEP
    clocks: dict[bool, float] = field(default_factory=_clocks)

    def want(self, *, interactive: bool) -> None:
        """It has work; `interactive`: somebody waits for some of it."""
        if self.arbiter.holder is not self:  # else it was said before the turn was there
            self.arbiter.enter(self, interactive=interactive)
            self.arbiter.go_on()

    def over(self, seconds: float, *, more: bool, interactive: bool) -> None:
        """Its turn is over: its last step took so long; `more`: it has work, as `want` says it."""
        self.arbiter.end(self, seconds)
        if more:
            self.arbiter.enter(self, interactive=interactive)
        self.arbiter.go_on()

    def leave(self) -> None:
        """It is gone, wherever it was."""
        self.tell = None
        self.wants = False
        self.arbiter.end(self, 0.0)
        self.arbiter.go_on()


class Arbiter:
    """Gives the turns of one device, all in one thread; `later(seconds, callback)` sets a timer in it."""

    def __init__(self, later: Callable[[float, Callable[[], None]], Timer]) -> None:
        self.holder: Seat | None = None
        self._later = later
        self._seats: list[Seat] = []
        self._order = count(1)
        self._class = True  # of the turn
        self._kept = False  # whether the holder goes on without asking
        self._now = _clocks()  # of the last turn of each class: its holder's clock as it began
        self._ahead = False  # whether it is a turn of batch work while interactive work waits
        self._owed = 0.0  # seconds that batch work may have beside interactive work
        self._timer: Timer | None = None

    def seat(self, name: str, weight: float = 1.0) -> Seat:
        """A place for one more engine. It can be told of turns once `tell` is set."""
        seat = Seat(self, name, weight)
        self._seats.append(seat)
        return seat

    # For the seats

    def enter(self, seat: Seat, *, interactive: bool) -> None:
        """An engine waits for a turn from now on, or its work is of another class than it was."""
        if seat.wants and seat.interactive == interactive:
            return
        seat.wants, seat.interactive, seat.asked = True, interactive, next(self._order)
        seat.clocks[interactive] = max(seat.clocks[interactive], self._now[interactive])

    def end(self, seat: Seat, seconds: float) -> None:
        """The turn of an engine, if it has it, is over."""
        if seat is not self.holder:
            return
        self.holder = None
        self._stop_timer()
        if seconds > 0:
            seat.step = seconds
        seat.clocks[self._class] += seconds / seat.weight
        if self._class:
            waits = any(other.wants and not other.interactive for other in self._seats)
            self._owed = self._owed + seconds / (_BATCH_PART - 1) if waits else 0.0
        elif self._ahead:
            self._owed -= seconds

    def go_on(self) -> None:
        """Give the next turn if nobody has it; have one that is kept given back where others wait."""
        waiting = [seat for seat in self._seats if seat.wants]
        if not waiting:
            return
        if self.holder is not None:
            if self._kept:
                self._kept = False
                self._tell(self.holder, TurnAsked())
            return
        seat = self._next(waiting)
        seat.wants = False
        self.holder, self._class, self._kept = seat, seat.interactive, len(waiting) == 1
        self._ahead = not self._class and any(other.interactive for other in waiting)
        self._now[self._class] = max(self._now[self._class], seat.clocks[self._class])
        self._tell(seat, TurnGranted(keep=self._kept))

    # Parts

    def _next(self, waiting: list[Seat]) -> Seat:
        interactive = [seat for seat in waiting if seat.interactive]
        batch = [seat for seat in waiting if not seat.interactive]
        if not (interactive and batch):
            return _first(waiting)
        late = _first(batch)
        return late if self._owed >= late.step else _first(interactive)

    def _tell(self, seat: Seat, message: TurnGranted | TurnAsked) -> None:
        if not self._kept:
            self._timer = self._later(LONGEST_TURN, self._overdue)
        if seat.tell is not None:
            seat.tell(message)

    def _overdue(self) -> None:
        if self.holder is not None:
            _log.error("turn_not_ended", model=self.holder.name, seconds=LONGEST_TURN)
            self.holder.clocks[self._class] += LONGEST_TURN / self.holder.weight
            self.end(self.holder, 0.0)
            self.go_on()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _first(seats: list[Seat]) -> Seat:
    """Of seats of one class that whose clock is furthest behind; of several the one that has waited longest."""
    return min(seats, key=lambda seat: (seat.clocks[seat.interactive], seat.asked))
