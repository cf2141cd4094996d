"""Logits to distributions by sorting the whole vocabulary, in numpy: for what faster samplers leave to it.

The mask, then temperature, then top-k, then top-p, then min-p, each on what the one before has left.
"""

import numpy as np
import numpy.typing as npt

from engine.core.distribution import Distribution, from_probabilities
from engine.core.types import Ask, Filters, Mask

_LEAST_KEPT = 1e-4
MOST_COMPLETE = 512
"""A node keeps a distribution whole up to so many tokens; of a larger one only those at least so probable."""

Floats = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]


def distribution(logits: Logits, ask: Ask) -> Distribution:
    """The distribution that is asked for of one row of logits [vocab]; `Ask.token` does not count.

    Raises:
        ValueError: the mask leaves no token.
    """
    if ask.mask is None:
        return of_all(logits, ask)
    ids = allowed(ask.mask)
    ids = ids[: np.searchsorted(ids, len(logits))]
    if not len(ids):
        raise ValueError("mask: it leaves no token that may be drawn; end the text before such a mask")
    found = of_all(logits[ids], ask)
    return Distribution(ids[found.ids].astype(np.int32), found.low, found.high, found.logprobs, found.greedy)


def allowed(mask: Mask) -> npt.NDArray[np.int64]:
    """The tokens of a mask, ascending."""
    return np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little"))


def of_all(logits: Logits, ask: Ask) -> Distribution:
    """The distribution of one row without a mask, by sorting all of it."""
    filters = ask.filters
    values = logits.astype(np.float64)
    best = int(values.argmax())
    shifted = values - values[best]
    if filters.temperature == 0:
        logprob = np.array([-np.log(np.exp(shifted).sum())], np.float32)
        return from_probabilities(np.array([best], np.int32), np.ones(1), logprob, 0)
    probabilities = np.exp(shifted / filters.temperature)
    probabilities /= probabilities.sum()
    order = _filtered(probabilities, filters)
    kept = np.sort(order)
    logprobs = (shifted[kept] - np.log(np.exp(shifted).sum())).astype(np.float32)
    full = from_probabilities(kept.astype(np.int32), probabilities[kept], logprobs, int(np.searchsorted(kept, best)))
    if ask.whole:
        # What rounding leaves no room for cannot be drawn.
        return _only(full, np.flatnonzero(full.high > full.low))
    if len(kept) <= MOST_COMPLETE:
        return full
    probable = np.flatnonzero(full.high - full.low >= _LEAST_KEPT)
    return _only(full, np.unique(np.concatenate([probable, full.find(ask.numbers), [full.greedy]])))


def _filtered(probabilities: Floats, filters: Filters) -> npt.NDArray[np.int64]:
    """The tokens that pass, the most probable first."""
    # Equal probabilities: the lower id first.
    order = np.argsort(-probabilities, kind="stable")
    if filters.top_k:
        order = order[: filters.top_k]
    if filters.top_p < 1:
        cumulated = np.cumsum(probabilities[order])
        order = order[: int(np.searchsorted(cumulated, filters.top_p * cumulated[-1], side="left")) + 1]
    if filters.min_p > 0:
        order = order[probabilities[order] >= filters.min_p * probabilities[order[0]]]
    return order


def _only(full: Distribution, kept: npt.NDArray[np.int64]) -> Distribution:
    """The tokens at `kept` (ascending, the greedy one among them), with gaps where others were."""
    greedy = int(np.searchsorted(kept, full.greedy))
    return Distribution(full.ids[kept], full.low[kept], full.high[kept], full.logprobs[kept], greedy)
