"""The shapes of load: how many ask when."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.load.arrivals import Call, Chooser, poisson, ramp, replay
from benchmarks.load.generator import Generator
from benchmarks.load.mix import Mix
from benchmarks.load.trace import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Open loop: a Poisson process of so many calls a second."""

    rate: float
    seconds: float

    def calls(self, chooser: Chooser, seed: int) -> Iterator[Call]:
        """All calls."""
        return (chooser.call(due) for due in poisson(self.rate, self.seconds, seed))

    @property
    def protocol(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "open loop, Poisson", "rate": self.rate, "seconds": self.seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """Open loop: a Poisson process whose rate goes from `first` to `last` calls a second."""

    first: float
    last: float
    seconds: float

    def calls(self, chooser: Chooser, seed: int) -> Iterator[Call]:
        """All calls."""
        return (chooser.call(due) for due in ramp(self.first, self.last, self.seconds, seed))

    @property
    def protocol(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "open loop, ramp", "first": self.first, "last": self.last, "seconds": self.seconds}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Open loop: a recorded trace, `speed` times as fast. `name`: its file's."""

    name: str
    points: tuple[Point, ...]
    speed: float

    @property
    def seconds(self) -> float:
        """Up to its last call."""
        return self.points[-1].at / self.speed

    def calls(self, chooser: Chooser, seed: int) -> Iterator[Call]:
        """All calls; what the trace leaves open is chosen."""
        return replay(self.points, self.speed, chooser)

    @property
    def protocol(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "open loop, trace", "trace": self.name, "calls": len(self.points), "speed": self.speed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Closed loop: so many users, each of whom asks again `think` seconds after an answer."""

    users: int
    think: float
    seconds: float

    @property
    def protocol(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": "closed loop", "users": self.users, "think_seconds": self.think, "seconds": self.seconds}


Load = Rate | Ramp | Replay | Users


async def put_on(generator: Generator, load: Load, mix: Mix, seed: int, patience: float) -> None:
    """Make the calls of a load, and wait for the last answers up to `patience` seconds."""
    chooser = Chooser(mix, seed)
    match load:
        case Users():
            await generator.closed(load.users, load.think, load.seconds, chooser, patience)
        case _:
            # Drawn beforehand: a name that the mix lacks is told before the first call.
            await generator.open(list(load.calls(chooser, seed + 1)), patience)
