"""Causal attention of prefill chunks against float64, and the choice of what computes it."""

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kernels.gpu.items import AttentionShape, Capacity, Run
from kernels.gpu.prefill import TritonPrefill
from kernels.gpu.prefill_choice import GatheredPrefill, Prefill, choose_prefill, sdpa
from kernels.reference import prefill_attention
from kernels.reference_pages import gather
from tests.support.paged_keys import PagedKeys

CAPACITY = Capacity(rows=512, items=64, tiles=512, slots=0)


def prefills(shape: AttentionShape, device: str) -> list[Prefill]:
    at = torch.device(device)
    return [TritonPrefill(shape, CAPACITY, at), GatheredPrefill("sdpa", sdpa, shape, at)]


def plain(keys: PagedKeys, q: Tensor, runs: list[Run], scale: float) -> Tensor:
    """The same attention as torch computes it in the type of q, with a full mask."""
    out = torch.zeros_like(q)
    for run in runs:
        k, v = (gather(pool, run.tiles).repeat_interleave(keys.shape.group, 1) for pool in (keys.k, keys.v))
        rows = slice(run.first, run.first + run.rows)
        scores = torch.einsum("rhd,thd->hrt", q[rows], k) * scale
        hidden = torch.ones(run.rows, len(k), dtype=torch.bool, device=q.device).triu(len(k) - run.rows + 1)
        out[rows] = torch.einsum("hrt,thd->rhd", torch.softmax(scores.masked_fill(hidden, -torch.inf), -1), v)
    return out


def check(prefill: Prefill, keys: PagedKeys, q: Tensor, runs: list[Run]) -> None:
    scale = 0.1
    out = torch.full_like(q, torch.nan)
    prefill.load(runs, len(q))
    prefill.run(q, keys.k, keys.v, out, scale)
    expected = prefill_attention(q, keys.k, keys.v, runs, scale)
    theirs = (plain(keys, q, runs, scale).double() - expected).abs().max()
    # Another order of sums: hypothesis has found 2 % above twice theirs and one unit in the last place.
    theirs_and_rounding = 2 * theirs + 4 * torch.finfo(q.dtype).eps * expected.abs().max()
    inside = torch.zeros(len(q), dtype=torch.bool)
    for run in runs:
        inside[run.first : run.first + run.rows] = True
    assert (out.double() - expected).abs()[inside].max() <= theirs_and_rounding, prefill.name
    assert out[~inside].isnan().all(), f"{prefill.name} wrote rows of no chunk"


def chunks(keys: PagedKeys, lengths: list[tuple[list[int], int]], gap: int) -> tuple[list[Run], int]:
    """A chunk of each path: its segments' lengths, and how many of its tokens are in the chunk."""
    runs: list[Run] = []
    row = 0
    for segments, rows in lengths:
        starts = np.cumsum([0, *segments])
        tiles = [keys.segment(int(start), length) for start, length in zip(starts, segments, strict=False)]
        runs.append(Run(row, rows, np.concatenate(tiles)))
        row += rows + gap
    return runs, row


LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=3).flatmap(
    lambda segments: st.tuples(st.just(segments), st.integers(1, min(sum(segments), 70)))
)


@pytest.mark.slow
@settings(max_examples=30)
@given(
    lengths=st.lists(LENGTHS, min_size=1, max_size=2),
    gap=st.integers(0, 2),
    group=st.sampled_from([1, 2, 7]),
    kv_heads=st.integers(1, 2),
    head_dim=st.sampled_from([64, 128]),
    page_size=st.sampled_from([16, 64]),
    dtype=st.sampled_from([torch.float16, torch.float32]),
)
def test_tokens_of_chunks_see_what_stands_before_them(
    device: str,
    lengths: list[tuple[list[int], int]],
    gap: int,
    group: int,
    kv_heads: int,
    head_dim: int,
    page_size: int,
    dtype: torch.dtype,
) -> None:
    shape = AttentionShape(group * kv_heads, kv_heads, head_dim, page_size, dtype)
    keys = PagedKeys(shape, 60, device)
    runs, rows = chunks(keys, lengths, gap)
    q = keys.normal(rows, shape.heads, head_dim)
    for prefill in prefills(shape, device):
        check(prefill, keys, q, runs)


