"""Attention over tokens in 8 bits, beside wide ones in the same pages, against float64 of the numbers that they stand
for; what nobody owns, of slots and of scales, is not a number."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.gpu.attention import DecodeAttention
from kernels.gpu.items import AttentionShape, Capacity, Run, make_items
from kernels.gpu.prefill import TritonPrefill, make_prefill_items
from kernels.gpu.prefill_choice import GatheredPrefill, choose_prefill, sdpa
from kernels.reference import attention as whole_attention
from kernels.reference import causal_attention, decode_attention, prefill_attention
from kernels.reference_pages import keys_and_values, narrowed
from tests.support.paged_keys import PagedKeys

CAPACITY = Capacity(rows=32, items=256, tiles=1024, slots=512)


def attend(attention: DecodeAttention, keys: PagedKeys, q: Tensor, runs: list[Run]) -> tuple[Tensor, Tensor]:
    out, lse = torch.full_like(q, torch.nan), torch.full(q.shape[:2], torch.nan, device=q.device)
    attention.load(attention.plan(runs, len(q)))
    attention.run(q, keys.k, keys.v, out, q.shape[-1] ** -0.5, lse, keys.scales)
    return out, lse


def check(out: Tensor, lse: Tensor, keys: PagedKeys, q: Tensor, runs: list[Run]) -> None:
    """At most twice as far from float64 as torch is with the same numbers in the same type, and four roundings."""
    scale = q.shape[-1] ** -0.5
    expected, expected_lse = decode_attention(q, keys.k, keys.v, runs, scale, keys.scales)
    theirs = torch.zeros((), dtype=torch.float64)
    for row in range(len(q)):
        seen = [keys.of(run) for run in runs if run.first <= row < run.first + run.rows]
        k, v = (torch.cat(part).repeat_interleave(keys.shape.group, 1) for part in zip(*seen, strict=True))
        if len(k):
            weights = torch.softmax(torch.einsum("hd,thd->ht", q[row], k) * scale, -1)
            plain = torch.einsum("ht,thd->hd", weights, v)
            theirs = torch.maximum(theirs, (plain.double() - expected[row]).abs().max())
    rounding = torch.finfo(q.dtype).eps * expected.abs().max()
    assert (out.double() - expected).abs().max() <= 2 * theirs + 4 * rounding
    empty = expected_lse == -torch.inf
    assert torch.equal(lse == -torch.inf, empty) and not out[empty].any()
    assert ((lse.double() - expected_lse).abs()[~empty] <= 1e-3).all()


def solves(keys: PagedKeys, prompts: list[tuple[int, int, list[int]]]) -> tuple[list[Run], int]:
    """Runs and rows of solves, each a prompt, what all its samples have drawn, and what each has drawn alone. The first
    text goes on in the prompt's last page. A solve of one sample is one run, wide and then narrow."""
    runs: list[Run] = []
    row = 0
    for prompt, common, tails in prompts:
        shared = keys.segment(0, prompt)
        rest = int(shared[-1, 0]) if prompt % keys.shape.page_size else None
        drawn = keys.segment(prompt, common, narrow=True, page=rest)
        own = [keys.segment(prompt + common, tail, narrow=True) for tail in tails]
        if len(tails) == 1:
            tiles = np.concatenate([shared, drawn, own[0]])
            runs.append(Run(row, 1, tiles, len(drawn) + len(own[0])))
        else:
            runs.append(Run(row, len(tails), shared))
            runs.append(Run(row, len(tails), drawn, len(drawn)))
            runs += [Run(row + n, 1, tiles, len(tiles)) for n, tiles in enumerate(own)]
        row += len(tails)
    return runs, row


