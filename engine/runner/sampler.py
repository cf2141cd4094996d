"""Logits to distributions on a CPU, without sorting the vocabulary.

Temperature, then top-k, then top-p, then min-p, each on what the one before has left (the order of Hugging Face
transformers). Compiled code looks at the tokens near the best; the few rows for which that is not enough are sorted.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.core.distribution import Distribution, from_probabilities
from engine.core.types import Filters
from kernels.cpu.sampling import sample_kernel, scratch_bytes

_LEAST_KEPT = 1e-4
_MOST_COMPLETE = 512
"""A node keeps a distribution whole up to so many tokens; of a larger one only those at least so probable."""

_CAPACITY = 2048
"""Tokens of one row that compiled code can answer with."""

Floats = npt.NDArray[np.float64]


def distributions(logits: Tensor, filters: list[Filters], numbers: list[Floats]) -> list[Distribution]:
    """One distribution for each row.

    logits: [rows, vocab] float32, each row contiguous. `numbers`: the draws about to be made from each row; a
    distribution that is not complete keeps the tokens they lead to.
    """
    rows, vocab = logits.shape
    parameters = np.array([(f.temperature, f.top_p, f.min_p) for f in filters]).T.copy()
    top_k = np.array([f.top_k for f in filters])
    offsets = np.zeros(rows + 1, np.int64)
    np.cumsum([len(part) for part in numbers], out=offsets[1:])
    flat = np.concatenate([*numbers, np.zeros(1)])
    counts, best = np.empty((2, rows), np.int64)
    ids, logprobs = np.empty((rows, _CAPACITY), np.int32), np.empty((rows, _CAPACITY), np.float32)
    low, high = np.empty((2, rows, _CAPACITY))
    per_thread = scratch_bytes(vocab)
    scratch = np.empty(per_thread * torch.get_num_threads(), np.uint8)
    sample_kernel(
        rows,
        vocab,
        logits.stride(0) * 4,
        _CAPACITY,
        _MOST_COMPLETE,
        logits.data_ptr(),
        parameters[0].ctypes.data,
        top_k.ctypes.data,
        parameters[1].ctypes.data,
        parameters[2].ctypes.data,
        flat.ctypes.data,
        offsets.ctypes.data,
        counts.ctypes.data,
        best.ctypes.data,
        ids.ctypes.data,
        low.ctypes.data,
        high.ctypes.data,
        logprobs.ctypes.data,
        scratch.ctypes.data,
        per_thread,
    )
    return [
        Distribution(
            ids[row, :count].copy(),
            low[row, :count].copy(),
            high[row, :count].copy(),
            logprobs[row, :count].copy(),
            top,
        )
        if count > 0
        else _of_all(logits[row], filters[row], numbers[row])
        for row, (count, top) in enumerate(zip(counts.tolist(), best.tolist(), strict=True))
    ]


def _of_all(logits: Tensor, filters: Filters, numbers: Floats) -> Distribution:
    """The distribution of one row [vocab] of logits, by sorting all of it."""
    values = logits.double().numpy()
    best = int(values.argmax())
    shifted = values - values[best]
    probabilities = np.exp(shifted / filters.temperature)
    probabilities /= probabilities.sum()
    # Equal probabilities: the lower id first.
    order = np.argsort(-probabilities, kind="stable")
    if filters.top_k:
        order = order[: filters.top_k]
    if filters.top_p < 1:
        cumulated = np.cumsum(probabilities[order])
        order = order[: int(np.searchsorted(cumulated, filters.top_p * cumulated[-1], side="left")) + 1]
    if filters.min_p > 0:
        order = order[probabilities[order] >= filters.min_p * probabilities[order[0]]]
    kept = np.sort(order)
    logprobs = (shifted[kept] - np.log(np.exp(shifted).sum())).astype(np.float32)
    full = from_probabilities(kept.astype(np.int32), probabilities[kept], logprobs, int(np.searchsorted(kept, best)))
    return full if len(kept) <= _MOST_COMPLETE else _compressed(full, numbers)


def _compressed(full: Distribution, numbers: Floats) -> Distribution:
    """Keep the probable tokens, the best one and those that the numbers lead to; leave gaps between them."""
    probable = np.flatnonzero(full.high - full.low >= _LEAST_KEPT)
    kept = np.unique(np.concatenate([probable, full.find(numbers), [full.greedy]]))
    greedy = int(np.searchsorted(kept, full.greedy))
    return Distribution(full.ids[kept], full.low[kept], full.high[kept], full.logprobs[kept], greedy)
