"""What the rows of a step see, and how it becomes the work of one launch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

Tiles = npt.NDArray[np.int32]
"""[n, 3]: page, begin, end: the slots begin..end - 1 of that page, tile after tile in order of position."""
Words = npt.NDArray[np.int32]

OWN_TOKENS = 256
"""Keys of an item of few query rows: its partial results are small, so that only its start costs."""
SHARED_TOKENS = (256, 2048)
"""Least and most keys of an item of many query rows, whose partial results weigh as much as rows / 2 keys."""
_PIECES = 8  # of a long run at most
_ENOUGH = 64  # items of one run, over all key heads, that with those of the rows' own keep a device busy
NARROW_BLOCK = 16
"""Most query rows of a narrow item: the conversion of keys and values leaves no registers for more."""
ITEM_WORDS = 8
HEADER_WORDS = 8


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """One attention layer: `heads` query heads over `kv_heads` key heads, and pools of pages of `page_size` tokens.

    A pool of keys or values is [pages, kv_heads, page_size, head_dim] in `dtype`, contiguous. Any ratio of heads to
    kv_heads that is whole; head_dim is 64 or 128, page_size 16 or 64. `narrow`: whether runs may end in narrow tiles
    (see kernels.reference_pages); where not, nothing in a kernel is there for them.
    """

    heads: int
    kv_heads: int
    head_dim: int
    page_size: int
    dtype: torch.dtype
    narrow: bool = False

    def __post_init__(self) -> None:
        if self.kv_heads < 1 or self.heads % self.kv_heads:
            raise ValueError(f"heads is {self.heads}: it must be a multiple of kv_heads, {self.kv_heads}")
        if self.head_dim not in (64, 128):
            raise ValueError(f"head_dim is {self.head_dim}: the kernels are made for 64 and 128")
        if self.page_size not in (16, 64):
            raise ValueError(f"page_size is {self.page_size}: the kernels are made for 16 and 64")

    @property
    def group(self) -> int:
        """Query heads of one key head."""
        return self.heads // self.kv_heads


@dataclass(frozen=True, slots=True)
class Run:
    """Rows first..first + rows - 1 of a step all see `tiles`, of which the last `narrow` hold tokens in 8 bits.

    In decoding a row sees every key of all runs that it lies in. In prefill the rows of a run are the last tokens of
    the path that `tiles` holds, and row i of n sees all of it but the last n - 1 - i keys.
    """

    first: int
    rows: int
    tiles: Tiles
    narrow: int = 0


@dataclass(frozen=True, slots=True)
class Capacity:
    """The most that one table holds: rows of a step, items, tiles, and slots.

    A slot is one partial result of one row: a row has one for each item of each run that it lies in.
    """

    rows: int
    items: int
    tiles: int
    slots: int

    @property
    def sections(self) -> dict[str, slice]:
        """Where the parts of a table lie in its words, each at a multiple of 16 bytes."""
        lengths = {
            "header": HEADER_WORDS,
            "items": self.items * ITEM_WORDS,
            "tiles": self.tiles * 2,
            "starts": self.rows + 1,
            "places": self.slots,
        }
        found: dict[str, slice] = {}
        at = 0
        for name, length in lengths.items():
            found[name] = slice(at, at + length)
            at += -(-length // 4) * 4
        return found

    @property
    def words(self) -> int:
        """Length of a table in int32 words. Programs read one tile ahead, which the last section leaves room for."""
        return -(-self.sections["places"].stop // 4) * 4 + 4


@dataclass(frozen=True, slots=True)
class Items:
    """The work of one launch: an item is a block of query rows of one run and a chunk of its keys, for all key heads.

    items [n, 8]: first row of the run, first and last + 1 of its query rows (query row r of a run and a key head h is
    row r // group, head h * group + r % group), first and last + 1 of its tiles, the place of its first query row's
    partial result, 1 if it belongs to a run of few query rows, and 1 if its tiles are narrow; items that take longest
    come first. tiles [n, 2]:
    page, begin * 256 + end. places: for each slot of each row the place of the first of its `group` query rows; row r
    has those from starts[r] to starts[r + 1] - 1, by runs in the order given.
    """

    items: Words
    tiles: Words
    starts: Words
    places: Words

    def write(self, table: Words, capacity: Capacity) -> None:
        """Write the table [capacity.words]; ValueError if it does not fit."""
        counts = {
            "rows": len(self.starts) - 1,
            "items": len(self.items),
            "tiles": len(self.tiles),
            "slots": len(self.places),
        }
        for name, count in counts.items():
            if count > getattr(capacity, name):
                raise ValueError(f"{count} {name} are more than the table's {getattr(capacity, name)}")
        parts = capacity.sections
        table[parts["header"].start] = len(self.items)
        for name, values in (("items", self.items), ("tiles", self.tiles), ("places", self.places)):
            start = parts[name].start
            table[start : start + values.size] = values.reshape(-1)
        starts = table[parts["starts"]]
        starts[: len(self.starts)] = self.starts
        starts[len(self.starts) :] = self.starts[-1]  # further rows see nothing


@dataclass(frozen=True, slots=True)
class Joined:
    """Runs as arrays: first row, rows, number of tiles and of wide ones of each; the tiles that have a slot, joined."""

    first: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    wide: npt.NDArray[np.int64]
    tiles: Tiles


def join(runs: Sequence[Run], rows: int, shape: AttentionShape) -> Joined:
    """ValueError for a run outside the step's rows, a tile outside its page, or narrow tiles that cannot be."""
    first = np.array([run.first for run in runs], np.int64)
    rows_of = np.array([run.rows for run in runs], np.int64)
    counts = np.array([len(run.tiles) for run in runs], np.int64)
    wide = counts - np.array([run.narrow for run in runs], np.int64)
    tiles = np.concatenate([np.empty((0, 3), np.int32), *(run.tiles for run in runs)])
    if len(runs) and (first.min() < 0 or rows_of.min() < 1 or (first + rows_of).max() > rows):
        raise ValueError(f"a run lies outside the step's {rows} rows")
    if len(tiles) and (tiles.min() < 0 or tiles[:, 1:].max() > shape.page_size):
        raise ValueError(f"a tile lies outside its page of {shape.page_size} slots")
    if ((wide < (0 if shape.narrow else counts)) | (wide > counts)).any():
        raise ValueError("a run has more narrow tiles than tiles, or has some where the shape's narrow is False")
    real = tiles[:, 1] < tiles[:, 2]
    if not real.all():
        owner = np.repeat(np.arange(len(runs)), counts)
        place = np.arange(len(tiles)) - np.repeat(np.cumsum(counts) - counts, counts)
        wide = np.bincount(owner[real & (place < wide[owner])], minlength=len(runs))
        counts = np.bincount(owner[real], minlength=len(runs))
        tiles = tiles[real]
    return Joined(first, rows_of, counts, wide, tiles)


def packed(tiles: npt.NDArray[np.integer]) -> Words:
    """Tiles as the kernels read them: page, begin * 256 + end."""
    return np.stack([tiles[:, 0], tiles[:, 1] * 256 + tiles[:, 2]], axis=1).astype(np.int32)


def make_items(runs: Sequence[Run], rows: int, shape: AttentionShape, block: int, own: int) -> Items:
    """Cut runs into items of at most `block` query rows, narrow ones of at most NARROW_BLOCK; runs of at most `own`
    query rows in shorter chunks.

    How a run is cut depends on nothing but its own length and number of rows, and on its length alone if `own` is 0: a
    row's result is the same, bit for bit, whatever other solves are in the step, or whatever else is. An item is wide
    or narrow as a whole. Tiles without a slot are left out.
    """
    runs = [part for run in runs for part in _of_one_kind(run)]
    joined = join(runs, rows, shape)
    first, counts = joined.first, joined.counts
    queries = joined.rows * shape.group
    few = queries <= own
    narrow = joined.wide < counts
    block_of = np.where(narrow, NARROW_BLOCK, block)
    blocks = -(-queries // block_of)
    pieces = np.minimum(-(-_ENOUGH // (blocks * shape.kv_heads)), _PIECES) if own else _PIECES
    chunk = np.where(few, OWN_TOKENS, _shared_tokens(counts * shape.page_size, pieces)) // shape.page_size
    chunks = -(-counts // chunk)
    tile = np.cumsum(counts) - counts
    place = np.cumsum(chunks * queries) - chunks * queries

    each = chunks * blocks
    run = np.repeat(np.arange(len(runs)), each)
    index = np.arange(len(run)) - np.repeat(np.cumsum(each) - each, each)
    in_chunk, in_block = index // blocks[run], index % blocks[run]
    items = np.zeros((len(run), ITEM_WORDS), np.int32)
    items[:, 0] = first[run]
    items[:, 1] = in_block * block_of[run]
    items[:, 2] = np.minimum(queries[run], items[:, 1] + block_of[run])
    items[:, 3] = tile[run] + in_chunk * chunk[run]
    items[:, 4] = np.minimum(tile[run] + counts[run], items[:, 3] + chunk[run])
    items[:, 5] = place[run] + in_chunk * queries[run] + items[:, 1]
    items[:, 6] = few[run]
    items[:, 7] = narrow[run]
    starts, places = _slots(first, joined.rows, chunks, place, rows, shape.group)
    return Items(items[_order(items[:, 4] - items[:, 3], few[run])], packed(joined.tiles), starts, places)


def _of_one_kind(run: Run) -> list[Run]:
    """A run whose tiles are wide first and then narrow as two."""
    if not 0 < run.narrow < len(run.tiles):
        return [run]
    wide = len(run.tiles) - run.narrow
    return [replace(run, tiles=run.tiles[:wide], narrow=0), replace(run, tiles=run.tiles[wide:])]


def _shared_tokens(tokens: npt.NDArray[np.int64], pieces: npt.NDArray[np.int64] | int) -> npt.NDArray[np.int64]:
    """Keys of one item of runs of so many that are to be cut in about so many pieces: a power of two.

    Partial results weigh about 2 * query rows / chunk of the keys, so that a run with many blocks of query rows, which
    keep a device busy by themselves, is cut in fewer.
    """
    least, most = SHARED_TOKENS
    wanted = np.maximum(tokens / pieces, least)
    return np.minimum(1 << np.ceil(np.log2(wanted)).astype(np.int64), most)


def _order(lengths: Words, own: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Longest first; those of few query rows, which wait for memory, evenly among those of many, which compute."""
    order = np.argsort(-lengths, kind="stable")
    few = own[order]
    rank = np.where(few, np.cumsum(few), np.cumsum(~few)) - 0.5
    share = rank / np.where(few, max(int(few.sum()), 1), max(int((~few).sum()), 1))
    return order[np.argsort(share, kind="stable")]


def _slots(
    first: npt.NDArray[np.int64],
    rows_of: npt.NDArray[np.int64],
    chunks: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
    rows: int,
    group: int,
) -> tuple[Words, Words]:
    """`starts` and `places` of Items."""
    each = rows_of * chunks
    run = np.repeat(np.arange(len(first)), each)
    index = np.arange(len(run)) - np.repeat(np.cumsum(each) - each, each)
    row = first[run] + index % rows_of[run]  # a run's slots: chunk after chunk, each row after row
    order = np.argsort(row, kind="stable")
    starts = np.zeros(rows + 1, np.int32)
    np.cumsum(np.bincount(row, minlength=rows), out=starts[1:])
    return starts, (place[run] + index * group)[order].astype(np.int32)
