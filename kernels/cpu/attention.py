"""Attention of a step's tokens over the pool of `rotation`, tile by tile.

Tokens come in blocks of neighbours that share most of what they see: rows of one solve its prompt (Juravsky et al.,
"Hydragen", 2024), tokens of one chunk all that stands before them. A block takes the shared keys in one product for all
its tokens, then each token its own, with a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022).
"""

from typing import Any

import numpy as np

from kernels.cpu.launch import Kernel, jit
from kernels.cpu.tiles import ROWS, SCORE_ROWS, score_tiles, value_tiles
from kernels.cpu.vector import exp, f32, i32, i64, i64_array, take, take_thread, to_bf16, u16

QUERIES = 48
"""Queries (tokens times query heads of one key head) of a block at most, unless one token has more."""

_S1, _S2, _S3, _S4, _S5, _S6, _S7, _S8 = (score_tiles[n] for n in range(1, SCORE_ROWS + 1))
_V1, _V2, _V3, _V4, _V5, _V6 = (value_tiles[n] for n in range(1, ROWS + 1))
_KEYS = 64  # whose scores are held at a time
_NONE = np.float32(-1e30)


def scratch_bytes(queries: int, head_dim: int) -> int:
    """Memory of one thread for blocks of so many queries."""
    return queries * (2 * head_dim + 4 * _KEYS + 2 * _KEYS + 4 * head_dim + 8) + 4096


@jit
def _score(count: Any, pairs: Any, q: Any, q_stride: int, keys: Any, out: Any, out_stride: int) -> None:
    if count == 8:
        _S8(pairs, q, q_stride, keys, 64, out, out_stride)
    elif count == 7:
        _S7(pairs, q, q_stride, keys, 64, out, out_stride)
    elif count == 6:
        _S6(pairs, q, q_stride, keys, 64, out, out_stride)
    elif count == 5:
        _S5(pairs, q, q_stride, keys, 64, out, out_stride)
    elif count == 4:
        _S4(pairs, q, q_stride, keys, 64, out, out_stride)
    elif count == 3:
        _S3(pairs, q, q_stride, keys, 64, out, out_stride)
    elif count == 2:
        _S2(pairs, q, q_stride, keys, 64, out, out_stride)
    else:
        _S1(pairs, q, q_stride, keys, 64, out, out_stride)


