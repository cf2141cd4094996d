"""The tokens of one step's rows out of the draws of the step before, which the host has not seen yet."""

# Triton knows the types of a kernel's arguments when it is called.
# pyright: reportMissingParameterType=false

import triton
import triton.language as tl


@triton.jit
def follow_kernel(
    ids,  # [asks * LISTED + numbers] int32: listed tokens of each ask, then the token of each number
    heads,  # [asks, 2] int32: how many are listed, and which of them is the greedy one
    which,  # [count] int64: place in `ids`, or -1 - ask for an ask's greedy token
    tokens,  # [count] int64
    count,
    LISTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """tokens[i]: the token that which[i] names."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = at < count
    place = tl.load(which + at, mask=there, other=0)
    greedy = place < 0
    ask = tl.where(greedy, -1 - place, 0)
    best = tl.load(heads + 2 * ask + 1, mask=there & greedy, other=0)
    token = tl.load(ids + tl.where(greedy, ask * LISTED + best, place), mask=there, other=0)
    tl.store(tokens + at, token.to(tl.int64), mask=there)