MIXES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 15, 16, 17, 64, 70, 150]),
        st.sampled_from([0, 0, 3, 20, 70]),
        st.lists(st.integers(0, 40), min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=2,
)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    mix=MIXES,
    group=st.sampled_from([1, 2, 7, 8]),
    kv_heads=st.integers(1, 2),
    head_dim=st.sampled_from([64, 128]),
    page_size=st.sampled_from([16, 64]),
    dtype=st.sampled_from([torch.float16, torch.float32]),
    strict=st.booleans(),
    seed=st.integers(0, 9),
)
def test_rows_of_many_solves_see_what_is_theirs(
    device: str,
    mix: list[tuple[int, int, list[int]]],
    group: int,
    kv_heads: int,
    head_dim: int,
    page_size: int,
    dtype: torch.dtype,
    strict: bool,
    seed: int,
) -> None:
    shape = AttentionShape(group * kv_heads, kv_heads, head_dim, page_size, dtype, narrow=True)
    keys = PagedKeys(shape, 128, device, seed)
    runs, rows = solves(keys, mix)
    q = keys.normal(rows, shape.heads, head_dim)
    check(*attend(DecodeAttention(shape, CAPACITY, torch.device(device), strict=strict), keys, q, runs), keys, q, runs)


@pytest.mark.parametrize(("page_size", "head_dim"), [(16, 64), (64, 128)])
def test_wide_and_narrow_tokens_of_one_page(device: str, page_size: int, head_dim: int) -> None:
    shape = AttentionShape(7, 1, head_dim, page_size, torch.float16, narrow=True)
    keys = PagedKeys(shape, 60, device)
    runs, rows = solves(keys, [(70, 20, [5, 30, 0]), (41, 9, [50])])
    q = keys.normal(rows, 7, head_dim)
    check(*attend(DecodeAttention(shape, CAPACITY, torch.device(device)), keys, q, runs), keys, q, runs)


@pytest.mark.parametrize("strict", [False, True])
def test_a_row_is_the_same_bit_for_bit_in_any_step(device: str, strict: bool) -> None:
    shape = AttentionShape(7, 1, 64, 16, torch.float16, narrow=True)
    keys = PagedKeys(shape, 90, device)
    prompt, drawn = keys.segment(0, 75), keys.segment(75, 40, narrow=True)
    tails = [keys.segment(115, 9 + n, narrow=True) for n in range(5)]
    strangers, more = solves(keys, [(90, 0, [30, 2]), (37, 5, [60])])
    q = keys.normal(12, 7, 64)
    attention = DecodeAttention(shape, CAPACITY, torch.device(device), strict=strict)

    def step(first: int, companions: int, others: list[Run]) -> tuple[Tensor, Tensor]:
        """Our row, the first of those of its prompt, at row `first`."""
        rows = 1 + companions
        own = [Run(first, rows, prompt), Run(first, rows, drawn, len(drawn))]
        own += [Run(first + n, 1, tails[n], len(tails[n])) for n in range(rows)]
        asked = q.clone()
        asked[first] = q[0]
        out, lse = attend(attention, keys, asked, [*others, *own])
        return out[first], lse[first]

    # Without `strict`, a prompt with one or two rows takes another path through the kernel than one with more.
    expected = step(0, 0, []) if strict else step(0, 2, [])
    assert more == 3
    for first, companions, others in [(0, 2, []), (3, 2, strangers), (7, 4, strangers)]:
        found = step(first, companions, others)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


LENGTHS = st.tuples(st.integers(0, 80), st.integers(1, 60)).flatmap(
    lambda lengths: st.tuples(st.just(lengths), st.integers(1, min(sum(lengths), 70)))
)


def chunks(keys: PagedKeys, lengths: list[tuple[tuple[int, int], int]]) -> tuple[list[Run], int]:
    """Texts of a prompt and drawn tokens in its last page and behind, the last of which are computed."""
    runs: list[Run] = []
    row = 0
    for (prompt, drawn), rows in lengths:
        wide = keys.segment(0, prompt)
        narrow = keys.segment(
            prompt, drawn, narrow=True, page=int(wide[-1, 0]) if prompt % keys.shape.page_size else None
        )
        runs.append(Run(row, rows, np.concatenate([wide, narrow]), len(narrow)))
        row += rows
    return runs, row


