"""Logits to distributions on a CPU, without sorting the vocabulary.

The mask, then temperature, then top-k, then top-p, then min-p, each on what the one before has left (the order of
Hugging Face transformers). Compiled code answers; sorted are the rows of which all is wanted, and those of so many
equal logits that it has no room for them.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Ask
from engine.runner.sorting import MOST_COMPLETE, allowed, of_all
from kernels.cpu.sampling import sample_kernel, scratch_bytes

_CAPACITY = 2048
"""Tokens of one row that compiled code can answer with."""


def distributions(logits: Tensor, places: list[int], asks: list[Ask]) -> list[Distribution]:
    """One distribution for each of `asks`; of the log-probabilities of a masked one, the mask is a part.

    logits: [rows, vocab] float32, each row contiguous; `places` says which row each of `asks` is about. `Ask.token`
    does not count.

    Raises:
        ValueError: a mask leaves no token.
    """
    values = logits.numpy()
    count, vocab = len(asks), values.shape[1]
    lines = np.array(places) * values.strides[0] + values.ctypes.data
    widths = np.full(count, vocab)
    # A masked row is a row of a smaller vocabulary: nothing outside it can be drawn, whatever is rounded.
    narrow: dict[int, tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]] = {}
    for number, (place, ask) in enumerate(zip(places, asks, strict=True)):
        if ask.mask is None:
            continue
        ids = allowed(ask.mask)
        ids = ids[: np.searchsorted(ids, vocab)]
        if not len(ids):
            raise ValueError("mask: it leaves no token that may be drawn; end the text before such a mask")
        narrow[number] = ids.astype(np.int32), values[place, ids]
        widths[number], lines[number] = len(ids), narrow[number][1].ctypes.data
    parameters = np.array([(ask.filters.temperature, ask.filters.top_p, ask.filters.min_p) for ask in asks]).T.copy()
    top_k = np.array([ask.filters.top_k for ask in asks])
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum([len(ask.numbers) for ask in asks], out=offsets[1:])
    flat = np.concatenate([*(ask.numbers for ask in asks), np.zeros(1)])
    counts, best = np.empty((2, count), np.int64)
    ids, logprobs = np.empty((count, _CAPACITY), np.int32), np.empty((count, _CAPACITY), np.float32)
    low, high = np.empty((2, count, _CAPACITY))
    per_thread = scratch_bytes(vocab)
    scratch = np.empty(per_thread * torch.get_num_threads(), np.uint8)
    sample_kernel(
        count,
        vocab,
        widths.ctypes.data,
        _CAPACITY,
        MOST_COMPLETE,
        lines.ctypes.data,
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
    results: list[Distribution] = []
    for number, (ask, kept, top) in enumerate(zip(asks, counts.tolist(), best.tolist(), strict=True)):
        if kept < 0 or (ask.whole and ask.filters.temperature > 0):
            found = of_all(narrow[number][1] if number in narrow else values[places[number]], ask)
        else:
            found = Distribution(
                ids[number, :kept].copy(),
                low[number, :kept].copy(),
                high[number, :kept].copy(),
                logprobs[number, :kept].copy(),
                top,
            )
        if number in narrow:
            found = Distribution(narrow[number][0][found.ids], found.low, found.high, found.logprobs, found.greedy)
        results.append(found)
    return results
