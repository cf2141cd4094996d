"""The items of a step cover what its rows see, once, whatever the runs."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.gpu.items import OWN_TOKENS, SHARED_TOKENS, AttentionShape, Capacity, Items, Run, make_items

ROWS = 12
SPANS = st.tuples(st.integers(0, ROWS - 1), st.integers(1, ROWS)).map(
    lambda span: (span[0], min(span[1], ROWS - span[0]))
)


def seen_by(row: int, items: Items, shape: AttentionShape) -> list[list[int]]:
    """Tiles of `row` in the order in which its parts are put together, by way of the places that items write."""
    written: dict[int, tuple[int, int, int]] = {}  # place -> row, first and last + 1 tile
    for first, begin, end, tile, last, place, *_ in items.items.tolist():
        for query in range(begin, end):
            assert place + query - begin not in written, "two items leave their result in one place"
            written[place + query - begin] = (first + query // shape.group, tile, last)
    found: list[list[int]] = []
    for place in items.places[items.starts[row] : items.starts[row + 1]].tolist():
        parts = {written.pop(place + head) for head in range(shape.group)}
        ((whose, tile, last),) = parts
        assert whose == row
        found += [[page, bounds // 256, bounds % 256] for page, bounds in items.tiles[tile:last].tolist()]
    return found


@given(
    spans=st.lists(st.tuples(SPANS, st.integers(0, 45)), max_size=8),
    group=st.integers(1, 8),
    block=st.sampled_from([16, 64, 128]),
    own=st.sampled_from([0, 16]),
    page_size=st.sampled_from([16, 64]),
)
def test_each_row_gets_its_tiles_in_order(
    spans: list[tuple[tuple[int, int], int]], group: int, block: int, own: int, page_size: int
) -> None:
    shape = AttentionShape(group, 1, 64, page_size, torch.float16)
    numbers = iter(range(10**6))
    runs = [
        Run(first, rows, np.array([[next(numbers), 0, n % 17] for n in range(tiles)], np.int32).reshape(-1, 3))
        for (first, rows), tiles in spans
    ]
    items = make_items(runs, ROWS, shape, block, own)
    for row in range(ROWS):
        inside = [run for run in runs if run.first <= row < run.first + run.rows]
        expected = [tile for run in inside for tile in run.tiles.tolist() if tile[1] < tile[2]]
        assert seen_by(row, items, shape) == expected
    assert ((items.items[:, 2] - items.items[:, 1]) <= block).all()
    few = items.items[:, 6] == 1
    lengths = items.items[:, 4] - items.items[:, 3]
    assert not few.any() or (items.items[few, 2] <= own).all()
    for kind in (few, ~few):
        assert (np.diff(lengths[kind]) <= 0).all(), "a longer item waits for a shorter one"


def tiles_of(tokens: int, page_size: int) -> np.ndarray:
    return np.array([[n, 0, page_size] for n in range(tokens // page_size)], np.int32)


@pytest.mark.parametrize("page_size", [16, 64])
@pytest.mark.parametrize(
    ("tokens", "rows", "own", "chunk"),
    [
        (2048, 1, 16, OWN_TOKENS),
        (2048, 1, 0, 256),
        (512, 8, 16, 256),
        (2048, 8, 16, 256),
        (4096, 8, 16, 512),
        (32768, 8, 16, SHARED_TOKENS[1]),
        (2048, 40, 16, 512),  # 5 blocks of 4 key heads: 4 pieces do
        (2048, 40, 0, 256),
    ],
)
def test_how_a_run_is_cut_depends_on_it_alone(page_size: int, tokens: int, rows: int, own: int, chunk: int) -> None:
    shape = AttentionShape(28, 4, 128, page_size, torch.float16)
    mine = Run(3, rows, tiles_of(tokens, page_size))
    other = Run(60, 40, tiles_of(9000, page_size))
    for runs in ([mine], [other, mine], [mine, other]):
        items = make_items(runs, 100, shape, 64, own)
        assert items.starts[4] - items.starts[3] == tokens // chunk
        first = items.items[(items.items[:, 0] == 3) & (items.items[:, 1] == 0)]
        assert (first[:, 4] - first[:, 3] == chunk // page_size).all()


def test_items_of_both_kinds_are_mixed() -> None:
    shape = AttentionShape(7, 1, 128, 64, torch.float16)
    runs = [Run(0, 64, tiles_of(2048, 64)), *(Run(row, 1, tiles_of(256, 64)) for row in range(64))]
    items = make_items(runs, 64, shape, 128, 16)
    few = items.items[:, 6]
    halves = [int(half.sum()) for half in np.array_split(few, 2)]
    assert abs(halves[0] - halves[1]) <= 1 and 0 < few.sum() < len(few)


def test_sections_of_a_table_do_not_overlap() -> None:
    capacity = Capacity(rows=5, items=3, tiles=7, slots=9)
    ends = 0
    for section in capacity.sections.values():
        assert section.start >= ends and section.start % 4 == 0
        ends = section.stop
    assert ends < capacity.words


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("heads", (7, 2, 64, 16)),
        ("head_dim", (8, 2, 96, 16)),
        ("page_size", (8, 2, 64, 32)),
        ("kv_heads", (8, 0, 64, 16)),
    ],
)
def test_shapes_without_a_kernel_are_refused_by_name(field: str, values: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"{field}"):
        AttentionShape(*values, torch.float16)
