"""Grouped decode attention against float64, over mixes of solves, shapes and pages."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.gpu.attention import DecodeAttention, tiling
from kernels.gpu.items import AttentionShape, Capacity, Run
from kernels.reference import decode_attention
from tests.support.paged_keys import PagedKeys

CAPACITY = Capacity(rows=32, items=256, tiles=1024, slots=512)


@dataclass
class Found:
    out: Tensor
    lse: Tensor


def attend(
    attention: DecodeAttention, keys: PagedKeys, q: Tensor, runs: list[Run], scale: float | None = None
) -> Found:
    """One step; what it leaves out stays NaN, also in the work space between its two launches."""
    for space in (attention._partials, attention._lses):
        space.fill_(torch.nan)
    out = torch.full_like(q, torch.nan)
    lse = torch.full(q.shape[:2], torch.nan, device=q.device)
    attention.load(attention.plan(runs, max(run.first + run.rows for run in runs)))
    attention.run(q, keys.k, keys.v, out, scale or q.shape[-1] ** -0.5, lse)
    return Found(out, lse)


def made(shape: AttentionShape, device: str, *, strict: bool = False) -> DecodeAttention:
    return DecodeAttention(shape, CAPACITY, torch.device(device), strict=strict)


def plain(keys: PagedKeys, q: Tensor, runs: list[Run], scale: float) -> Tensor:
    """The same attention as torch computes it in the type of q, row by row."""
    out = torch.zeros_like(q)
    group = keys.shape.group
    for row in range(len(q)):
        tiles = [tile for run in runs if run.first <= row < run.first + run.rows for tile in run.tiles.tolist()]
        if tiles:
            k = torch.cat([keys.k[page, :, begin:end] for page, begin, end in tiles], 1).repeat_interleave(group, 0)
            v = torch.cat([keys.v[page, :, begin:end] for page, begin, end in tiles], 1).repeat_interleave(group, 0)
            scores = (k @ q[row][..., None])[..., 0] * scale
            out[row] = (torch.softmax(scores, -1)[:, None] @ v)[:, 0]
    return out


def check(found: Found, keys: PagedKeys, q: Tensor, runs: list[Run], scale: float | None = None) -> None:
    """At most twice as far from float64 as torch is in the same type, and a rounding of the result."""
    scale = scale or q.shape[-1] ** -0.5
    expected, lse = decode_attention(q, keys.k, keys.v, runs, scale)
    theirs = (plain(keys, q, runs, scale).double() - expected).abs().max()
    rounding = torch.finfo(q.dtype).eps * expected.abs().max()
    assert (found.out.double() - expected).abs().max() <= 2 * theirs + rounding
    empty = lse == -torch.inf
    assert torch.equal(found.lse == -torch.inf, empty)
    difference = (found.lse.double() - lse).abs()[~empty]
    assert (difference <= 1e-3 + 4 * torch.finfo(torch.float32).eps * lse.abs()[~empty]).all()
    assert not found.out[empty].any()


def solves(keys: PagedKeys, prompts: list[tuple[int, list[tuple[int, list[int]]]]]) -> tuple[list[Run], int]:
    """Runs and rows of solves: each a prompt length and forks, each fork a length and the lengths of its tails."""
    runs: list[Run] = []
    row = 0
    for prompt, forks in prompts:
        first = row
        own: list[Run] = []
        for fork, tails in forks:
            if fork:
                own.append(Run(row, len(tails), keys.segment(prompt, fork)))
            for tail in tails:
                own.append(Run(row, 1, keys.segment(prompt + fork, tail)))
                row += 1
        runs += [Run(first, row - first, keys.segment(0, prompt)), *own]
    return runs, row


TAILS = st.lists(st.integers(0, 40), min_size=1, max_size=3)
FORKS = st.lists(st.tuples(st.sampled_from([0, 0, 3, 16, 20]), TAILS), min_size=1, max_size=2)
MIXES = st.lists(st.tuples(st.sampled_from([0, 1, 15, 16, 17, 63, 64, 65, 150]), FORKS), min_size=1, max_size=2)


@pytest.mark.slow
@settings(max_examples=40)
@given(
    mix=MIXES,
    group=st.sampled_from([1, 2, 6, 7, 8]),
    kv_heads=st.integers(1, 2),
    head_dim=st.sampled_from([64, 128]),
    page_size=st.sampled_from([16, 64]),
    dtype=st.sampled_from([torch.float16, torch.float32]),
    strict=st.booleans(),
    seed=st.integers(0, 9),
)
def test_rows_of_many_solves_see_what_is_theirs(
    device: str,
    mix: list[tuple[int, list[tuple[int, list[int]]]]],
    group: int,
    kv_heads: int,
    head_dim: int,
    page_size: int,
    dtype: torch.dtype,
    strict: bool,
    seed: int,
) -> None:
    shape = AttentionShape(group * kv_heads, kv_heads, head_dim, page_size, dtype)
    keys = PagedKeys(shape, 128, device, seed)
    runs, rows = solves(keys, mix)
    q = keys.normal(rows, shape.heads, head_dim)
    check(attend(made(shape, device, strict=strict), keys, q, runs), keys, q, runs)


@pytest.mark.parametrize("page_size", [16, 64])
def test_three_levels_and_chunks_of_a_long_prompt(device: str, page_size: int) -> None:
    shape = AttentionShape(7, 1, 64, page_size, torch.float16)
    keys = PagedKeys(shape, 200, device)
    runs, rows = solves(keys, [(700, [(300, [5, 270, 0]), (20, [1])])])
    attention = made(shape, device)
    items = attention.plan(runs, rows)
    assert np.diff(items.starts).tolist() == [3 + 2 + 1, 3 + 2 + 2, 3 + 2, 3 + 1 + 1]
    q = keys.normal(rows, 7, 64)
    check(attend(attention, keys, q, runs), keys, q, runs)


@pytest.mark.slow
def test_more_rows_than_one_block(device: str) -> None:
    shape = AttentionShape(12, 2, 64, 64, torch.float32)
    keys = PagedKeys(shape, 40, device)
    runs, rows = solves(keys, [(70, [(0, [3] * 27)])])
    for capacity in (CAPACITY, Capacity(rows=128, items=256, tiles=1024, slots=512)):
        attention = DecodeAttention(shape, capacity, torch.device(device))
        q = keys.normal(rows, 12, 64)
        check(attend(attention, keys, q, runs), keys, q, runs)


def test_where_a_run_ends_makes_no_difference(device: str) -> None:
    shape = AttentionShape(6, 2, 64, 16, torch.float32)
    keys = PagedKeys(shape, 40, device)
    path = keys.segment(0, 90)
    q = keys.normal(1, 6, 64)
    attention = made(shape, device)
    whole = attend(attention, keys, q, [Run(0, 1, path)])
    check(whole, keys, q, [Run(0, 1, path)])
    page, begin, end = path[2].tolist()
    split = np.array([[page, begin, begin + 5], [page, begin + 5, end]], np.int32)
    cuts = [
        [path[:1], path[1:]],
        [path[:4], path[4:5], path[5:]],
        [np.concatenate([path[:2], split[:1]]), np.concatenate([split[1:], path[3:]])],
        [path[:0], path, path[:0]],
        [np.array([[0, 3, 3]], np.int32), np.concatenate([np.array([[0, 9, 9]], np.int32), path])],
    ]
    for cut in cuts:
        found = attend(attention, keys, q, [Run(0, 1, tiles) for tiles in cut])
        torch.testing.assert_close(found.out, whole.out, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.lse, whole.lse, rtol=1e-6, atol=1e-5)


def test_which_pages_hold_a_path_changes_no_bit(device: str) -> None:
    shape = AttentionShape(4, 2, 64, 16, torch.float16)
    keys = PagedKeys(shape, 30, device)
    runs, rows = solves(keys, [(50, [(10, [7, 20]), (0, [3])])])
    q = keys.normal(rows, 4, 64)
    attention = made(shape, device)
    before = attend(attention, keys, q, runs)
    moved = torch.randperm(30, generator=torch.Generator().manual_seed(1)).numpy()
    source = torch.from_numpy(np.argsort(moved))
    keys.k, keys.v = keys.k[source], keys.v[source]
    renamed = [
        Run(run.first, run.rows, np.concatenate([moved[run.tiles[:, :1]], run.tiles[:, 1:]], 1, dtype=np.int32))
        for run in runs
    ]
    after = attend(attention, keys, q, renamed)
    assert torch.equal(before.out, after.out) and torch.equal(before.lse, after.lse)


@pytest.mark.parametrize("strict", [False, True])
def test_a_row_is_the_same_bit_for_bit_in_any_step(device: str, strict: bool) -> None:
    shape = AttentionShape(7, 1, 64, 64, torch.float16)
    keys = PagedKeys(shape, 60, device)
    prompt, forked = keys.segment(0, 300), keys.segment(300, 70)
    tail = keys.segment(370, 9)
    others = [keys.segment(300, 5 + n) for n in range(5)]
    strangers, more = solves(keys, [(400, [(0, [30, 2, 7])]), (0, [(0, [60])])])
    q = keys.normal(16, 7, 64)
    mine = q[3]

    def step(row: int, companions: int, away: int) -> Found:
        """Our row at `row`, so many rows of the same prompt before it, and the other solves' rows after `away` rows."""
        own = [Run(row - companions, companions + 1, prompt)]
        own += [Run(row - companions + n, 1, others[n]) for n in range(companions)]
        own += [Run(row, 1, forked), Run(row, 1, tail)]
        rest = [Run(run.first + away, run.rows, run.tiles) for run in strangers] if away else []
        asked = q.clone()
        asked[row] = mine
        found = attend(attention, keys, asked[: max(row + 1, away + more if away else 0)], [*rest, *own])
        return Found(found.out[row], found.lse[row])

    attention = made(shape, device, strict=strict)
    # Without `strict`, a prompt with one row takes another path through the kernel than one with more.
    alone = step(0, 0, 0) if strict else step(3, 3, 0)
    for row, companions, away in [(3, 3, 4), (5, 5, 6), (12, 3, 1), (4, 4, 0)]:
        found = step(row, companions, away)
        assert torch.equal(found.out, alone.out) and torch.equal(found.lse, alone.lse)