@pytest.mark.slow
@settings(max_examples=25)
@given(
    lengths=st.lists(LENGTHS, min_size=1, max_size=2),
    group=st.sampled_from([1, 7]),
    head_dim=st.sampled_from([64, 128]),
    page_size=st.sampled_from([16, 64]),
    dtype=st.sampled_from([torch.float16, torch.float32]),
)
def test_texts_that_are_computed_again(
    device: str,
    lengths: list[tuple[tuple[int, int], int]],
    group: int,
    head_dim: int,
    page_size: int,
    dtype: torch.dtype,
) -> None:
    again(device, lengths, AttentionShape(2 * group, 2, head_dim, page_size, dtype, narrow=True))


def test_a_text_that_is_computed_again(device: str) -> None:
    again(device, [((70, 30), 50), ((0, 20), 20)], AttentionShape(7, 1, 64, 64, torch.float16, narrow=True))


def again(device: str, lengths: list[tuple[tuple[int, int], int]], shape: AttentionShape) -> None:
    keys = PagedKeys(shape, 60, device)
    runs, rows = chunks(keys, lengths)
    q = keys.normal(rows, shape.heads, shape.head_dim)
    out = torch.full_like(q, torch.nan)
    prefill = TritonPrefill(shape, CAPACITY, torch.device(device))
    prefill.load(runs, rows)
    prefill.run(q, keys.k, keys.v, out, 0.1, keys.scales)
    expected = prefill_attention(q, keys.k, keys.v, runs, 0.1, keys.scales)
    theirs = torch.zeros((), dtype=torch.float64)
    for run in runs:
        k, v = (part.repeat_interleave(shape.group, 1) for part in keys.of(run))
        mine = slice(run.first, run.first + run.rows)
        hidden = torch.ones(run.rows, len(k), dtype=torch.bool, device=q.device).triu(len(k) - run.rows + 1)
        scores = (torch.einsum("rhd,thd->hrt", q[mine], k) * 0.1).masked_fill(hidden, -torch.inf)
        plain = torch.einsum("hrt,thd->rhd", torch.softmax(scores, -1), v)
        theirs = torch.maximum(theirs, (plain.double() - expected[mine]).abs().max())
    allowed = 2 * theirs + 4 * torch.finfo(q.dtype).eps * expected.abs().max()
    assert (out.double() - expected).abs().max() <= allowed


