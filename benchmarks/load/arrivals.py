"""When calls are due, and which entry and problem of the mix each is: drawn beforehand, whatever the server does."""

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.experiments.errors import CannotRun
from benchmarks.load.mix import Mix
from benchmarks.load.trace import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that will be made: number `place` among all, `due` seconds after the run's beginning.

    entry and problem are numbers. cancel: seconds after its time when its client gives it up; None for never.
    """

    place: int
    due: float
    entry: int
    problem: int
    client: int
    seed: int
    cancel: float | None


class Chooser:
    """Chooses entry, problem, client, seed and cancel of one call after the other, by a seed of its own."""

    def __init__(self, mix: Mix, seed: int) -> None:
        self._mix = mix
        self._random = random.Random(seed)
        self._turns = [0] * len(mix.entries)
        self._place = 0

    def call(self, due: float, entry: str = "", problem: str = "") -> Call:
        """The next call; an entry is drawn by its weight unless it is named, its problems come in turn.

        Raises CannotRun for a name that the mix does not have.
        """
        entries = self._mix.entries
        if entry:
            number = self._mix.find(entry)
        else:
            (number,) = self._random.choices(range(len(entries)), [one.weight for one in entries])
        chosen, turn = entries[number], self._turns[number]
        self._turns[number] += 1
        if problem and problem not in chosen.problems:
            raise CannotRun(f"the entry {chosen.name!r} has no problem {problem!r}")
        cancel = chosen.cancel
        cancelled = cancel is not None and self._random.random() < cancel.share
        call = Call(
            place=self._place,
            due=due,
            entry=number,
            problem=chosen.problems.index(problem) if problem else turn % len(chosen.problems),
            client=turn % chosen.clients,
            seed=self._random.getrandbits(53),
            cancel=self._random.uniform(*cancel.after) if cancel is not None and cancelled else None,
        )
        self._place += 1
        return call


def poisson(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Times from 0 to `seconds` of a Poisson process with `rate` events a second."""
    yield from ramp(rate, rate, seconds, seed)


def ramp(first: float, last: float, seconds: float, seed: int) -> Iterator[float]:
    """The same with a rate that goes in a straight line from `first` to `last`.

    Time is a stretched unit process: the n-th event is where the integral of the rate reaches the sum of n exponential
    draws (Çinlar 1975, "Introduction to Stochastic Processes", chapter 4).
    """
    drawn, slope = random.Random(seed), (last - first) / seconds
    mass = 0.0
    while True:
        mass += drawn.expovariate(1.0)
        if slope == 0:
            when = mass / first
        else:
            inside = first**2 + 2 * slope * mass
            if inside < 0:
                return  # the rate has fallen to nothing before
            when = (math.sqrt(inside) - first) / slope
        if when >= seconds:
            return
        yield when


def replay(points: Iterable[Point], speed: float, chooser: Chooser) -> Iterator[Call]:
    """The calls of a trace, `speed` times as fast as they were recorded. Raises CannotRun for unknown names."""
    for point in points:
        yield chooser.call(point.at / speed, point.entry, point.problem)
