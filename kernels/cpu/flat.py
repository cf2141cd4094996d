"""Filtered distributions of flat rows: those whose nucleus, or whose best k, are more tokens than are looked at singly.

What passes top-k, top-p and min-p is a beginning of the order of probability. Where it ends is found without sorting: a
histogram of the logits tells in which bin, and only that bin is put in order.
"""

from typing import Any

import numpy as np

from kernels.cpu.launch import jit
from kernels.cpu.ranks import sift, wanted
from kernels.cpu.vector import exp

_BINS = 2048
_BINS_A_UNIT = 64.0
"""For each e-fold of probability; what is less probable than the last bin's is in the last."""


@jit
def _bin(x: Any, best: Any, inverse: Any) -> int:
    return int(min((best - x) * inverse * np.float32(_BINS_A_UNIT), np.float32(_BINS - 1)))


@jit
def _cut(
    x: Any,
    best: Any,
    inverse: Any,
    number: int,
    rest_count: float,
    rest_mass: float,
    ids: Any,
    logits: Any,
    heap: Any,
) -> tuple[int, float]:
    """The last token of bin `number` that is within the best `rest_count`, or with which `rest_mass` is reached, and
    the mass up to it. -1 where the bin has more tokens than there is room for.
    """
    count = 0
    for i in range(len(x)):
        if _bin(x[i], best, inverse) == number:
            if count == len(ids):
                return -1, 0.0
            ids[count] = i
            logits[count] = x[i]
            heap[count] = count
            count += 1
    for i in range(count // 2 - 1, -1, -1):
        sift(heap, count, i, logits)
    mass, taken, size, last = 0.0, 0, count, 0
    while size > 0:
        last = heap[0]
        size -= 1
        heap[0] = heap[size]
        sift(heap, size, 0, logits)
        mass += exp((logits[last] - best) * inverse)
        taken += 1
        if taken >= rest_count or mass >= rest_mass:
            break
    return ids[last], mass


@jit
def flat_row(
    x: Any,
    maxima: Any,
    greedy: int,
    best: Any,
    inverse: Any,
    lse: float,
    numbers: Any,
    top_k: int,
    top_p: float,
    min_p: float,
    most: int,
    least: float,
    bins: Any,
    counts: Any,
    masses: Any,
    gathered: Any,
    logits: Any,
    heap: Any,
    ids: Any,
    low: Any,
    high: Any,
    logprobs: Any,
) -> tuple[int, int]:
    """Write the tokens of a filtered row; their number (-1: there is no room) and the index of the best one.

    Args:
        x: logits [vocab] float32. maxima: of each 256 of them. greedy: the best one, `best` its logit.
        inverse: of the temperature. lse: of the logits, natural.
        numbers, most, least: as of kernels.cpu.sampling.sample_kernel.
        bins, counts: float64 scratch [2048]. masses: float64 scratch, as many as maxima.
        gathered, logits, heap: scratch of equal length, int32, float32, int32.
        ids, low, high, logprobs: the answer.
    """
    vocab = len(x)
    bins[:_BINS] = 0.0
    counts[:_BINS] = 0.0
    total = 0.0
    for i in range(vocab):
        chance = exp((x[i] - best) * inverse)
        number = _bin(x[i], best, inverse)
        bins[number] += chance
        counts[number] += 1.0
        total += chance
    # The last token that passes, in the order of probability.
    edge, edge_id = np.float32(-np.inf), vocab
    if 0 < top_k < vocab:
        above, mass, number = 0.0, 0.0, 0
        while above + counts[number] < top_k:
            above += counts[number]
            mass += bins[number]
            number += 1
        edge_id, part = _cut(x, best, inverse, number, top_k - above, np.inf, gathered, logits, heap)
        if edge_id < 0:
            return -1, 0
        edge = x[edge_id]
        total = mass + part
    if top_p < 1:
        mass, number = 0.0, 0
        while number < _BINS - 1 and mass + bins[number] < top_p * total:
            mass += bins[number]
            number += 1
        last, _ = _cut(x, best, inverse, number, np.inf, top_p * total - mass, gathered, logits, heap)
        if last < 0:
            return -1, 0
        if x[last] > edge or (x[last] == edge and last < edge_id):
            edge, edge_id = x[last], last
    total = 0.0
    tokens = 0
    final = greedy
    for piece in range(len(maxima)):
        masses[piece] = 0.0
        if maxima[piece] < edge:
            continue
        for i in range(piece * 256, min((piece + 1) * 256, vocab)):
            chance = float(exp((x[i] - best) * inverse))
            if (x[i] > edge or (x[i] == edge and i <= edge_id)) and chance >= min_p:
                masses[piece] += chance
                tokens += 1
                final = i
        total += masses[piece]
    below = 0.0
    written = 0
    best_at = 0
    for piece in range(len(maxima)):
        if masses[piece] == 0.0:
            continue
        start, stop = piece * 256, min((piece + 1) * 256, vocab)
        above = below + masses[piece]
        top = 1.0 if start <= final < stop else above / total
        probable = float(exp((maxima[piece] - best) * inverse)) >= least * total
        if tokens <= most or probable or start <= greedy < stop or wanted(numbers, below / total, top):
            at = below
            for i in range(start, stop):
                chance = float(exp((x[i] - best) * inverse))
                if not ((x[i] > edge or (x[i] == edge and i <= edge_id)) and chance >= min_p):
                    continue
                first = min(at, above) / total
                at += chance
                end = 1.0 if i == final else min(at, above) / total
                if tokens > most and chance < least * total and i != greedy and not wanted(numbers, first, end):
                    continue
                if written == len(ids):
                    return -1, 0
                if i == greedy:
                    best_at = written
                ids[written] = i
                low[written] = first
                high[written] = end
                logprobs[written] = np.float32(x[i] - lse)
                written += 1
        below = above
    return written, best_at