@pytest.mark.parametrize("head_dim", [64, 128])
def test_strict_mode_has_one_tiling(head_dim: int) -> None:
    shape = AttentionShape(28, 4, head_dim, 64, torch.bfloat16)
    strict = {tiling(shape, rows, strict=True) for rows in (1, 2, 8, 64, 73, 74, 128, 512, 4096)}
    assert len(strict) == 1 and {one.own for one in strict} == {0}
    assert len({tiling(shape, rows) for rows in (1, 73, 74, 512)}) == 2


def test_a_table_serves_one_step_after_another(device: str) -> None:
    shape = AttentionShape(2, 1, 64, 16, torch.float32)
    keys = PagedKeys(shape, 60, device)
    attention = made(shape, device)
    for mix in ([(64, [(3, [5] * 5)])], [(100, [(20, [9, 4]), (0, [40, 1])])], [(17, [(0, [3])])]):
        runs, rows = solves(keys, mix)
        q = keys.normal(9, 2, 64)  # further rows fill the step up
        found = attend(attention, keys, q, runs)
        check(found, keys, q, runs)
        assert not found.out[rows:].any() and (found.lse[rows:] == -torch.inf).all()


def test_without_a_log_sum_exp_the_output_is_the_same(device: str) -> None:
    shape = AttentionShape(2, 2, 64, 16, torch.float16)
    keys = PagedKeys(shape, 20, device)
    runs, rows = solves(keys, [(30, [(0, [3, 8])])])
    q = keys.normal(rows, 2, 64)
    attention = made(shape, device)
    found = attend(attention, keys, q, runs)
    out = torch.full_like(q, torch.nan)
    attention.run(q, keys.k, keys.v, out, 64**-0.5)
    assert torch.equal(out, found.out)