@pytest.mark.parametrize("page_size", [16, 64])
def test_chunks_of_several_blocks(device: str, page_size: int) -> None:
    shape = AttentionShape(6, 1, 64, page_size, torch.float16)
    keys = PagedKeys(shape, 60, device)
    runs, rows = chunks(keys, [([70, 33], 50), ([64], 64), ([1], 1)], 1)
    q = keys.normal(rows, 6, 64)
    for prefill in prefills(shape, device):
        check(prefill, keys, q, runs)


def test_a_later_chunk_of_a_text_is_what_it_is_in_one(device: str) -> None:
    shape = AttentionShape(2, 1, 64, 16, torch.float32)
    keys = PagedKeys(shape, 30, device)
    path = keys.segment(0, 90)
    q = keys.normal(90, 2, 64)
    for prefill in prefills(shape, device):
        whole, parts = torch.empty_like(q), torch.empty_like(q)
        prefill.load([Run(0, 90, path)], 90)
        prefill.run(q, keys.k, keys.v, whole, 0.1)
        first = np.concatenate([path[:2], [[path[2, 0], 0, 9]]]).astype(np.int32)
        for run in (Run(0, 41, first), Run(41, 49, path)):
            prefill.load([run], 90)
            prefill.run(q, keys.k, keys.v, parts, 0.1)
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5)


def test_pages_beyond_the_reach_of_32_bits(device: str) -> None:
    shape = AttentionShape(2, 1, 64, 64, torch.float16)
    near = PagedKeys(shape, 4, device)
    run = Run(0, 20, near.segment(0, 90))
    q = near.normal(20, 2, 64)
    far = PagedKeys(shape, 0, device)
    beyond = 2**31 // (64 * 64)  # elements; the system gives memory to the pages that are touched only
    far.k, far.v = (torch.empty(beyond + 4, 1, 64, 64, dtype=torch.float16, device=device) for _ in range(2))
    far.k[beyond:], far.v[beyond:] = near.k, near.v
    for prefill in prefills(shape, device):
        check(prefill, far, q, [Run(0, 20, run.tiles + np.array([beyond, 0, 0], np.int32))])


def test_a_path_that_is_no_path_is_refused(device: str) -> None:
    prefill = TritonPrefill(AttentionShape(2, 1, 64, 16, torch.float16), CAPACITY, torch.device(device))
    with pytest.raises(ValueError, match="a run of 20 rows has a path of 16 tokens"):
        prefill.load([Run(0, 20, np.array([[0, 0, 16]], np.int32))], 20)
    with pytest.raises(ValueError, match="does not lie at its position % 16"):
        prefill.load([Run(0, 2, np.array([[0, 0, 16], [1, 3, 16]], np.int32))], 2)
    with pytest.raises(ValueError, match="a run lies outside the step's 1 rows"):
        prefill.load([Run(0, 2, np.array([[0, 0, 16]], np.int32))], 1)


@pytest.mark.parametrize("fastest", ["triton", "sdpa"])
def test_the_fastest_is_chosen_and_the_figures_are_logged(
    device: str, fastest: str, caplog: pytest.LogCaptureFixture
) -> None:
    shape = AttentionShape(2, 1, 64, 16, torch.float32)
    capacity = Capacity(rows=32, items=8, tiles=64, slots=0)

    def seconds(candidate: Prefill, call: Callable[[], None]) -> float:
        call()
        return 0.001 if candidate.name == fastest else 0.002

    with caplog.at_level(logging.INFO):
        chosen = choose_prefill(shape, capacity, torch.device(device), seconds)
    assert chosen.name == fastest
    assert f"prefill attention is {fastest}; 32 tokens after 32 took" in caplog.text
    assert f"{fastest} 1.000 ms" in caplog.text and "2.000 ms" in caplog.text


def test_without_a_clock_it_is_measured(device: str) -> None:
    shape = AttentionShape(1, 1, 64, 16, torch.float32)
    chosen = choose_prefill(shape, Capacity(rows=16, items=8, tiles=64, slots=0), torch.device(device))
    assert chosen.name in {"triton", "sdpa"}
