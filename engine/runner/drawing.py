"""Distributions out of logits on a device: what a runner asks for, and how the host answers without any kernel."""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Ask
from engine.runner.sorting import distribution

Collect = Callable[[], list[Distribution]]
"""Waits for the device and gives one distribution for each ask."""


class Drawing(Protocol):
    """Answers the asks of a step."""

    def submit(self, logits: Tensor, rows: Sequence[int], asks: Sequence[Ask]) -> Collect:
        """Start to answer, if possible without waiting: collect before the next step.

        logits: [n, vocab] in any float type; `rows` says which of them each ask is about.

        Raises:
            ValueError: a mask leaves no token; from here or from what is returned.
        """
        ...


class HostDrawing:
    """Sorts on the host."""

    def submit(self, logits: Tensor, rows: Sequence[int], asks: Sequence[Ask]) -> Collect:
        """See Drawing."""
        return lambda: _sorted(logits, rows, asks)


def _sorted(logits: Tensor, rows: Sequence[int], asks: Sequence[Ask]) -> list[Distribution]:
    values = logits.float().cpu().numpy()
    return [distribution(values[row], ask) for row, ask in zip(rows, asks, strict=True)]
