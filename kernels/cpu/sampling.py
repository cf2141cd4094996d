"""Logits to filtered distributions without sorting the vocabulary.

One pass over a row gives the largest logit of each piece and its sums of exponentials. Only tokens within `reach` of
the best are looked at one by one; a heap gives them in order of probability until the nucleus is full. Flat rows, where
that is not enough, are those of kernels.cpu.flat.
"""

import math
from typing import Any

import numpy as np

from kernels.cpu.flat import flat_row
from kernels.cpu.lanes import highest, sum_of_exp
from kernels.cpu.launch import Kernel, jit
from kernels.cpu.ranks import sift, wanted
from kernels.cpu.vector import exp, f32, f64, i32, i64, i64_array, take, take_thread, u8

CANDIDATES = 8192
"""Tokens within reach at most; more make a row flat."""
_BINS = 4096  # numbers of a flat row's histogram
_PIECE = 256


def scratch_bytes(vocab: int) -> int:
    """Memory of one thread."""
    pieces = -(-vocab // _PIECE)
    return CANDIDATES * (4 + 4 + 4 + 8 + 1) + 4096 + 4 * (pieces + 1) + 8 * (_BINS + 2 * pieces)


@jit
def _nucleus(
    logits: Any, chances: Any, heap: Any, kept: Any, count: int, whole: bool, top_k: int, top_p: float, min_p: float
) -> bool:
    """Mark the candidates that pass the filters; False where tokens beyond them might pass too."""
    if top_k > count and not whole:
        return False
    if min_p > 0 and not whole and -math.log(min_p) > 12.0:
        return False
    most = min(top_k, count) if top_k > 0 else count
    if most == count and top_p >= 1:
        for i in range(count):
            kept[i] = 1
    else:
        for i in range(count):
            kept[i] = 0
            heap[i] = i
        for i in range(count // 2 - 1, -1, -1):
            sift(heap, count, i, logits)
        # The heap shrinks from its end, where the tokens taken are put, the most probable last.
        size = count
        mass = 1.0
        if top_k > 0:
            mass = 0.0
            while count - size < most:
                size -= 1
                first = heap[0]
                heap[0] = heap[size]
                heap[size] = first
                sift(heap, size, 0, logits)
                mass += chances[first]
            size = count
        sum_so_far = 0.0
        taken = 0
        while taken < most:
            if top_k > 0:
                size -= 1
                first = heap[size]
            else:
                size -= 1
                first = heap[0]
                heap[0] = heap[size]
                sift(heap, size, 0, logits)
            kept[first] = 1
            taken += 1
            sum_so_far += chances[first]
            if top_p < 1 and sum_so_far >= top_p * mass:
                break
        if top_p < 1 and sum_so_far < top_p * mass and top_k == 0 and not whole:
            return False
    if min_p > 0:
        largest = 0.0
        for i in range(count):
            largest = max(largest, chances[i])
        for i in range(count):
            if chances[i] < min_p * largest:
                kept[i] = 0
    return True


@jit
def _listed(
    row_ids: Any,
    logits: Any,
    chances: Any,
    kept: Any,
    count: int,
    greedy: int,
    lse: float,
    numbers: Any,
    most: int,
    least: float,
    ids: Any,
    low: Any,
    high: Any,
    logprobs: Any,
    capacity: int,
) -> tuple[int, int]:
    """Write the kept candidates; their number (-1: more than `capacity`) and the index of the best one."""
    total = 0.0
    tokens = 0
    last = 0
    for i in range(count):
        if kept[i]:
            total += chances[i]
            tokens += 1
            last = i
    below = 0.0
    written = 0
    best = 0
    for i in range(count):
        if not kept[i]:
            continue
        above = below + chances[i]
        first, end = below / total, 1.0 if i == last else above / total
        below = above
        if tokens > most and chances[i] < least * total and row_ids[i] != greedy and not wanted(numbers, first, end):
            continue
        if written == capacity:
            return -1, 0
        if row_ids[i] == greedy:
            best = written
        ids[written] = row_ids[i]
        low[written] = first
        high[written] = end
        logprobs[written] = np.float32(logits[i] - lse)
        written += 1
    return written, best


@jit
def _mass(line: int, x: Any, start: int, stop: int, best: Any, factor: Any) -> Any:
    """The sum of exp((x[i] - best) * factor) over a piece of `x`, which lies at `line`."""
    vectors = (stop - start) // 16
    added = sum_of_exp(line + start * 4, vectors, best, factor) if vectors else np.float32(0.0)
    for i in range(start + vectors * 16, stop):
        added += exp((x[i] - best) * factor)
    return added


@jit
def _open(
    line: int,
    x: Any,
    vocab: int,
    maxima: Any,
    masses: Any,
    greedy: int,
    best: Any,
    inverse: Any,
    total: Any,
    lse: float,
    numbers: Any,
    least: float,
    ids: Any,
    low: Any,
    high: Any,
    logprobs: Any,
    capacity: int,
) -> tuple[int, int]:
    """As _listed, for a row without filters: probable tokens and those that the numbers lead to."""
    below = 0.0
    written = 0
    best_at = 0
    edge = best + np.float32(math.log(least * total)) / inverse
    pieces = len(maxima)
    for piece in range(pieces):
        start, stop = piece * 256, min((piece + 1) * 256, vocab)
        above = below + masses[piece]
        last = 1.0 if piece == pieces - 1 else above / total
        if maxima[piece] >= edge or start <= greedy < stop or wanted(numbers, below / total, last):
            at = below
            for i in range(start, stop):
                chance = float(exp((x[i] - best) * inverse))
                first = min(at, above) / total
                at += chance
                end = last if i == stop - 1 else min(at, above) / total
                if chance < least * total and i != greedy and not wanted(numbers, first, end):
                    continue
                if written == capacity:
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


def _sample(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, widest, capacity, most = a[1], a[2], a[4], a[5]
    widths, lines = i64(a[3], rows), i64(a[6], rows)
    temperatures, top_ks, top_ps, min_ps = f64(a[7], rows), i64(a[8], rows), f64(a[9], rows), f64(a[10], rows)
    offsets = i64(a[12], rows + 1)
    counts, bests = i64(a[13], rows), i64(a[14], rows)
    least = 1e-4
    scratch = a[19] + take_thread(arguments) * a[20]
    chances = f64(scratch, 8192)
    row_ids = i32(scratch + 8192 * 8, 8192)
    logits = f32(scratch + 8192 * 12, 8192)
    heap = i32(scratch + 8192 * 16, 8192)
    kept = u8(scratch + 8192 * 20, 8192)
    most_pieces = (widest + 255) // 256
    room = f32(scratch + 8192 * 21, most_pieces)
    histogram = f64(scratch + 8192 * 21 + (most_pieces + 1) // 2 * 8, 4096)
    masses = f64(scratch + 8192 * 21 + (most_pieces + 1) // 2 * 8 + 4096 * 8, most_pieces)
    plain_masses = f64(scratch + 8192 * 21 + (most_pieces + 1) // 2 * 8 + 4096 * 8 + most_pieces * 8, most_pieces)
    while True:
        row = take(arguments)
        if row >= rows:
            return
        line, vocab = lines[row], widths[row]
        pieces = (vocab + 255) // 256
        maxima = room[:pieces]
        x = f32(line, vocab)
        temperature, top_k, top_p, min_p = temperatures[row], top_ks[row], top_ps[row], min_ps[row]
        numbers = f64(a[11] + offsets[row] * 8, offsets[row + 1] - offsets[row])
        ids = i32(a[15] + row * capacity * 4, capacity)
        low = f64(a[16] + row * capacity * 8, capacity)
        high = f64(a[17] + row * capacity * 8, capacity)
        logprobs = f32(a[18] + row * capacity * 4, capacity)
        inverse = np.float32(1.0 / temperature) if temperature > 0 else np.float32(1.0)
        best = x[0]
        for piece in range(pieces):
            start, stop = piece * 256, min((piece + 1) * 256, vocab)
            vectors = (stop - start) // 16
            largest = highest(line + start * 4, vectors) if vectors else x[start]
            for i in range(start + vectors * 16, stop):
                largest = max(largest, x[i])
            maxima[piece] = largest
            best = max(best, largest)
            # While the piece is in the cache; put in proportion when the largest of all is known.
            plain_masses[piece] = _mass(line, x, start, stop, largest, np.float32(1.0))
            masses[piece] = plain_masses[piece]
            if inverse != np.float32(1.0):
                masses[piece] = _mass(line, x, start, stop, largest, inverse)
        greedy = 0
        for piece in range(pieces):
            if maxima[piece] == best:
                greedy = piece * 256
                while greedy < vocab - 1 and x[greedy] != best:
                    greedy += 1
                break
        plain = 0.0
        scaled = 0.0
        for piece in range(pieces):
            plain += plain_masses[piece] * math.exp(float(maxima[piece]) - float(best))
            masses[piece] *= math.exp((float(maxima[piece]) - float(best)) * float(inverse))
            scaled += masses[piece]
        lse = float(best) + math.log(plain)
        if temperature == 0:
            ids[0], low[0], high[0], logprobs[0] = greedy, 0.0, 1.0, np.float32(best - lse)
            counts[row], bests[row] = 1, 0
            continue
        if top_k == 0 and top_p >= 1 and min_p == 0:
            counts[row], bests[row] = _open(
                line,
                x,
                vocab,
                maxima,
                masses,
                greedy,
                best,
                inverse,
                scaled,
                lse,
                numbers,
                least,
                ids,
                low,
                high,
                logprobs,
                capacity,
            )
            continue
        edge = best - np.float32(12.0) / inverse
        count = 0
        for piece in range(pieces):
            if maxima[piece] < edge:
                continue
            for i in range(piece * 256, min((piece + 1) * 256, vocab)):
                if x[i] >= edge:
                    if count < 8192:
                        row_ids[count] = i
                        logits[count] = x[i]
                        chances[count] = math.exp((float(x[i]) - float(best)) / temperature) / scaled
                    count += 1
        if count > 8192 or not _nucleus(logits, chances, heap, kept, count, count == vocab, top_k, top_p, min_p):
            counts[row], bests[row] = flat_row(
                x,
                maxima,
                greedy,
                best,
                inverse,
                lse,
                numbers,
                top_k,
                top_p,
                min_p,
                most,
                least,
                histogram[:2048],
                histogram[2048:],
                masses,
                row_ids,
                logits,
                heap,
                ids,
                low,
                high,
                logprobs,
            )
            continue
        counts[row], bests[row] = _listed(
            row_ids,
            logits,
            chances,
            kept,
            count,
            greedy,
            lse,
            numbers,
            most,
            least,
            ids,
            low,
            high,
            logprobs,
            capacity,
        )


sample_kernel = Kernel(_sample)
"""rows, the largest width, widths [rows] int64, capacity, most, addresses [rows] int64 of the rows' logits (a row's
width of float32 each); temperature float64 [rows], top_k int64, top_p float64, min_p float64; numbers float64 and their
offsets [rows + 1] int64; then the answer: count [rows] int64 (-1: look at the whole row), index of the best [rows]
int64, ids [rows, capacity] int32, low and high float64, logprobs float32; scratch, its bytes for each thread. A row
with more than `most` tokens keeps only those of at least 1e-4, the best one, and those that the numbers lead to.
"""
