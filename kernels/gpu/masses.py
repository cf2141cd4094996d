"""The first two passes over logits: each tile's peak, and then the mass of each tile against the peak of all.

Masses are whole numbers: a token's weight is exp((logit - best) / temperature) in units of 2**-44, cut off. Sums of
them are exact, so that they are the same in any order and any batch, and no draw falls off the end of a distribution.
Of fewer than 2**19 tokens they fit into 63 bits.
"""

# Triton knows the types of a kernel's arguments when it is called.
# pyright: reportMissingParameterType=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

TILE = 1024
"""Tokens of a tile."""
GROUP = 2
"""Tiles of a program of these two passes, so that enough loads are under way at once."""


@triton.jit
def read_tokens(logits, masks, words, mask, vocab, ids):
    """(logits float32, which may be drawn) of tokens of a row that starts at `logits`."""
    inside = ids < vocab
    x = tl.load(logits + ids, mask=inside, other=-float("inf")).to(tl.float32)
    masked = inside & (mask >= 0) & (ids // 32 < words)
    word = tl.load(masks + mask.to(tl.int64) * words + ids // 32, mask=masked, other=0)
    allowed = inside & ((mask < 0) | (((word >> (ids % 32)) & 1) != 0))
    # The two zeros are one logit: their order is that of their ids.
    return tl.where(allowed, tl.where(x == 0, 0.0, x), -float("inf")), allowed


@triton.jit
def weigh(x, best, factor):
    """Weights, int64, of logits no higher than `best`; `factor` is log2(e) / temperature."""
    share = tl.where(x == best, 1.0, tl.exp2((x - best) * factor))
    return (share * 17592186044416.0).to(tl.int64)


@triton.jit
def factor_of(temperature):
    """The factor for `weigh`. One that is not 0 keeps -inf from becoming NaN."""
    return tl.maximum((1.4426950408889634 / temperature).to(tl.float32), 1e-30)


@triton.jit
def peaks_kernel(
    logits,  # [rows, vocab], lines `stride` apart
    asks,  # [n + 1, 4] int32: row, mask or -1, top-k or 0, first number
    masks,  # [m, words] int32
    n_asks,  # [1] int32
    peaks,  # [n, TILES] float32: the highest logit of each tile
    peak_ids,  # [n, TILES] int32: the lowest token that has it
    stride,
    words,
    vocab,
    GROUP: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
):
    """One program: a group of tiles for an ask."""
    ask = tl.program_id(0)
    tile = tl.program_id(1) * GROUP + tl.arange(0, GROUP)
    if ask >= tl.load(n_asks):
        return
    line = logits + tl.load(asks + ask * 4).to(tl.int64) * stride
    ids = tile[:, None] * TILE + tl.arange(0, TILE)[None, :]
    x, allowed = read_tokens(line, masks, words, tl.load(asks + ask * 4 + 1), vocab, ids)
    peak = tl.max(x, axis=1)
    peak_id = tl.min(tl.where(allowed & (x == peak[:, None]), ids, vocab), axis=1)
    tl.store(peaks + ask * TILES + tile, peak, mask=tile * TILE < vocab)
    tl.store(peak_ids + ask * TILES + tile, peak_id, mask=tile * TILE < vocab)


@triton.jit
def masses_kernel(
    logits,
    asks,
    parameters,  # [n, 3] float64: temperature, top-p, min-p
    masks,
    n_asks,
    peaks,
    masses,  # [n, TILES] int64: the sum of a tile's weights at the ask's temperature
    plain_masses,  # [n, TILES] int64: at temperature 1
    stride,
    words,
    vocab,
    GROUP: tl.constexpr,
    TILE: tl.constexpr,
    TILES: tl.constexpr,
):
    """One program: a group of tiles for an ask."""
    ask = tl.program_id(0)
    tile = tl.program_id(1) * GROUP + tl.arange(0, GROUP)
    if ask >= tl.load(n_asks):
        return
    others = tl.arange(0, TILES)
    best = tl.max(tl.load(peaks + ask * TILES + others, mask=others * TILE < vocab, other=-float("inf")), axis=0)
    line = logits + tl.load(asks + ask * 4).to(tl.int64) * stride
    ids = tile[:, None] * TILE + tl.arange(0, TILE)[None, :]
    x, allowed = read_tokens(line, masks, words, tl.load(asks + ask * 4 + 1), vocab, ids)
    factor = factor_of(tl.load(parameters + ask * 3))
    mass = tl.sum(tl.where(allowed, weigh(x, best, factor), 0), axis=1)
    plain = tl.sum(tl.where(allowed, weigh(x, best, 1.4426950408889634), 0), axis=1)
    tl.store(masses + ask * TILES + tile, mass, mask=tile * TILE < vocab)
    tl.store(plain_masses + ask * TILES + tile, plain, mask=tile * TILE < vocab)
