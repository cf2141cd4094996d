"""Which tokens pass the filters: the last one, in order of probability, found by bisection over the logits' bits.

Each filter keeps the first tokens in order of probability, equal ones by id. So what all of them leave is told by the
key of the last logit and by how many of the tokens with just that logit are kept.
"""

# Triton knows the types of a kernel's arguments when it is called.
# pyright: reportMissingParameterType=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

from kernels.gpu.masses import read_tokens, weigh


@triton.jit
def key_of(x):
    """int32 in the order of float32 numbers (no -0.0, no NaN)."""
    bits = x.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def logit_of(key):
    """The inverse of `key_of`."""
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@triton.jit
def read(block, dense, count, values, ids, logits, masks, words, mask, vocab, tiles, TILE: tl.constexpr):
    """Block number `block` of tokens in ascending order: (logits, ids, which are any).

    dense: `count` tokens listed in `values` and `ids`; else the tokens of the tiles that `tiles` names.
    """
    if dense:
        i = block * TILE + tl.arange(0, TILE)
        there = i < count
        x = tl.load(values + i, mask=there, other=-float("inf"))
        token = tl.load(ids + i, mask=there, other=0)
    else:
        token = tl.load(tiles + block) * TILE + tl.arange(0, TILE)
        x, there = read_tokens(logits, masks, words, mask, vocab, token)
    return x, token, there


@triton.jit
def above(
    pivot, best, factor,
    blocks, dense, count, values, ids, logits, masks, words, mask, vocab, tiles, TILE: tl.constexpr,
):  # fmt: skip
    """The tokens whose key is at least `pivot`: (their number, their mass, the least of their keys, the greatest key of
    the others): int64 each."""
    number = tl.zeros((TILE,), tl.int32)
    mass = tl.zeros((TILE,), tl.int64)
    least = tl.full((TILE,), 2147483647, tl.int32)
    greatest = tl.full((TILE,), -2147483648, tl.int32)
    block = 0
    while block < blocks:
        x, _, there = read(block, dense, count, values, ids, logits, masks, words, mask, vocab, tiles, TILE)
        key = key_of(x)
        kept = there & (key >= pivot.to(tl.int32))
        number += kept.to(tl.int32)
        mass += tl.where(kept, weigh(x, best, factor), 0)
        least = tl.where(kept, tl.minimum(least, key), least)
        greatest = tl.where(there & ~kept, tl.maximum(greatest, key), greatest)
        block += 1
    return (
        tl.sum(number, axis=0).to(tl.int64),
        tl.sum(mass, axis=0),
        tl.min(least, axis=0).to(tl.int64),
        tl.max(greatest, axis=0).to(tl.int64),
    )


@triton.jit
def last_kept(
    target, lowest, best, factor,
    blocks, dense, count, values, ids, logits, masks, words, mask, vocab, tiles, BY_MASS: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    """The shortest set, in order of probability, of at least `target` tokens, or of that mass.

    lowest: a key, int64, from which on all tokens together reach the target, which is at least 1. Returns (key of the
    last token, how many of that key belong to the set, mass of the set): int64 each.
    """
    low = lowest
    high = key_of(best).to(tl.int64) + 1
    number_above = high * 0
    mass_above = high * 0
    while high - low > 1:
        number, mass, least, greatest = above(
            (low + high) >> 1,
            best, factor, blocks, dense, count, values, ids, logits, masks, words, mask, vocab, tiles, TILE,
        )  # fmt: skip
        reached = (mass if BY_MASS else number) >= target
        # Between two keys that tokens have there is nothing to look for: few tokens take few rounds.
        low = tl.where(reached, least, low)
        high = tl.where(reached, high, greatest + 1)
        number_above = tl.where(reached, number_above, number)
        mass_above = tl.where(reached, mass_above, mass)
    weight = weigh(logit_of(low.to(tl.int32)), best, factor)
    equal = (target - mass_above + weight - 1) // weight if BY_MASS else target - number_above
    return low, equal, mass_above + equal * weight
