"""The knee: the largest rate at which the server still holds its promise, found by bisection, each step with its doubt.

A rate holds if at least a share of the calls has its answer in time. One run at a rate says so if the 95 % interval of
the share (confidence.py) lies on one side; else it is run again with other seeds, up to a number of times, and then the
share itself decides, which is written down. Rates are halved on a log scale until the last that held and the first that
did not are as close as wished.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.load.confidence import Share, share_of

Decision = Literal["holds", "fails", "likely holds", "likely fails"]
"""`likely`: the interval has the wanted share in it, and no run is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """share of calls in time, from `low` to `high` calls a second, up to a factor of 1 + `precision`; so many runs."""

    share: float
    low: float
    high: float
    precision: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What came of one rate: all its runs together."""

    rate: float
    share: Share
    runs: int
    decision: Decision

    @property
    def held(self) -> bool:
        """Whether it counts as holding."""
        return self.decision in ("holds", "likely holds")

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {"rate": self.rate, "runs": self.runs, "decision": self.decision, **self.share.plain()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """held: the largest rate that did, None if not even the lowest; failed: the smallest that did not, None if none."""

    held: float | None
    failed: float | None
    steps: tuple[Step, ...]

    @property
    def certain(self) -> bool:
        """Whether the two rates that it lies between were decided by their intervals."""
        ends = [step for step in self.steps if step.rate in (self.held, self.failed)]
        return all(step.decision in ("holds", "fails") for step in ends)


Trial = Callable[[float, int], Awaitable[Sequence[bool]]]
"""Puts a rate on the server, the n-th time; whether each call had its answer in time."""


def decide(share: Share, wanted: float, *, last: bool) -> Decision | None:
    """What a share says about a wish; None if another run may say more."""
    if share.low >= wanted:
        return "holds"
    if share.high < wanted:
        return "fails"
    if not last:
        return None
    return "likely holds" if share.value >= wanted else "likely fails"


async def find(wish: Wish, trial: Trial) -> Knee:
    """Look for the knee."""
    steps: list[Step] = []

    async def at(rate: float) -> bool:
        runs: list[Sequence[bool]] = []
        while True:
            runs.append(await trial(rate, len(runs)))
            share = share_of(runs)
            decision = decide(share, wish.share, last=len(runs) >= wish.runs)
            if decision is not None:
                steps.append(Step(rate=rate, share=share, runs=len(runs), decision=decision))
                return steps[-1].held

    held, failed = None, None
    if await at(wish.low):
        held = wish.low
        if await at(wish.high):
            held = wish.high
        else:
            failed = wish.high
    else:
        failed = wish.low
    while held is not None and failed is not None and failed / held > 1 + wish.precision:
        rate = _rounded((held * failed) ** 0.5)
        if await at(rate):
            held = rate
        else:
            failed = rate
    return Knee(held=held, failed=failed, steps=tuple(steps))


def _rounded(rate: float) -> float:
    """Four digits, so that a resumed search asks for the very rates that it has tried."""
    return float(f"{rate:.4g}")
