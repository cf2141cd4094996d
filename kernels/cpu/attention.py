"""Attention of a step's tokens over the pool of `rotation`, 64 keys at a time.

Tokens come in blocks of neighbours that share most of what they see: rows of one solve its prompt (Juravsky et al.,
"Hydragen", 2024), tokens of one chunk all that stands before them. A block takes the shared keys in one product for all
its tokens, then each token its own, with a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022).

Keys are grouped by their positions, whatever slots hold them and whoever shares them, and every sum is made in the same
order: a token's result is the same, bit for bit, in any batch and in any place of the pool.
"""

from typing import Any

import numpy as np

from kernels.cpu.launch import Kernel, jit
from kernels.cpu.tiles import ROWS, SCORE_ROWS, score_tiles, value_tiles, wide_score_tiles, wide_value_tiles
from kernels.cpu.vector import exp, f32, i32, i64, i64_array, take, take_thread, to_bf16, u16

QUERIES = 48
"""Queries (tokens times query heads of one key head) of a block at most, unless one token has more."""

_S1, _S2, _S3, _S4, _S5, _S6, _S7, _S8 = (score_tiles[n] for n in range(1, SCORE_ROWS + 1))
_V1, _V2, _V3, _V4, _V5, _V6 = (value_tiles[n] for n in range(1, ROWS + 1))
_WS1, _WS2, _WS3, _WS4, _WS5, _WS6, _WS7, _WS8 = (wide_score_tiles[n] for n in range(1, SCORE_ROWS + 1))
_WV1, _WV2, _WV3, _WV4, _WV5, _WV6 = (wide_value_tiles[n] for n in range(1, ROWS + 1))
_KEYS = 64  # whose scores are held at a time
_NONE = np.float32(-1e30)


def scratch_bytes(queries: int, head_dim: int, size: int) -> int:
    """Memory of one thread for blocks of so many queries, with keys and values of `size` bytes each."""
    return queries * ((4 + size) * (head_dim + _KEYS) + 8) + 2 * size * _KEYS * head_dim + 4096


