"""Which tokens of a step see which tiles of the pool, for kernels that read shared tiles once; one for all layers.

Rows of one prompt stand side by side, and among them those whose texts parted last: what any neighbours have in common
is one run of tiles for all of them (the intervals of common prefixes of sorted texts, as in a suffix array: Abouelhoda,
Kurtz, Ohlebusch 2004). All of it in numpy over the whole step: 256 rows take well under a millisecond.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.core.types import Chunk, Slots, Step
from kernels.gpu.items import Run, Tiles

ROW_TOKENS = 16
"""Chunks of at most so many tokens are decode rows, one for each token: a branch's last token and what is drafted after
it. Longer ones are prefill."""

LEAST_SHARED = 16
"""Tokens that rows must have in common, beyond the prompt or the last thing shared, for a run of their own: each run is
one more part to merge for each of its rows."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GpuLayout:
    """The tokens of a step in their order: decode rows first, then the chunks of prefill.

    first: the number of each chunk's first token in that order. tokens, positions, writes: [T] int64; a write is a
    slot, or -2 - slot if the token is stored in 8 bits. rows: how many of the tokens are decode rows. decode: what
    those see, in order of position for each row. prefill: one run for each other chunk, with all of its path; their
    `first` counts from the first token of prefill.
    """

    first: list[int]
    tokens: Ints
    positions: Ints
    writes: Ints
    rows: int
    decode: list[Run]
    prefill: list[Run]


@dataclass(frozen=True, slots=True)
class _Paths:
    """Tiles of several paths, one path after the other.

    tiles: [n, 3]; path: [n] the number of a tile's path; start: [n] tokens of the path before the tile; bounds:
    [paths + 1] where each path's tiles begin; wide: [paths] tokens that come before the narrow ones, at whose first one
    a tile begins.
    """

    tiles: Tiles
    path: Ints
    start: Ints
    bounds: Ints
    wide: Ints

    def between(self, low: Ints, high: Ints) -> tuple[Tiles, list[int], list[int]]:
        """Of each path the tiles of its tokens low..high - 1 ([paths] each): all of them, [paths + 1] bounds, and how
        many of each path's are narrow."""
        sizes = self.tiles[:, 2] - self.tiles[:, 1]
        before = np.maximum(low[self.path] - self.start, 0)
        behind = np.maximum(self.start + sizes - high[self.path], 0)
        kept = before + behind < sizes
        tiles = self.tiles[kept]
        tiles[:, 1] += before[kept].astype(np.int32)
        tiles[:, 2] -= behind[kept].astype(np.int32)
        counts = np.bincount(self.path[kept], minlength=len(low))
        narrow = np.bincount(self.path[kept & (self.start >= self.wide[self.path])], minlength=len(low))
        return tiles, [0, *np.cumsum(counts).tolist()], narrow.tolist()

    def of_one(self, path: int, low: int, high: int) -> tuple[Tiles, int]:
        """The tiles of tokens low..high - 1 of one path, and how many of them are narrow."""
        mine = slice(int(self.bounds[path]), int(self.bounds[path + 1]))
        place, wide = np.zeros(mine.stop - mine.start, np.int64), self.wide[path : path + 1]
        only = _Paths(self.tiles[mine], place, self.start[mine], self.bounds[:0], wide)
        tiles, _, narrow = only.between(np.array([low]), np.array([high]))
        return tiles, narrow[0]