def test_a_row_of_many_runs(device: str) -> None:
    shape = AttentionShape(2, 1, 64, 16, torch.float32)
    keys = PagedKeys(shape, 60, device)
    # The scores of the last run are the highest, so that what came before counts for less than it did.
    runs = [Run(0, 1, keys.segment(3 * n, 3)) for n in range(37)]
    keys.k[runs[-1].tiles[0, 0]] *= 3
    q = keys.normal(1, 2, 64)
    check(attend(made(shape, device), keys, q, runs), keys, q, runs)


def test_log_sum_exps_of_parts_add_up(device: str) -> None:
    shape = AttentionShape(2, 1, 128, 64, torch.float32)
    keys = PagedKeys(shape, 20, device)
    first, second = keys.segment(0, 130), keys.segment(130, 50)
    q = keys.normal(1, 2, 128)
    attention = made(shape, device)
    whole = attend(attention, keys, q, [Run(0, 1, first), Run(0, 1, second)])
    parts = [attend(attention, keys, q, [Run(0, 1, tiles)]).lse for tiles in (first, second)]
    torch.testing.assert_close(torch.logaddexp(*parts), whole.lse, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_large_and_small_scores_stay_finite(device: str, size: float) -> None:
    shape = AttentionShape(2, 1, 64, 16, torch.float32)
    keys = PagedKeys(shape, 20, device)
    runs, rows = solves(keys, [(40, [(0, [3, 20])])])
    q = keys.normal(rows, 2, 64) * size
    check(attend(attention := made(shape, device), keys, q, runs), keys, q, runs)
    keys.v[:] = 0.5
    found = attend(attention, keys, q, runs)
    torch.testing.assert_close(found.out, torch.full_like(q, 0.5))


def test_pages_beyond_the_reach_of_32_bits(device: str) -> None:
    shape = AttentionShape(2, 1, 64, 64, torch.float16)
    near = PagedKeys(shape, 4, device)
    run = Run(0, 1, near.segment(0, 90))
    q = near.normal(1, 2, 64)
    attention = made(shape, device)
    expected = attend(attention, near, q, [run])
    far = PagedKeys(shape, 0, device)
    beyond = 2**31 // (64 * 64)  # elements; the system gives memory to the pages that are touched only
    far.k, far.v = (torch.empty(beyond + 4, 1, 64, 64, dtype=torch.float16, device=device) for _ in range(2))
    far.k[beyond:], far.v[beyond:] = near.k, near.v
    moved = run.tiles + np.array([beyond, 0, 0], np.int32)
    found = attend(attention, far, q, [Run(0, 1, moved)])
    assert torch.equal(found.out, expected.out) and torch.equal(found.lse, expected.lse)


def test_what_does_not_fit_is_refused_by_name(device: str) -> None:
    shape = AttentionShape(2, 1, 64, 16, torch.float16)
    tiles = np.array([[0, 0, 16]], np.int32)
    for field, runs in [
        ("rows", [Run(0, 9, tiles)]),
        ("items", [Run(0, 1, tiles)] * 3),
        ("tiles", [Run(0, 1, tiles.repeat(9, 0))]),
        ("slots", [Run(0, 5, tiles)]),
    ]:
        attention = DecodeAttention(shape, Capacity(rows=8, items=2, tiles=8, slots=4), torch.device(device))
        with pytest.raises(ValueError, match=f" {field} are more than"):
            attention.load(attention.plan(runs, max(run.rows for run in runs)))
    attention = made(shape, device)
    q = torch.zeros(1, 2, 64, dtype=torch.float16, device=device)
    pool = torch.zeros(2, 1, 16, 64, dtype=torch.float16, device=device)
    with pytest.raises(ValueError, match=r"^out is .* wanted, contiguous"):
        attention.run(q, pool, pool, q.float(), 1.0)
    with pytest.raises(ValueError, match=r"^v_pages is "):
        attention.run(q, pool, pool.transpose(0, 1), q, 1.0)
    with pytest.raises(ValueError, match=r"^q has 33 rows, more than the table's 32"):
        attention.run(q.repeat(33, 1, 1), pool, pool, q.repeat(33, 1, 1), 1.0)
    with pytest.raises(ValueError, match="a run lies outside the step's 3 rows"):
        attention.plan([Run(2, 2, tiles)], 3)
    with pytest.raises(ValueError, match="a tile lies outside its page of 16 slots"):
        attention.plan([Run(0, 1, tiles + np.array([0, 0, 1], np.int32))], 3)
    with pytest.raises(ValueError, match=r"slots of 2 heads are more than one launch can number"):
        DecodeAttention(shape, Capacity(rows=8, items=2, tiles=8, slots=2**24), torch.device("meta"))


def test_the_interpreter_is_not_given_what_it_gets_wrong(device: str) -> None:
    if device == "cuda":
        pytest.skip("bfloat16 is right on a GPU")
    with pytest.raises(ValueError, match="interpreter"):
        made(AttentionShape(2, 1, 64, 16, torch.bfloat16), device)