@jit
def _weigh(count: Any, p: Any, p_stride: int, values: Any, v_stride: Any, out: Any, out_stride: Any) -> None:
    if count == 6:
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
def _see(
    queries: int,
    q: int,
    dim: int,
    slots: Any,
    seen: int,
    pool: int,
    tile_bytes: int,
    value_offset: int,
    scores: int,
    weights: int,
    sums: int,
    best: Any,
    total: Any,
) -> None:
    """Let `queries` queries at `q` see the first `seen` of `slots`; `sums`, `best` and `total` are their state."""
    runs = np.int64(_KEYS // 16)
    at = np.int64(0)
    while at < seen:
        # Up to four tiles at a time; of each, a run of neighbouring slots.
        first0 = first1 = first2 = first3 = np.int64(0)
        last0 = last1 = last2 = last3 = np.int64(0)
        tile0 = tile1 = tile2 = tile3 = np.int64(0)
        count = np.int64(0)
        while count < runs and at < seen:
            slot = np.int64(slots[at])
            length = np.int64(1)
            while at + length < seen and slots[at + length] == slot + length and (slot + length) & 15 != 0:
                length += 1
            address = pool + (slot >> 4) * tile_bytes
            if count == 0:
                tile0, first0, last0 = address, slot & 15, (slot & 15) + length
            elif count == 1:
                tile1, first1, last1 = address, slot & 15, (slot & 15) + length
            elif count == 2:
                tile2, first2, last2 = address, slot & 15, (slot & 15) + length
            else:
                tile3, first3, last3 = address, slot & 15, (slot & 15) + length
            at += length
            count += 1
        tiles = (queries + 7) // 8
        row = 0
        for number in range(tiles):
            rows = (queries + number) // tiles
            for run in range(count):
                address = tile0 if run == 0 else tile1 if run == 1 else tile2 if run == 2 else tile3
                _score(rows, dim // 2, q + row * dim * 2, dim * 2, address, scores + row * 256 + run * 64, 256)
            row += rows
        width = count * 16
        for query in range(queries):
            line = f32(scores + query * 256, 64)
            out = u16(weights + query * 128, 64)
            for run in range(count):
                first = first0 if run == 0 else first1 if run == 1 else first2 if run == 2 else first3
                last = last0 if run == 0 else last1 if run == 1 else last2 if run == 2 else last3
                if last - first < 16:
                    for i in range(16):
                        if i < first or i >= last:
                            line[run * 16 + i] = _NONE
            largest = best[query]
            for i in range(width):
                largest = max(largest, line[i])
            if largest > best[query]:
                shrink = exp(best[query] - largest)
                total[query] *= shrink
                values = f32(sums + query * dim * 4, dim)
                for i in range(dim):
                    values[i] *= shrink
                best[query] = largest
            added = np.float32(0.0)
            for i in range(width):
                weight = exp(line[i] - largest)
                added += weight
                out[i] = to_bf16(weight)
            total[query] += added
        tiles = (queries + 5) // 6
        row = 0
        for number in range(tiles):
            rows = (queries + number) // tiles
            for run in range(count):
                address = tile0 if run == 0 else tile1 if run == 1 else tile2 if run == 2 else tile3
                for column in range(0, dim, 64):
                    _weigh(
                        rows,
                        weights + row * 128 + run * 32,
                        128,
                        address + value_offset + column * 4,
                        dim * 4,
                        sums + (row * dim + column) * 4,
                        dim * 4,
                    )
            row += rows


def _attend(arguments: Any) -> None:
    a = i64_array(arguments)
    blocks, heads, kv_heads, dim, tokens = a[1], a[2], a[3], a[4], a[5]
    group = heads // kv_heads
    table = i64(a[6], blocks * 4)  # first token, tokens, offset and number of the shared slots
    own = i64(a[7], tokens * 2)  # offset and number of a token's own slots
    scratch = a[12] + take_thread(arguments) * a[13]
    while True:
        unit = take(arguments)
        if unit >= blocks * kv_heads:
            return
        block, head = unit // kv_heads, unit % kv_heads
        first, count = table[block * 4], table[block * 4 + 1]
        queries = count * group
        q = scratch
        scores = q + queries * dim * 2
        sums = scores + queries * 256
        weights = sums + queries * dim * 4
        best = f32(weights + queries * 128, queries)
        total = f32(weights + queries * 132, queries)
        mine = u16(q, queries * dim)
        state = f32(sums, queries * dim)
        for token in range(count):
            source = u16(a[9] + ((first + token) * heads + head * group) * dim * 2, group * dim)
            for i in range(group * dim):
                mine[token * group * dim + i] = source[i]
        for i in range(queries * dim):
            state[i] = np.float32(0.0)
        for i in range(queries):
            best[i] = _NONE
            total[i] = np.float32(0.0)
        tile_bytes = 2 * kv_heads * dim * 32
        pool = a[11] + head * dim * 32
        value_offset = kv_heads * dim * 32
        shared, seen = table[block * 4 + 2], table[block * 4 + 3]
        slots = i32(a[8] + shared * 4, seen)
        _see(queries, q, dim, slots, seen, pool, tile_bytes, value_offset, scores, weights, sums, best, total)
        for token in range(count):
            seen = own[2 * (first + token) + 1]
            slots = i32(a[8] + own[2 * (first + token)] * 4, seen)
            skip = token * group
            _see(
                group,
                q + skip * dim * 2,
                dim,
                slots,
                seen,
                pool,
                tile_bytes,
                value_offset,
                scores,
                weights,
                sums + skip * dim * 4,
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
"""blocks, heads, kv_heads, head_dim (a multiple of 64), tokens; table [blocks, 4] int64 (first token, tokens, offset
and number of the shared slots), own [tokens, 2] int64 (offset and number of a token's own slots, at least one), slots
int32, queries [tokens, heads, d] bfloat16 already scaled, out [tokens, heads, d] float32, the pool's layer, scratch,
its bytes for each thread.
"""