def lay_out(step: Step, page_size: int, *, narrow: bool = False) -> GpuLayout:
    """The layout of a step whose pool has pages of `page_size` tokens, a power of two.

    `narrow`: tokens after a prompt are stored in 8 bits.
    """
    groups: dict[int, list[int]] = {}
    chunks: list[int] = []
    for index, chunk in enumerate(step.chunks):
        if len(chunk.tokens) <= ROW_TOKENS:
            groups.setdefault(id(chunk.prefix), []).append(index)
        else:
            chunks.append(index)
    order, decode = _decode_runs(step.chunks, list(groups.values()), page_size, narrow)
    rows = sum(len(step.chunks[index].tokens) for index in order)
    prefill = _prefill_runs([step.chunks[index] for index in chunks], page_size, narrow)
    order += chunks
    ordered = [step.chunks[index] for index in order]
    lengths = np.array([len(chunk.tokens) for chunk in ordered])
    starts = np.cumsum(lengths) - lengths
    first = np.empty(len(order), np.int64)
    first[order] = starts
    total = int(lengths.sum())
    positions = np.repeat(np.array([chunk.start for chunk in ordered]) - starts, lengths) + np.arange(total)
    writes = np.concatenate([chunk.suffix[-len(chunk.tokens) :] for chunk in ordered]).astype(np.int64)
    if narrow:
        drawn = positions >= np.repeat([_wide(chunk) for chunk in ordered], lengths)
        writes = np.where(drawn, -2 - writes, writes)
    return GpuLayout(
        first.tolist(),
        np.fromiter((token for chunk in ordered for token in chunk.tokens), np.int64, total),
        positions,
        writes,
        rows,
        decode,
        prefill,
    )


def _wide(chunk: Chunk) -> int:
    """Tokens of a chunk's path that come before the narrow ones, where tokens after a prompt are narrow."""
    return len(chunk.prefix) + len(chunk.suffix) if chunk.prompt is None else chunk.prompt


def _prefill_runs(chunks: list[Chunk], page_size: int, narrow: bool) -> list[Run]:
    first = 0
    found: list[Run] = []
    for chunk in chunks:
        path = np.concatenate([chunk.prefix, chunk.suffix])
        paths = _tiles([path], page_size, [_wide(chunk)] if narrow else None)
        found.append(Run(first, len(chunk.tokens), *paths.of_one(0, 0, len(path))))
        first += len(chunk.tokens)
    return found


def _decode_runs(
    chunks: list[Chunk], groups: list[list[int]], page_size: int, narrow: bool
) -> tuple[list[int], list[Run]]:
    """The order of the chunks of `groups` (numbers of those with one prefix), and what their rows see."""
    indices = np.array([index for group in groups for index in group], np.int64)
    if not len(indices):
        return [], []
    group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    wide = [_wide(chunks[index]) - len(chunks[index].prefix) for index in indices] if narrow else None
    paths = _tiles([chunks[index].suffix for index in indices], page_size, wide)
    order, common = _neighbours(paths, group_of, page_size)
    # From here on everything is in the new order; only `paths` is asked by the old numbers.
    indices, group_of = indices[order], group_of[order]
    counts = np.array([len(chunks[index].tokens) for index in indices])
    lengths = np.array([len(chunks[index].suffix) for index in indices])
    firsts = np.append(np.cumsum(counts) - counts, counts.sum())
    runs = _prefix_runs([chunks[index].prefix for index in indices], group_of, firsts, page_size)
    shared = np.zeros(len(indices), np.int64)  # of each chunk's suffix, what is in runs already
    for left, right, depth in _intervals(common.tolist()):
        before = int(shared[left])
        if depth - before >= LEAST_SHARED:
            seen = paths.of_one(int(order[left]), before, depth)
            runs.append(Run(int(firsts[left]), int(firsts[right] - firsts[left]), *seen))
            shared[left:right] = depth
    # A chunk of one token sees the rest of its path; of one with drafts, each token sees itself and those before it.
    own = np.where(counts > 1, counts, 0)
    low, high = np.empty((2, len(order)), np.int64)
    low[order], high[order] = shared, lengths - own
    tiles, bounds, in_8_bits = paths.between(low, high)
    for place, path in enumerate(order.tolist()):
        count, first = int(counts[place]), int(firsts[place])
        if bounds[path] < bounds[path + 1]:
            runs.append(Run(first, count, tiles[bounds[path] : bounds[path + 1]], in_8_bits[path]))
        for token in range(count if count > 1 else 0):
            before = int(lengths[place]) - count
            runs.append(Run(first + token, 1, *paths.of_one(path, before, before + token + 1)))
    return indices.tolist(), runs


