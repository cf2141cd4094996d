"""`thresher bench trace`: a made-up hour of people who write code, as a trace.

Everybody works in sittings: some asks that follow one another soon, then a long pause. So calls come in bursts, which a
Poisson process of the same rate has fewer of.
"""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.load.trace import Point, write_trace

_PAUSE_SECONDS = 900.0
"""Between two sittings of a person, in the mean of an exponential distribution."""
_ASKS = 6.0
"""Of a sitting, in the mean of a geometric distribution."""
_GAP_MEDIAN, _GAP_SPREAD = 20.0, 1.0
"""Seconds between two asks of a sitting: log-normal."""


def trace(
    people: Annotated[int, typer.Option(min=1, help="How many people work side by side.")] = 12,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Another one is another hour.")] = 0,
    out: Annotated[Path, typer.Option(help="The trace.")] = Path("thresher-bench") / "trace.jsonl",
) -> None:
    """Make a trace for `thresher bench load --trace`: people at their editors, who ask in bursts.

    It is made up, not recorded. A recorded one is the log of a server (docs/load.md).
    """
    points = sorted(sittings(people, 60 * minutes, seed), key=lambda point: point.at)
    out.parent.mkdir(parents=True, exist_ok=True)
    about = f"made up: {people} people, {minutes:g} minutes, seed {seed} (thresher bench trace)"
    write_trace(out, about, points)
    typer.echo(f"{len(points)} calls in {minutes:g} minutes: {out}")


def sittings(people: int, seconds: float, seed: int) -> Iterator[Point]:
    """The asks of each person, one person after the other; which entry and problem they are of is left open."""
    for person in range(people):
        drawn = random.Random(f"{seed} {person}")
        # Long enough before the beginning that it finds people at work.
        now = -4 * _PAUSE_SECONDS * drawn.random()
        while now < seconds:
            now += drawn.expovariate(1 / _PAUSE_SECONDS)
            while now < seconds:
                if now >= 0:
                    yield Point(now)
                now += drawn.lognormvariate(math.log(_GAP_MEDIAN), _GAP_SPREAD)
                if drawn.random() < 1 / _ASKS:
                    break
