"""Counter-based random numbers: a sample's number at a position depends on nothing but (seed, sample, position).

Philox4x32 with 10 rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

import numpy as np
import numpy.typing as npt

_M0 = np.uint64(0xD2511F53)
_M1 = np.uint64(0xCD9E8D57)
_W0 = np.uint64(0x9E3779B9)
_W1 = np.uint64(0xBB67AE85)
_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)

Words = npt.NDArray[np.uint64]


def philox4x32(
    counter: tuple[Words, Words, Words, Words], key: tuple[Words, Words]
) -> tuple[Words, Words, Words, Words]:
    """Ten rounds over arrays of counters and keys.

    Args:
        counter: four arrays of one shape, 32-bit values held in uint64.
        key: two arrays of that shape, likewise.

    Returns:
        Four arrays of the same shape, 32-bit values held in uint64.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (
            (p1 >> _SHIFT) ^ c1 ^ k0,
            p1 & _MASK,
            (p0 >> _SHIFT) ^ c3 ^ k1,
            p0 & _MASK,
        )
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def uniforms(seeds: npt.ArrayLike, samples: npt.ArrayLike, positions: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits, one for each (seed, sample, position), broadcast against each other.

    Args:
        seeds: 64-bit keys.
        samples: sample indices, below 2**32.
        positions: number of tokens drawn before this one, below 2**32.

    Returns:
        float64 array of the broadcast shape.
    """
    seed, sample, position = np.broadcast_arrays(
        np.asarray(seeds, np.uint64), np.asarray(samples, np.uint64), np.asarray(positions, np.uint64)
    )
    zero = np.zeros_like(sample)
    x0, x1, _, _ = philox4x32((sample, position, zero, zero), (seed & _MASK, seed >> _SHIFT))
    high = (x0 >> np.uint64(5)).astype(np.float64)
    low = (x1 >> np.uint64(6)).astype(np.float64)
    return (high * 67108864.0 + low) / 9007199254740992.0


def gumbels(seed: int, path: int, tokens: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Standard Gumbel noise for tokens that could follow a path.

    Args:
        seed: 64-bit key.
        path: the path's key, see `path_key`.
        tokens: token ids, below 2**32.

    Returns:
        float64 array of the shape of `tokens`.
    """
    token = np.asarray(tokens, np.uint64)
    one = np.ones_like(token)
    counter = (token, one, one * np.uint64(path & 0xFFFFFFFF), one * np.uint64(path >> 32))
    x0, x1, _, _ = philox4x32(counter, (one * np.uint64(seed & 0xFFFFFFFF), one * np.uint64(seed >> 32)))
    # 53 bits, shifted by half a unit: never 0, and 1 - u keeps its precision where the noise is large.
    uniform = ((x0 >> np.uint64(5)).astype(np.float64) * 67108864.0 + (x1 >> np.uint64(6)) + 0.5) / 9007199254740992.0
    return -np.log(-np.log1p(-uniform))


def path_key(before: int, token: int) -> int:
    """64-bit key of a path that goes on with `token`: equal paths have equal keys (a round of SplitMix64 for each)."""
    mixed = ((before ^ token) + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return mixed ^ (mixed >> 31)