def _prefix_runs(prefixes: list[Slots], group_of: Ints, firsts: Ints, page_size: int) -> list[Run]:
    """One run for each group of chunks with the same prefix, where it is not empty."""
    places = np.flatnonzero(np.diff(group_of, prepend=-1)).tolist()
    paths = _tiles([prefixes[place] for place in places], page_size)
    bounds = paths.bounds.tolist()
    return [
        Run(int(firsts[place]), int(firsts[end] - firsts[place]), paths.tiles[bounds[number] : bounds[number + 1]])
        for number, (place, end) in enumerate(zip(places, [*places[1:], len(group_of)], strict=True))
        if bounds[number] < bounds[number + 1]
    ]


def _tiles(paths: list[Slots], page_size: int, wide: list[int] | None = None) -> _Paths:
    """Slots as tiles: a tile ends where the next slot is not the one behind it in the same page, and after the first
    `wide` tokens of a path (None: all are)."""
    slots = np.concatenate([np.empty(0, np.int32), *paths])
    lengths = np.array([len(path) for path in paths], np.int64)
    ends = np.cumsum(lengths)
    breaks = (slots & np.int32(page_size - 1)) == 0
    breaks[1:] |= slots[1:] != slots[:-1] + 1
    breaks[(ends - lengths)[lengths > 0]] = True
    before = lengths if wide is None else np.array(wide, np.int64)
    breaks[(ends - lengths + before)[before < lengths]] = True
    at = np.flatnonzero(breaks)
    page, offset = np.divmod(slots[at], np.int32(page_size))
    tiles = np.stack([page, offset, offset + np.diff(at, append=len(slots)).astype(np.int32)], axis=1)
    path = np.searchsorted(ends, at, side="right")
    bounds = np.searchsorted(path, np.arange(len(paths) + 1))
    return _Paths(tiles, path, at - (ends - lengths)[path], bounds, before)


def _neighbours(paths: _Paths, group_of: Ints, page_size: int) -> tuple[Ints, Ints]:
    """An order in which paths of one group that begin alike stand side by side, those that part last the closest.

    Returns (order [paths], tokens in common of each path in that order with the one before it [paths], 0 for the first
    of a group).
    """
    counts = np.diff(paths.bounds)
    shape = (len(counts), int(counts.max(initial=1)))
    column = np.arange(len(paths.path)) - paths.bounds[paths.path]
    begins, sizes = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
    begins[paths.path, column] = paths.tiles[:, 0].astype(np.int64) * page_size + paths.tiles[:, 1]
    sizes[paths.path, column] = paths.tiles[:, 2] - paths.tiles[:, 1]
    # Of those that begin in the same tile, the ones that take more of it stand together.
    keys = begins * (page_size + 1) + (page_size - sizes)
    order = np.lexsort([*keys.T[::-1], group_of])
    begins, sizes, group_of = begins[order], sizes[order], group_of[order]
    alike = (begins[1:] == begins[:-1]) & (group_of[1:] == group_of[:-1])[:, None]
    inside = np.where(alike, np.minimum(sizes[1:], sizes[:-1]), 0)
    whole = np.logical_and.accumulate(alike & (sizes[1:] == sizes[:-1]), axis=1)
    inside[:, 1:] *= whole[:, :-1]
    return order, np.append(0, inside.sum(axis=1))


def _intervals(common: list[int]) -> list[tuple[int, int, int]]:
    """Maximal ranges [left, right) of neighbours with so much in common, outer ranges before those in them.

    common[i]: what number i has in common with the one before it.
    """
    found: list[tuple[int, int, int]] = []
    open_: list[tuple[int, int]] = [(0, 0)]  # (left, depth), depths growing
    for place in range(1, len(common) + 1):
        depth = common[place] if place < len(common) else 0
        left = place - 1
        while open_[-1][1] > depth:
            left, inner = open_.pop()
            found.append((left, place, inner))
        if depth > open_[-1][1]:
            open_.append((left, depth))
    return sorted(found, key=lambda one: (one[0], -one[1]))
