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

    def submit(self, logits: Tensor, rows: Sequence[int], asks: Sequence[Ask]) -> Collect:
        """Start to answer, if possible without waiting: collect before the step after the next is submitted.

        logits: [n, vocab] in any float type, until the next step; `rows` says which of them each ask is about.

        Raises:
            ValueError: a mask leaves no token; from here or from what is returned.
        """
        ...

    def follow(self, draws: Sequence[Draw], tokens: Tensor) -> None:
        """Write to `tokens` [n] int64 what the asks submitted last draw, if possible without waiting."""
        ...


class HostDrawing:
    """Sorts on the host."""

    def __init__(self) -> None:
        self._asks: Sequence[Ask] = []
        self._collect: Collect = list

    def submit(self, logits: Tensor, rows: Sequence[int], asks: Sequence[Ask]) -> Collect:
        """See Drawing."""
        self._asks, self._collect = asks, cache(lambda: _sorted(logits, rows, asks))
        return self._collect

    def follow(self, draws: Sequence[Draw], tokens: Tensor) -> None:
        """See Drawing. It waits: the logits are gone with the next step."""
        found = self._collect()
        drawn: list[int] = []
        for ask, number in draws:
            one = found[ask]
            place = one.greedy if number is None else one.place(float(self._asks[ask].numbers[number]))
            drawn.append(int(one.ids[place]))
        tokens.copy_(torch.tensor(drawn))


def _sorted(logits: Tensor, rows: Sequence[int], asks: Sequence[Ask]) -> list[Distribution]:
    values = logits.float().cpu().numpy()
    return [distribution(values[row], ask) for row, ask in zip(rows, asks, strict=True)]
