"""The last pass over logits: filters, the tokens that numbers draw, the most probable tokens with their intervals.

One program answers an ask. Of the vocabulary it looks at few tiles: for the filters those with a token within reach of
the best, which it collects in a list; then those where a number leads, or that have a token worth listing.
"""

# Triton knows the types of a kernel's arguments when it is called.
# pyright: reportMissingParameterType=false

import triton
import triton.language as tl

from kernels.gpu.masses import factor_of, read_tokens, weigh
from kernels.gpu.nucleus import above, key_of, last_kept, read
from kernels.gpu.philox import uniform

LISTED = 64
"""Tokens that are listed of a distribution, at most: of those of at least 1 / _WORTH the most probable."""
NEAR = 8192
"""Tokens within reach of the best that filters choose among; where there are more, they choose among all."""
FOUND = 4096
"""Tokens of at least 1 / 4096: room for them all."""

_LOWEST = tl.constexpr(-2147483648)
_ALL = tl.constexpr(2147483647)
_REACH = tl.constexpr(12.0)
_WORTH = tl.constexpr(FOUND)


@triton.jit
def share(mass, total):
    """Masses as shares of the total, float64: the same for equal masses, never falling, 1 for the total alone."""
    # One division for a whole distribution.
    return tl.where(mass >= total, 1.0, tl.minimum(mass.to(tl.float64) * (1.0 / total.to(tl.float64)), 1.0))


@triton.jit
def part_of(mass, top_p):
    """The least mass that is at least `top_p` of a mass: at least 1, and no more than there is."""
    wanted = top_p * mass.to(tl.float64)
    part = wanted.to(tl.int64)
    part += (part.to(tl.float64) < wanted).to(tl.int64)
    return tl.minimum(tl.maximum(part, 1), mass)


@triton.jit
def listing(flags, tile, tiles):
    """Write the numbers of the tiles that are flagged, in order, to `tiles`; how many there are."""
    flag = flags.to(tl.int32)
    tl.store(tiles + tl.cumsum(flag, axis=0) - flag, tile, mask=flags)
    return tl.sum(flag, axis=0)


@triton.jit
def filtered(
    best, factor, temperature, top_k, top_p, min_p, whole_mass, peak, tile, real,
    values, ids, logits, masks, words, mask, vocab, tiles, TILE: tl.constexpr, NEAR: tl.constexpr,
):  # fmt: skip
    """Top-k, then top-p, then min-p.

    Returns (key of the last token kept, how many of that key are kept, mass of all that are kept: int64 each; whether
    all of them are among those listed in `values` and `ids`, how many these are).
    """
    edge = (best.to(tl.float64) - _REACH * temperature).to(tl.float32)
    flagged = listing(real & (peak >= edge), tile, tiles)
    tl.debug_barrier()
    count = 0
    block = 0
    while block < flagged:
        token = tl.load(tiles + block) * TILE + tl.arange(0, TILE)
        x, there = read_tokens(logits, masks, words, mask, vocab, token)
        near = (there & (x >= edge)).to(tl.int32)
        at = count + tl.cumsum(near, axis=0) - near
        tl.store(values + at, x, mask=(near != 0) & (at < NEAR))
        tl.store(ids + at, token, mask=(near != 0) & (at < NEAR))
        count += tl.sum(near, axis=0)
        block += 1
    tl.debug_barrier()

    # What min-p keeps begins at this logit, and no sum is needed to know it.
    least = key_of(best).to(tl.int64) * 0 + _LOWEST
    if min_p > 0:
        bound = best.to(tl.float64) + temperature * tl.log(min_p)
        nearest = bound.to(tl.float32)
        nearest = tl.where(nearest == 0, 0.0, nearest)
        least = key_of(nearest).to(tl.int64) + (nearest.to(tl.float64) < bound).to(tl.int64)

    # The list will do if all that is kept is surely in it.
    dense = (count <= NEAR) & (top_k <= count)
    if dense & (top_k == 0):
        if top_p < 1:
            _, mass, _, _ = above(
                least * 0 + _LOWEST, best, factor, tl.cdiv(count, TILE), True, count, values, ids, logits, masks, words,
                mask, vocab, tiles, TILE,
            )  # fmt: skip
            dense = mass >= part_of(whole_mass, top_p)
        else:
            dense = least >= key_of(edge)
    blocks = tl.cdiv(count, TILE)
    if not dense:
        blocks = listing(real, tile, tiles)
        count = 0
        tl.debug_barrier()

    last = least * 0 + _LOWEST
    equal = least * 0 + _ALL
    kept_mass = whole_mass
    if top_k > 0:
        number, _, _, _ = above(
            last, best, factor, blocks, dense, count, values, ids, logits, masks, words, mask, vocab, tiles, TILE
        )
        last, equal, kept_mass = last_kept(
            tl.minimum(number, top_k), last, best, factor, blocks, dense, count, values, ids, logits, masks, words,
            mask, vocab, tiles, False, TILE,
        )  # fmt: skip
    if top_p < 1:
        last, equal, kept_mass = last_kept(
            part_of(kept_mass, top_p), least * 0 + _LOWEST, best, factor, blocks, dense, count, values, ids, logits,
            masks, words, mask, vocab, tiles, True, TILE,
        )  # fmt: skip
    if least > last:
        last = least
        equal = least * 0 + _ALL
        _, kept_mass, _, _ = above(
            last, best, factor, blocks, dense, count, values, ids, logits, masks, words, mask, vocab, tiles, TILE
        )
    return last, equal, kept_mass, dense, count


