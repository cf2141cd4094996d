"""Attention of a step's tokens over the pool of `rotation`, 64 keys at a time.

Tokens come in blocks of neighbours that share most of what they see: rows of one solve its prompt (Juravsky et al.,
"Hydragen", 2024), tokens of one chunk all that stands before them. A block takes the shared keys in one product for all
its tokens, then each token its own, with a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022).

Keys are grouped by their positions, whatever slots hold them and whoever shares them, and every sum is made in the same
order: a token's result is the same, bit for bit, in any batch and in any place of the pool.
"""

from typing import Any

import numpy as np

from kernels.cpu.attention_tiles import (
    BELOW_ALL,
    KEYS,
    scores_of_floats,
    scores_of_pairs,
    soften,
    soften_wide,
    tile_of,
    values_of_floats,
    values_of_pairs,
)
from kernels.cpu.gather import gather
from kernels.cpu.launch import Kernel, jit
from kernels.cpu.vector import f32, i32, i64, i64_array, take, take_thread

QUERIES = 48
"""Queries (tokens times query heads of one key head) of a block at most, unless one token has more."""


def scratch_bytes(queries: int, head_dim: int, size: int) -> int:
    """Memory of one thread for blocks of so many queries, with keys and values of `size` bytes each."""
    return queries * ((4 + size) * (head_dim + KEYS) + 12) + 2 * size * KEYS * head_dim + 4096


@jit
def _score(
    wide: bool, queries: int, tiles: int, steps: int, q: int, q_stride: int, keys: int, out: int, out_stride: int
) -> None:
    """Scores of up to 8 queries for the keys of some tiles, two tiles at a time."""
    for tile in range(0, tiles, 2):
        both = min(tiles - tile, 2)
        if wide:
            scores_of_floats(queries, both, steps, q, q_stride, keys + 8 * tile, out + 64 * tile, out_stride)
        else:
            scores_of_pairs(queries, both, steps, q, q_stride, keys + 8 * tile, out + 64 * tile, out_stride)


@jit
def _see(
    wide: bool,
    queries: int,
    group: int,
    q: int,
    dim: int,
    slots: int,
    seen: int,
    more: int,
    pool: int,
    tile_bytes: int,
    value_offset: int,
    scores: int,
    weights: int,
    sums: int,
    tiles: int,
    best: int,
    total: int,
    shrink: int,
) -> None:
    """Let `queries` queries at `q`, `group` for each token, see the first `seen` of `slots`, each token `more` more
    than the one before it. The first slot's position is a multiple of 64.

    `sums`, `best` and `total` are their state. `tiles`: room for eight addresses, then for the tiles that keys have to
    be gathered to.
    """
    most = seen + more * (queries // group - 1)
    size = 4 if wide else 2
    q_bytes, p_bytes, tile_size = dim * size, 64 * size, dim * 32 * size
    steps, value_steps = (dim, 16) if wide else (dim // 2, 8)
    places = i64(tiles, 8)
    for at in range(0, most, 64):
        count = (min(most - at, 64) + 15) // 16
        for number in range(count):
            first = slots + (at + 16 * number) * 4
            length = min(most - at - 16 * number, 16)
            tile = tile_of(first, length)
            if tile >= 0:
                places[number] = pool + tile * tile_bytes
                places[4 + number] = places[number] + value_offset
            else:
                places[number] = tiles + 64 + number * tile_size
                places[4 + number] = places[number] + tile_size // 2
                gather(wide, first, length, dim, pool, tile_bytes, value_offset, places[number])
        parts = (queries + 7) // 8
        row = 0
        for part in range(parts):
            rows = (queries + part) // parts
            _score(wide, rows, count, steps, q + row * q_bytes, q_bytes, tiles, scores + row * 256, 256)
            row += rows
        for query in range(queries):
            visible = seen + more * (query // group) - at
            line, state = scores + query * 256, query * 4
            if wide:
                soften_wide(line, visible, best + state, total + state, shrink + state)
            else:
                soften(line, visible, best + state, total + state, shrink + state, weights + query * 128)
        parts = (queries + 5) // 6
        row = 0
        for part in range(parts):
            rows = (queries + part) // parts
            p, factors = (scores if wide else weights) + row * p_bytes, shrink + row * 4
            for column in range(0, dim * 4, 256):
                there = sums + row * dim * 4 + column
                if wide:
                    values_of_floats(rows, count, value_steps, p, p_bytes, tiles + 32, column, dim * 4, factors, there)
                else:
                    values_of_pairs(rows, count, value_steps, p, p_bytes, tiles + 32, column, dim * 4, factors, there)
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
        best = weights + queries * 128
        total, shrink = best + queries * 4, best + queries * 8
        largest, totals = f32(best, queries), f32(total, queries)
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
            largest[i] = np.float32(BELOW_ALL)
            totals[i] = np.float32(0.0)
        tile_bytes = 2 * kv_heads * dim * 16 * size
        pool = a[11] + head * dim * 16 * size
        value_offset = kv_heads * dim * 16 * size
        tiles = (shrink + queries * 4 + 63) // 64 * 64
        seen, more = table[block * 5 + 3], table[block * 5 + 4]
        _see(
            wide,
            queries,
            group,
            q,
            dim,
            a[8] + table[block * 5 + 2] * 4,
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
            shrink,
        )
        for token in range(count):
            seen = own[2 * (first + token) + 1]
            skip = token * group
            _see(
                wide,
                group,
                group,
                q + skip * dim * size,
                dim,
                a[8] + own[2 * (first + token)] * 4,
                seen,
                0,
                pool,
                tile_bytes,
                value_offset,
                scores,
                weights,
                sums + skip * dim * 4,
                tiles,
                best + skip * 4,
                total + skip * 4,
                shrink + skip * 4,
            )
        for token in range(count):
            out = f32(a[10] + ((first + token) * heads + head * group) * dim * 4, group * dim)
            for query in range(group):
                factor = np.float32(1.0) / totals[token * group + query]
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