@given(
    magnitude=st.floats(1e-6, 1e4),
    d=st.sampled_from([1, 2, 64, 128]),
    largest=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_number_is_off_by_half_a_scale_at_most(magnitude: float, d: int, largest: bool, seed: int) -> None:
    numbers = torch.randn(3, 2, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * magnitude
    if largest:
        numbers[0, 0, 0] *= 1000
    numbers[1, 1] = 0
    codes, scales = narrowed(numbers)
    assert codes.dtype == torch.int8 and int(codes.abs().max()) == 127
    back = codes.double() * scales.double()[..., None]
    assert ((back - numbers).abs() <= scales[..., None] * (0.5 + 1e-4)).all()
    assert not back[1, 1].any()


def test_what_a_run_stands_for_is_what_was_put_there(device: str) -> None:
    """The reference itself, by a way of its own: one text's attention of its dequantised numbers."""
    shape = AttentionShape(2, 1, 64, 16, torch.float32, narrow=True)
    keys = PagedKeys(shape, 20, device)
    (run,), _ = solves(keys, [(21, 6, [30])])
    k, v = keys_and_values(keys.k, keys.v, keys.scales, run)
    assert len(k) == 57 and torch.equal(k[:16, 0], keys.k[run.tiles[0, 0], 0].double())
    page, begin, _ = run.tiles[2].tolist()
    assert (page, begin) == (run.tiles[1, 0], 5), "no page of both kinds"
    codes = keys.k[page, 0, begin].view(torch.int8)
    assert keys.scales is not None
    assert torch.equal(k[21, 0], codes[:64].double() * keys.scales[page, 0, 0, begin].double())
    assert torch.equal(v[21, 0], codes[64:128].double() * keys.scales[page, 0, 1, begin].double())
    q = keys.normal(1, 2, 64)
    out, _ = decode_attention(q, keys.k, keys.v, [run], 0.1, keys.scales)
    torch.testing.assert_close(out, whole_attention(q, k, v, 0.1)[0])
    torch.testing.assert_close(out, causal_attention(q, k, v, 0.1))


def test_items_know_where_narrow_tiles_begin() -> None:
    shape = AttentionShape(7, 1, 64, 16, torch.float16, narrow=True)

    def tiles(first: int) -> np.ndarray:
        """Forty tiles, two of them without a slot."""
        return np.array([[first + n, 0, 0 if n in (3, 30) else 16] for n in range(40)], np.int32)

    runs = [Run(0, 1, tiles(0), 12), Run(0, 9, tiles(100)), Run(1, 1, tiles(200), 40)]
    narrow = {*range(28, 40), *range(200, 240)}
    items = make_items(runs, 9, shape, 64, 16)
    kinds = {kind: set[int]() for kind in (0, 1)}
    for _, _, _, begin, end, _, _, kind in items.items.tolist():
        kinds[kind].update(items.tiles[begin:end, 0].tolist())
    assert narrow.issuperset(kinds[1]) and len(kinds[1]) == 12 - 1 + 40 - 2
    assert not narrow.intersection(kinds[0]) and len(kinds[0]) == 28 - 1 + 40 - 2
    items = make_prefill_items(runs, 9, shape, 64)
    assert len(items.items) == 3
    for _, _, _, begin, end, _, _, split in items.items.tolist():
        pages = items.tiles[:, 0].tolist()
        assert begin <= split <= end
        assert not narrow.intersection(pages[begin:split]) and narrow.issuperset(pages[split:end])


def test_what_cannot_be_is_refused(device: str, caplog: pytest.LogCaptureFixture) -> None:
    tiles = np.array([[0, 0, 16]], np.int32)
    at = torch.device(device)
    wide, shape = (AttentionShape(2, 1, 64, 16, torch.float16, narrow) for narrow in (False, True))
    with pytest.raises(ValueError, match="more narrow tiles than tiles, or has some where the shape's narrow is False"):
        DecodeAttention(wide, CAPACITY, at).plan([Run(0, 1, tiles, 1)], 1)
    with pytest.raises(ValueError, match="more narrow tiles than tiles"):
        DecodeAttention(shape, CAPACITY, at).plan([Run(0, 1, tiles, 2)], 1)
    pool = torch.zeros(1, 1, 16, 64, dtype=torch.float16, device=device)
    q = torch.zeros(1, 2, 64, dtype=torch.float16, device=device)
    scales = torch.zeros(1, 1, 2, 16, device=device)
    with pytest.raises(ValueError, match="narrow is True: scales must be given"):
        DecodeAttention(shape, CAPACITY, at).run(q, pool, pool, q, 1.0)
    with pytest.raises(ValueError, match="narrow is False: scales must not be given"):
        TritonPrefill(wide, CAPACITY, at).run(q, pool, pool, q, 1.0, scales)
    with pytest.raises(ValueError, match=r"^scales is .* wanted, contiguous"):
        TritonPrefill(shape, CAPACITY, at).run(q, pool, pool, q, 1.0, scales.half())
    with pytest.raises(ValueError, match="narrow: sdpa cannot read tokens in 8 bits"):
        GatheredPrefill("sdpa", sdpa, shape, at)
    with pytest.raises(ValueError, match="there are no scales"):
        decode_attention(q, pool, pool, [Run(0, 1, tiles, 1)], 1.0)
    with caplog.at_level(logging.INFO):
        assert choose_prefill(shape, CAPACITY, at).name == "triton"
    assert "no other reads tokens in 8 bits" in caplog.text
