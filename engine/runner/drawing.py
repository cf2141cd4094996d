"""Distributions out of logits on a device: what a runner asks for, and how the host answers without any kernel."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import torch
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Ask, Draw
from engine.runner.sorting import distribution

Collect = Callable[[], list[Distribution]]
"""Waits for the device and gives one distribution for each ask."""


class Drawing(Protocol):
    """Answers the asks of a step."""

    def prepare(self, rows: Sequence[int], asks: Sequence[Ask], after: Sequence[Draw]) -> None:
        """Take what a step asks for, before it is computed.

        rows: which row of the logits each ask is about. after: draws of the step before, which `follow` will want.

        Raises:
            ValueError: a mask leaves no token.
        """
        ...

    def follow(self, tokens: Tensor) -> None:
        """Write the tokens of those draws to `tokens` [n] int64, if possible without waiting."""
        ...

    def submit(self, logits: Tensor) -> Collect:
        """Start to answer, if possible without waiting: collect before the step after the next is prepared.

        logits: [n, vocab] in any float type, until the next step.
        """
        ...


class HostDrawing:
    """Sorts on the host."""

    def __init__(self) -> None:
        self._rows: Sequence[int] = []
        self._asks: Sequence[Ask] = []
        self._collect: Collect = list
        self._drawn: list[int] = []

    def prepare(self, rows: Sequence[int], asks: Sequence[Ask], after: Sequence[Draw]) -> None:
        """See Drawing. What is drawn after the step before is waited for: its logits are gone with the next step."""
        found = self._collect() if after else []
        self._drawn = []
        for ask, number in after:
            one = found[ask]
            place = one.greedy if number is None else one.place(float(self._asks[ask].numbers[number]))
            self._drawn.append(int(one.ids[place]))
        self._rows, self._asks = rows, asks

    def follow(self, tokens: Tensor) -> None:
        """See Drawing."""
        tokens.copy_(torch.tensor(self._drawn))

    def submit(self, logits: Tensor) -> Collect:
        """See Drawing."""
        rows, asks = self._rows, self._asks
        self._collect = cache(lambda: _sorted(logits, rows, asks))
        return self._collect


def _sorted(logits: Tensor, rows: Sequence[int], asks: Sequence[Ask]) -> list[Distribution]:
    values = logits.float().cpu().numpy()
    return [distribution(values[row], ask) for row, ask in zip(rows, asks, strict=True)]