@jit
def _score_wide(count: Any, steps: Any, q: Any, q_stride: int, keys: Any, out: Any, out_stride: int) -> None:
    if count == 8:
        _WS8(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 7:
        _WS7(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 6:
        _WS6(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 5:
        _WS5(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 4:
        _WS4(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 3:
        _WS3(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 2:
        _WS2(steps, q, q_stride, keys, 64, out, out_stride)
    else:
        _WS1(steps, q, q_stride, keys, 64, out, out_stride)


@jit
def _score(wide: bool, count: Any, steps: Any, q: Any, q_stride: int, keys: Any, out: Any, out_stride: int) -> None:
    if wide:
        _score_wide(count, steps, q, q_stride, keys, out, out_stride)
    elif count == 8:
        _S8(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 7:
        _S7(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 6:
        _S6(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 5:
        _S5(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 4:
        _S4(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 3:
        _S3(steps, q, q_stride, keys, 64, out, out_stride)
    elif count == 2:
        _S2(steps, q, q_stride, keys, 64, out, out_stride)
    else:
        _S1(steps, q, q_stride, keys, 64, out, out_stride)


@jit
def _weigh_wide(count: Any, p: Any, p_stride: int, values: Any, v_stride: Any, out: Any, out_stride: Any) -> None:
    if count == 6:
        _WV6(16, p, p_stride, values, v_stride, out, out_stride)
    elif count == 5:
        _WV5(16, p, p_stride, values, v_stride, out, out_stride)
    elif count == 4:
        _WV4(16, p, p_stride, values, v_stride, out, out_stride)
    elif count == 3:
        _WV3(16, p, p_stride, values, v_stride, out, out_stride)
    elif count == 2:
        _WV2(16, p, p_stride, values, v_stride, out, out_stride)
    else:
        _WV1(16, p, p_stride, values, v_stride, out, out_stride)


@jit
def _weigh(
    wide: bool, count: Any, p: Any, p_stride: int, values: Any, v_stride: Any, out: Any, out_stride: Any
) -> None:
    if wide:
        _weigh_wide(count, p, p_stride, values, v_stride, out, out_stride)
    elif count == 6:
        _V6(8, p, p_stride, values, v_stride, out, out_stride)
    elif count == 5:
        _V5(8, p, p_stride, values, v_stride, out, out_stride)
    elif count == 4:
        _V4(8, p, p_stride, values, v_stride, out, out_stride)
    elif count == 3:
        _V3(8, p, p_stride, values, v_stride, out, out_stride)
    elif count == 2:
        _V2(8, p, p_stride, values, v_stride, out, out_stride)
    else:
        _V1(8, p, p_stride, values, v_stride, out, out_stride)


@jit
def _together(slots: Any, at: int, count: int) -> bool:
    """Whether `count` (up to 16) slots lie in one tile, each at the place of its position."""
    first = slots[at]
    together = first & 15 == 0
    for i in range(count):
        together &= slots[at + i] == first + i
    return together


@jit
def _gather_pairs(
    slots: Any, at: int, count: int, dim: int, pool: int, tile_bytes: int, values: int, tile: int
) -> None:
    pairs = dim // 2
    own_keys, own_values = i32(tile, 16 * pairs), u16(tile + dim * 32, 16 * dim)
    for i in range(count):
        slot: Any = np.int64(slots[at + i])
        address, within = pool + (slot >> 4) * tile_bytes, slot & 15
        keys, kept = i32(address, 16 * pairs), u16(address + values, 16 * dim)
        for pair in range(pairs):
            own_keys[pair * 16 + i] = keys[pair * 16 + within]
        to, source = (i >> 1) * dim * 2 + (i & 1), (within >> 1) * dim * 2 + (within & 1)
        for d in range(dim):
            own_values[to + 2 * d] = kept[source + 2 * d]
    # The other places count for nothing, but what is left in memory may not be a number.
    for i in range(count, 16):
        to = (i >> 1) * dim * 2 + (i & 1)
        for d in range(dim):
            own_values[to + 2 * d] = 0


@jit
def _gather_wide(slots: Any, at: int, count: int, dim: int, pool: int, tile_bytes: int, values: int, tile: int) -> None:
    own_keys, own_values = f32(tile, 16 * dim), f32(tile + dim * 64, 16 * dim)
    for i in range(count):
        slot: Any = np.int64(slots[at + i])
        address, within = pool + (slot >> 4) * tile_bytes, slot & 15
        keys, kept = f32(address, 16 * dim), f32(address + values, 16 * dim)
        for d in range(dim):
            own_keys[d * 16 + i] = keys[d * 16 + within]
            own_values[i * dim + d] = kept[within * dim + d]
    for i in range(count, 16):
        for d in range(dim):
            own_values[i * dim + d] = np.float32(0.0)


@jit
def _gather(
    wide: bool, slots: Any, at: int, count: int, dim: int, pool: int, tile_bytes: int, values: int, tile: int
) -> None:
    """Copy the keys and values of `count` slots to a tile of their own at `tile`."""
    if wide:
        _gather_wide(slots, at, count, dim, pool, tile_bytes, values, tile)
    else:
        _gather_pairs(slots, at, count, dim, pool, tile_bytes, values, tile)


@jit
def _see(
    wide: bool,
    queries: int,
    group: int,
    q: int,
    dim: int,
    slots: Any,
    seen: int,
    more: int,
    pool: int,
    tile_bytes: int,
    value_offset: int,
    scores: int,
    weights: int,
    sums: int,
    tiles: int,
    best: Any,
    total: Any,
) -> None:
    """Let `queries` queries at `q`, `group` for each token, see the first `seen` of `slots`, each token `more` more
    than the one before it. The first slot's position is a multiple of 64.

    `sums`, `best` and `total` are their state.
    """
    most = seen + more * (queries // group - 1)
    size = 4 if wide else 2
    q_bytes, p_bytes, tile_size = dim * size, 64 * size, dim * 32 * size
    steps = dim if wide else dim // 2
    for at in range(0, most, 64):
        count = (min(most - at, 64) + 15) // 16
        keys0 = keys1 = keys2 = keys3 = np.int64(0)
        values0 = values1 = values2 = values3 = np.int64(0)
        for number in range(count):
            first = at + 16 * number
            length = min(most - first, 16)
            if _together(slots, first, length):
                keys = pool + np.int64(slots[first] >> 4) * tile_bytes
                values = keys + value_offset
            else:
                keys = tiles + number * tile_size
                values = keys + tile_size // 2
                _gather(wide, slots, first, length, dim, pool, tile_bytes, value_offset, keys)
            if number == 0:
                keys0, values0 = keys, values
            elif number == 1:
                keys1, values1 = keys, values
            elif number == 2:
                keys2, values2 = keys, values
            else:
                keys3, values3 = keys, values
        parts = (queries + 7) // 8
        row = 0
        for part in range(parts):
            rows = (queries + part) // parts
            for number in range(count):
                keys = keys0 if number == 0 else keys1 if number == 1 else keys2 if number == 2 else keys3
                _score(wide, rows, steps, q + row * q_bytes, q_bytes, keys, scores + row * 256 + number * 64, 256)
            row += rows
        for query in range(queries):
            line = f32(scores + query * 256, 64)
            for i in range(max(0, seen + more * (query // group) - at), 64):
                line[i] = _NONE
            largest = best[query]
            for i in range(64):
                largest = max(largest, line[i])
            if largest > best[query]:
                shrink = exp(best[query] - largest)
                total[query] *= shrink
                state = f32(sums + query * dim * 4, dim)
                for i in range(dim):
                    state[i] *= shrink
                best[query] = largest
            added = np.float32(0.0)
            for i in range(64):
                line[i] = exp(line[i] - largest)
                added += line[i]
            total[query] += added
            if not wide:
                out = u16(weights + query * 128, 64)
                for i in range(64):
                    out[i] = to_bf16(line[i])
        parts = (queries + 5) // 6
        row = 0
        for part in range(parts):
            rows = (queries + part) // parts
            for number in range(count):
                values = values0 if number == 0 else values1 if number == 1 else values2 if number == 2 else values3
                for column in range(0, dim, 64):
                    _weigh(
                        wide,
                        rows,
                        (scores if wide else weights) + row * p_bytes + number * 16 * size,
                        p_bytes,
                        values + column * 4,
                        dim * 4,
                        sums + (row * dim + column) * 4,
                        dim * 4,
                    )
            row += rows


def _attend(arguments: Any) -> None:
    a = i64_array(arguments)
    blocks, heads, kv_heads, dim, tokens = a[1], a[2], a[3], a[4], a[5]
    group, size = heads // kv_heads, a[14]
    wide = size == 4
    table = i64(a[6], blocks * 5)  # first token, tokens, offset and number of the shared slots, more for each token
    own = i64(a[7], tokens * 2)  # offset and number of a token's own slots
    scratch = a[12] + take_thread(arguments) * a[13]
    while True:
        unit = take(arguments)
        if unit >= blocks * kv_heads:
            return
        block, head = unit // kv_heads, unit % kv_heads
        first, count = table[block * 5], table[block * 5 + 1]
        queries = count * group
        q = scratch
        scores = q + queries * dim * size
        sums = scores + queries * 256
        weights = sums + queries * dim * 4
        best = f32(weights + queries * 128, queries)
        total = f32(weights + queries * 132, queries)
        # A number at a time where there is one of them in 32 bits, else a pair.
        mine = i32(q, queries * dim * size // 4)
        state = f32(sums, queries * dim)
        for token in range(count):
            count_words = group * dim * size // 4
            source = i32(a[9] + ((first + token) * heads + head * group) * dim * size, count_words)
            for i in range(count_words):
                mine[token * count_words + i] = source[i]
        for i in range(queries * dim):
            state[i] = np.float32(0.0)
        for i in range(queries):
            best[i] = _NONE
            total[i] = np.float32(0.0)
        tile_bytes = 2 * kv_heads * dim * 16 * size
        pool = a[11] + head * dim * 16 * size
        value_offset = kv_heads * dim * 16 * size
        tiles = (weights + queries * 136 + 63) // 64 * 64
        seen, more = table[block * 5 + 3], table[block * 5 + 4]
        slots = i32(a[8] + table[block * 5 + 2] * 4, seen + more * (count - 1))
        _see(
            wide,
            queries,
            group,
            q,
            dim,
            slots,
            seen,
            more,
            pool,
            tile_bytes,
            value_offset,
            scores,
            weights,
            sums,
            tiles,
            best,
            total,
        )
        for token in range(count):
            seen = own[2 * (first + token) + 1]
            slots = i32(a[8] + own[2 * (first + token)] * 4, seen)
            skip = token * group
            _see(
                wide,
                group,
                group,
                q + skip * dim * size,
                dim,
                slots,
                seen,
                0,
                pool,
                tile_bytes,
                value_offset,
                scores,
                weights,
                sums + skip * dim * 4,
                tiles,
                best[skip:],
                total[skip:],
            )
        for token in range(count):
            out = f32(a[10] + ((first + token) * heads + head * group) * dim * 4, group * dim)
            for query in range(group):
                factor = np.float32(1.0) / total[token * group + query]
                for i in range(dim):
                    out[query * dim + i] = state[(token * group + query) * dim + i] * factor


attend_kernel = Kernel(_attend)
"""blocks, heads, kv_heads, head_dim (a multiple of 64), tokens; table [blocks, 5] int64 (first token, tokens, offset
and number of the shared slots that the first token sees, how many more each further token sees), own [tokens, 2] int64
(offset and number of a token's own slots), slots int32, queries [tokens, heads, d] already scaled, out
[tokens, heads, d] float32, the pool's layer, scratch, its bytes for each thread, bytes of a number of queries, keys and
values: 2 for bfloat16, 4 for float32. Shared slots are those of positions 0
and up, own ones those of a multiple of 64 and up; a token sees at least one.
"""
