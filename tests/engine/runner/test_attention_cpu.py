"""Paged attention of a step against the plain reference, over any mix of groups, rows and chunks."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.types import Chunk, Step
from engine.runner.attention_cpu import StepAttention
from kernels.reference import attention, causal_attention, merge


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.tuples(st.integers(0, 20), st.lists(st.integers(1, 9), max_size=6)), max_size=4),
    runs=st.lists(st.tuples(st.integers(0, 12), st.integers(2, 9)), max_size=3),
    group_size=st.sampled_from([1, 2, 7]),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_the_reference(
    groups: list[tuple[int, list[int]]], runs: list[tuple[int, int]], group_size: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    slots, kv_heads, dim = 2000, 2, 16
    free = random.permutation(np.arange(1, slots, dtype=np.int32))
    used = 0

    def take(count: int) -> np.ndarray:
        nonlocal used
        used += count
        return free[used - count : used].copy()

    chunks: list[Chunk] = []
    for solve, (prompt, suffixes) in enumerate(groups):
        prefix = take(prompt)
        chunks += [Chunk(solve, [1], prompt + length - 1, prefix, take(length)) for length in suffixes]
    for solve, (before, tokens) in enumerate(runs):
        path = take(before + tokens)
        chunks.append(Chunk(100 + solve, [1] * tokens, before, np.empty(0, np.int32), path))
    random.shuffle(chunks)  # type: ignore[arg-type]
    if not chunks:
        return
    step = Step(chunks)
    layout = StepAttention(step, torch.float32)
    pool = torch.randn(slots, 2, kv_heads, dim)
    pool[torch.from_numpy(free[used:]).long()] = torch.nan  # pages that nobody owns must not be read
    q = torch.randn(step.tokens, kv_heads * group_size, dim)
    k, v = torch.randn(2, step.tokens, kv_heads, dim)
    output = layout.attend(pool, q, k, v)
    assert output.shape == (step.tokens, kv_heads * group_size * dim)
    for chunk, first in zip(chunks, layout.first, strict=True):
        path = torch.from_numpy(np.concatenate([chunk.prefix, chunk.suffix])).long()
        last = first + len(chunk.tokens)
        assert torch.equal(pool[path[-len(chunk.tokens) :], 0], k[first:last])
        expected = causal_attention(q[first:last], pool[path, 0], pool[path, 1], dim**-0.5).flatten(1)
        torch.testing.assert_close(output[first:last].double(), expected, rtol=1e-4, atol=1e-5)


def test_merging_parts_equals_the_whole() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(5, 4, 8), torch.randn(30, 2, 8), torch.randn(30, 2, 8)
    whole, lse = attention(q, k, v, 0.3)
    parts = [attention(q, k[a:b], v[a:b], 0.3) for a, b in [(0, 7), (7, 7), (7, 30)]]
    merged, merged_lse = merge(parts)
    torch.testing.assert_close(merged, whole)
    torch.testing.assert_close(merged_lse, lse)