@triton.jit
def draw_kernel(
    logits,  # [rows, vocab], lines `stride` apart
    asks,  # [n + 1, 4] int32: row, mask or -1, top-k or 0, first number
    parameters,  # [n, 3] float64: temperature, top-p, min-p
    masks,  # [m, words] int32
    n_asks,  # [1] int32
    keys,  # [numbers, 2] int64: seed, sample + 2**32 * position
    numbers,  # [numbers] float64
    peaks,  # [n, TILES] float32
    peak_ids,  # [n, TILES] int32
    masses,  # [n, TILES] int64
    plain_masses,  # [n, TILES] int64
    tiles,  # [n, TILES] int32, working memory like the next four
    starts,  # [n, TILES] int64
    values,  # [n, NEAR + FOUND] float32
    ids,  # [n, NEAR + FOUND] int32
    lows,  # [n, FOUND] int64
    heads,  # [n, 2] int32: number of tokens listed, index of the greedy one
    out_ids,  # [n * LISTED + numbers] int32: the lists, and then the token of each number
    out_low,  # [n * LISTED + numbers] float64
    out_high,  # [n * LISTED + numbers] float64
    out_logprobs,  # [n * LISTED + numbers] float32
    stride,
    words,
    vocab,
    drawn_at,
    KEYED: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
    NEAR: tl.constexpr,
    FOUND: tl.constexpr,
    LISTED: tl.constexpr,
):
    """One program: an ask."""
    ask = tl.program_id(0)
    if ask >= tl.load(n_asks):
        return
    line = logits + tl.load(asks + ask * 4).to(tl.int64) * stride
    mask = tl.load(asks + ask * 4 + 1)
    top_k = tl.load(asks + ask * 4 + 2)
    first, end = tl.load(asks + ask * 4 + 3), tl.load(asks + ask * 4 + 7)
    temperature = tl.load(parameters + ask * 3)
    top_p, min_p = tl.load(parameters + ask * 3 + 1), tl.load(parameters + ask * 3 + 2)
    factor = factor_of(temperature)
    tiles += ask * TILES
    starts += ask * TILES
    values += ask.to(tl.int64) * (NEAR + FOUND)
    ids += ask.to(tl.int64) * (NEAR + FOUND)
    lows += ask.to(tl.int64) * FOUND

    if KEYED:
        made = first
        while made < end:
            i = made + tl.arange(0, TILE)
            seed = tl.load(keys + i * 2, mask=i < end, other=0)
            counter = tl.load(keys + i * 2 + 1, mask=i < end, other=0)
            tl.store(numbers + i, uniform(seed, counter), mask=i < end)
            made += TILE
        tl.debug_barrier()

    tile = tl.arange(0, TILES)
    real = tile * TILE < vocab
    peak = tl.load(peaks + ask * TILES + tile, mask=real, other=-float("inf"))
    mass = tl.load(masses + ask * TILES + tile, mask=real, other=0)
    plain = tl.sum(tl.load(plain_masses + ask * TILES + tile, mask=real, other=0), axis=0)
    peak_id = tl.load(peak_ids + ask * TILES + tile, mask=real, other=vocab)
    best = tl.max(peak, axis=0)
    greedy = tl.min(tl.where(peak == best, peak_id, vocab), axis=0)
    total = tl.sum(mass, axis=0)
    lse = tl.log(plain.to(tl.float64) * 5.684341886080802e-14)  # 2**-44

    # The tokens kept: those above the last one's key, and the first `equal` of its key.
    last = total * 0 + _LOWEST
    equal = total * 0 + _ALL
    dense = top_k < 0
    count = 0
    running = (top_k > 0) | (top_p < 1) | (min_p > 0)
    if top_k == 1:
        last = key_of(best).to(tl.int64)
        equal = total * 0 + 1
        total = weigh(best, best, factor)
    elif running:
        last, equal, total, dense, count = filtered(
            best, factor, temperature, top_k, top_p, min_p, total, peak, tile, real,
            values, ids, line, masks, words, mask, vocab, tiles, TILE, NEAR,
        )  # fmt: skip
        tl.debug_barrier()

    # Which tiles to look at, and what mass lies before them where none is filtered out.
    blocks = tl.cdiv(count, TILE)
    if not dense:
        flags = real & (key_of(peak).to(tl.int64) >= last)
        ends = tl.cumsum(mass, axis=0)
        if not running:
            flags = real & ((weigh(peak, best, factor) * _WORTH >= total) | ((peak == best) & (peak_id == greedy)))
            upper = share(ends, total)
            number = first
            while number < end:
                flags = flags | (tile == tl.sum((upper <= tl.load(numbers + number)).to(tl.int32), axis=0))
                number += 1
        flag = flags.to(tl.int32)
        tl.store(starts + tl.cumsum(flag, axis=0) - flag, ends - mass, mask=flags)
        blocks = listing(flags, tile, tiles)
    tl.debug_barrier()

    before = total * 0
    ties = total * 0
    found = 0
    block = 0
    while block < blocks:
        if not running:
            before = tl.load(starts + block)
        x, token, there = read(block, dense, count, values, ids, line, masks, words, mask, vocab, tiles, TILE)
        key = key_of(x)
        tie = there & (key == last.to(tl.int32))
        rank = ties + tl.cumsum(tie.to(tl.int64), axis=0)
        kept = there & ((key > last.to(tl.int32)) | (tie & (rank <= equal)))
        weight = tl.where(kept, weigh(x, best, factor), 0)
        upto = before + tl.cumsum(weight, axis=0)
        worth = ((weight > 0) & (weight * _WORTH >= total)) | (there & (token == greedy))
        at = found + tl.cumsum(worth.to(tl.int32), axis=0) - 1
        tl.store(values + NEAR + at, x, mask=worth)
        tl.store(ids + NEAR + at, token, mask=worth)
        tl.store(lows + at, upto - weight, mask=worth)
        found += tl.sum(worth.to(tl.int32), axis=0)
        before += tl.sum(weight, axis=0)
        ties += tl.sum(tie.to(tl.int64), axis=0)
        low, high = share(upto - weight, total), share(upto, total)
        logprob = (tl.where(x == best, 0.0, (x - best).to(tl.float64)) - lse).to(tl.float32)
        number = first
        while number < end:
            drawn = tl.load(numbers + number)
            hit = (low <= drawn) & (drawn < high)
            slot = drawn_at + number + tl.zeros((TILE,), tl.int32)
            tl.store(out_ids + slot, token, mask=hit)
            tl.store(out_low + slot, low, mask=hit)
            tl.store(out_high + slot, high, mask=hit)
            tl.store(out_logprobs + slot, logprob, mask=hit)
            number += 1
        block += 1
    tl.debug_barrier()

    # Of what is worth it, the most probable are listed.
    last = total * 0 + _LOWEST
    equal = total * 0 + _ALL
    if found > LISTED:
        last, equal, _ = last_kept(
            total * 0 + LISTED, last, best, factor, tl.cdiv(found, TILE), True, found, values + NEAR, ids + NEAR, line,
            masks, words, mask, vocab, tiles, False, TILE,
        )  # fmt: skip
    ties = total * 0
    listed = 0
    block = 0
    while block < tl.cdiv(found, TILE):
        i = block * TILE + tl.arange(0, TILE)
        x, token, there = read(
            block, True, found, values + NEAR, ids + NEAR, line, masks, words, mask, vocab, tiles, TILE
        )
        tie = there & (key_of(x) == last.to(tl.int32))
        rank = ties + tl.cumsum(tie.to(tl.int64), axis=0)
        chosen = there & ((key_of(x) > last.to(tl.int32)) | (tie & (rank <= equal)))
        start = tl.load(lows + i, mask=chosen, other=0)
        at = listed + tl.cumsum(chosen.to(tl.int32), axis=0) - 1
        logprob = (tl.where(x == best, 0.0, (x - best).to(tl.float64)) - lse).to(tl.float32)
        tl.store(out_ids + ask * LISTED + at, token, mask=chosen)
        tl.store(out_low + ask * LISTED + at, share(start, total), mask=chosen)
        tl.store(out_high + ask * LISTED + at, share(start + weigh(x, best, factor), total), mask=chosen)
        tl.store(out_logprobs + ask * LISTED + at, logprob, mask=chosen)
        tl.store(heads + ask * 2 + 1 + at * 0, at, mask=chosen & (token == greedy))
        listed += tl.sum(chosen.to(tl.int32), axis=0)
        ties += tl.sum(tie.to(tl.int64), axis=0)
        block += 1
    tl.store(heads + ask * 2, listed)
