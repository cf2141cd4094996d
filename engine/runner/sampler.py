"""Logits to distributions on a CPU, without sorting the vocabulary.

Temperature, then top-k, then top-p, then min-p, each on what the one before has left (the order of Hugging Face
transformers). Only tokens within `_REACH` of the best logit are looked at; where that is not enough the whole row is.
"""

import math
from typing import Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.core.distribution import Distribution, from_probabilities
from engine.core.types import Filters

_REACH = 12.0
"""In units of temperature: a token farther below the best is less than exp(-12), 6e-6, as probable as that."""

_LEAST_KEPT = 1e-4
_MOST_COMPLETE = 512
"""A node keeps a distribution whole up to so many tokens; of a larger one only those at least so probable."""

Floats = npt.NDArray[np.float64]


def distributions(logits: Tensor, filters: list[Filters], numbers: list[Floats]) -> list[Distribution]:
    """One distribution for each row.

    logits: [rows, vocab] float32. `numbers`: the draws about to be made from each row; a distribution that is not
    complete keeps the tokens they lead to.
    """
    best, arg = logits.max(dim=-1)
    lse = _logsumexp(logits, best, 1.0)
    temperatures = [f.temperature for f in filters]
    hot = [t if t > 0 else 1.0 for t in temperatures]
    scaled = lse if all(t == 1.0 for t in hot) else _scaled_logsumexp(logits, best, hot)
    reach = torch.tensor([_REACH * t if t > 0 else 0.0 for t in temperatures])
    rows, columns = (logits >= (best - reach)[:, None]).nonzero(as_tuple=True)
    values = logits[rows, columns].double().numpy()
    ends = np.searchsorted(rows.numpy(), np.arange(1, len(filters) + 1))
    ids = columns.to(torch.int32).numpy()
    best_of, lse_of, scaled_of = best.double().tolist(), lse.tolist(), scaled.tolist()
    found: list[Distribution] = []
    first = 0
    for row, last in enumerate(ends.tolist()):
        near = _Row(ids[first:last], values[first:last], best_of[row], lse_of[row], scaled_of[row])
        first = last
        one = _filtered(near, filters[row], int(arg[row]), whole=len(near.ids) == logits.shape[1])
        if one is None:
            everything = _Row(
                np.arange(logits.shape[1], dtype=np.int32),
                logits[row].double().numpy(),
                near.best,
                near.lse,
                near.scaled,
            )
            one = _filtered(everything, filters[row], int(arg[row]), whole=True)
        found.append(one if len(one.ids) <= _MOST_COMPLETE else _compressed(one, numbers[row]))
    return found


def _logsumexp(logits: Tensor, best: Tensor, temperature: float) -> Tensor:
    """Of logits / temperature, [rows] float64; the sum is taken in float32 pieces of 1,024 tokens, then in float64."""
    parts = logits.sub(best[:, None]).div_(temperature).exp_().split(1024, dim=1)
    total = torch.stack([part.sum(dim=1) for part in parts], dim=1).double().sum(dim=1)
    return best.double() / temperature + total.log()


def _scaled_logsumexp(logits: Tensor, best: Tensor, temperatures: list[float]) -> Tensor:
    result = torch.empty(len(temperatures), dtype=torch.float64)
    for temperature in set(temperatures):
        mine = torch.tensor([i for i, t in enumerate(temperatures) if t == temperature])
        whole = len(mine) == len(temperatures)
        result[mine] = _logsumexp(logits if whole else logits[mine], best if whole else best[mine], temperature)
    return result


class _Row:
    """Tokens of one row (ids ascending) with their logits, the best logit, and the log-sum-exp at 1 and at
    temperature."""

    __slots__ = ("best", "ids", "logits", "lse", "scaled")

    def __init__(self, ids: npt.NDArray[np.int32], logits: Floats, best: float, lse: float, scaled: float) -> None:
        self.ids = ids
        self.logits = logits
        self.best = best
        self.lse = lse
        self.scaled = scaled

    def logprobs(self, kept: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        return (self.logits[kept] - self.lse).astype(np.float32)


@overload
def _filtered(row: _Row, filters: Filters, greedy: int, *, whole: Literal[True]) -> Distribution: ...
@overload
def _filtered(row: _Row, filters: Filters, greedy: int, *, whole: bool) -> Distribution | None: ...
def _filtered(row: _Row, filters: Filters, greedy: int, *, whole: bool) -> Distribution | None:
    """The distribution after the filters; None if they may reach beyond the tokens given (`whole`: all there are)."""
    if filters.temperature == 0:
        kept = np.array([np.searchsorted(row.ids, greedy)])
        return from_probabilities(row.ids[kept], np.ones(1), row.logprobs(kept), 0)
    if not whole and not (filters.top_k or filters.top_p < 1 or filters.min_p > 0):
        return None
    probabilities = np.exp(row.logits / filters.temperature - row.scaled)
    # Equal probabilities: the lower id first.
    order = np.argsort(-probabilities, kind="stable")
    if filters.top_k:
        if filters.top_k > len(order) and not whole:
            return None
        order = order[: filters.top_k]
    if filters.top_p < 1:
        mass = probabilities[order].sum() if filters.top_k else 1.0
        enough = int(np.searchsorted(np.cumsum(probabilities[order]), filters.top_p * mass, side="left"))
        if enough >= len(order) and not filters.top_k and not whole:
            return None
        order = order[: enough + 1]
    if filters.min_p > 0:
        if -math.log(filters.min_p) > _REACH and not whole:
            return None
        order = order[probabilities[order] >= filters.min_p * probabilities[order[0]]]
    kept = np.sort(order)
    best = int(np.searchsorted(row.ids[kept], greedy))
    return from_probabilities(row.ids[kept], probabilities[kept], row.logprobs(kept), best)


def _compressed(full: Distribution, numbers: Floats) -> Distribution:
    """Keep the probable tokens, the best one and those that the numbers lead to; leave gaps between them."""
    probable = np.flatnonzero(full.high - full.low >= _LEAST_KEPT)
    kept = np.unique(np.concatenate([probable, full.find(numbers), [full.greedy]]))
    greedy = int(np.searchsorted(kept, full.greedy))
    return Distribution(full.ids[kept], full.low[kept], full.high[kept], full.logprobs[kept], greedy)
