"""The distribution of the next token at one node of the sampling tree, compressed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Distribution:
    """Inverse transform over token ids in ascending order; tokens of tiny probability may be left out.

    Token ids[i] is drawn by numbers in [low[i], high[i]). A complete distribution has no gaps; in another, a number
    that falls into a gap belongs to a token that was not kept, and the row has to be computed again to name it.

    ids: [m] int32, ascending. low, high: [m] float64 in [0, 1]. logprobs: [m] float32, natural logarithm of the
    unfiltered probability at temperature 1. greedy: index into ids of the most probable token, the lowest among equals.
    """

    ids: npt.NDArray[np.int32]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    logprobs: npt.NDArray[np.float32]
    greedy: int

    @property
    def missing(self) -> float:
        """Probability of the tokens that were left out; exactly 0 for a complete distribution."""
        gaps = self.low - np.concatenate([[0.0], self.high[:-1]])
        return float(gaps.sum() + (1.0 - self.high[-1]))

    def interval(self, token: int) -> tuple[float, float]:
        """The numbers that draw a token; an empty interval for one that is not in `ids`."""
        index = int(np.searchsorted(self.ids, token))
        if index < len(self.ids) and self.ids[index] == token:
            return float(self.low[index]), float(self.high[index])
        return 1.0, 0.0

    def place(self, number: float) -> int:
        """`find` for one number."""
        index = int(self.high.searchsorted(number, side="right"))
        return index if index < len(self.ids) and number >= self.low[index] else -1

    def find(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Index into `ids` for each number; -1 where the number falls into a gap."""
        index = np.searchsorted(self.high, numbers, side="right")
        inside = index < len(self.ids)
        index = np.where(inside, index, 0)
        return np.where(inside & (numbers >= self.low[index]), index, -1)


def from_probabilities(
    ids: npt.NDArray[np.int32],
    probabilities: npt.NDArray[np.float64],
    logprobs: npt.NDArray[np.float32],
    greedy: int,
) -> Distribution:
    """A complete distribution over `ids` (ascending) from probabilities of any positive sum."""
    high = np.cumsum(probabilities)
    high /= high[-1]
    # Rounding must not leave a gap under 1: the largest number drawn is 1 - 2**-53.
    high[-1] = 1.0
    low = np.empty_like(high)
    low[0] = 0.0
    low[1:] = high[:-1]
    return Distribution(ids, low, high, logprobs, greedy)
