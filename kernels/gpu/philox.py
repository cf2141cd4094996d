"""Counter-based random numbers on the device: functions of nothing but (seed, sample, position).

Philox4x32 with 10 rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

# Triton knows the types of a kernel's arguments when it is called.
# pyright: reportMissingParameterType=false, reportGeneralTypeIssues=false, reportAssignmentType=false

import triton
import triton.language as tl


@triton.jit
def uniform(seed, counter):
    """Numbers in [0, 1) with 53 random bits, float64.

    seed: int64, the bits of the 64-bit key. counter: int64, sample index + 2**32 * position.
    """
    mask: tl.constexpr = 0xFFFFFFFF
    c0 = counter.to(tl.uint64, bitcast=True) & mask
    c1 = counter.to(tl.uint64, bitcast=True) >> 32
    c2, c3 = c0 * 0, c0 * 0
    k0 = seed.to(tl.uint64, bitcast=True) & mask
    k1 = seed.to(tl.uint64, bitcast=True) >> 32
    for _ in tl.static_range(10):
        p0 = c0 * 0xD2511F53
        p1 = c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & mask, (p0 >> 32) ^ c3 ^ k1, p0 & mask
        k0 = (k0 + 0x9E3779B9) & mask
        k1 = (k1 + 0xBB67AE85) & mask
    # 27 bits of one word and 26 of the next.
    bits = ((c0 >> 5) << 26) | (c1 >> 6)
    return bits.to(tl.int64, bitcast=True).to(tl.float64) * 1.1102230246251565e-16
