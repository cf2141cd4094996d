"""What must make no difference to decode attention: how rows are grouped, where runs are cut, how full a table is."""

from random import Random

import pytest
import torch

from kernels.gpu import items
from kernels.gpu.attention import DecodeAttention
from kernels.gpu.items import AttentionShape, Capacity, Run
from tests.kernels.gpu.test_attention import Found, attend, check, made, solves
from tests.support.paged_keys import PagedKeys

SHAPE = AttentionShape(7, 1, 64, 16, torch.float32)


def close(found: Found, expected: Found) -> None:
    """Equal but for the order of sums."""
    torch.testing.assert_close(found.out, expected.out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.lse, expected.lse, rtol=1e-6, atol=1e-5)


def test_a_solve_in_two_groups_is_the_same(device: str) -> None:
    keys = PagedKeys(SHAPE, 60, device)
    prompt, tails = keys.segment(0, 300), [keys.segment(300, length) for length in (5, 20, 1, 9)]
    own = [Run(row, 1, tail) for row, tail in enumerate(tails)]
    q = keys.normal(4, 7, 64)
    for strict in (False, True):
        attention = made(SHAPE, device, strict=strict)
        whole = attend(attention, keys, q, [Run(0, 4, prompt), *own])
        check(whole, keys, q, [Run(0, 4, prompt), *own])
        parts = attend(attention, keys, q, [Run(0, 3, prompt), Run(3, 1, prompt), *own])
        close(parts, whole)
        if strict:
            assert torch.equal(parts.out, whole.out) and torch.equal(parts.lse, whole.lse)


def test_rows_in_another_order_have_the_same_bits(device: str) -> None:
    """Of solves and of the rows in them: each row's own numbers move with it."""
    keys = PagedKeys(SHAPE, 60, device)
    prompts = [keys.segment(0, length) for length in (130, 40)]
    tails = [[keys.segment(130, length) for length in (3, 18, 1)], [keys.segment(40, length) for length in (9, 30)]]
    q = [keys.normal(len(mine), 7, 64) for mine in tails]
    attention = made(SHAPE, device)
    found: list[list[Found]] = []
    for order in ([(0, [0, 1, 2]), (1, [0, 1])], [(1, [1, 0]), (0, [2, 0, 1])]):
        runs: list[Run] = []
        first = 0
        for solve, rows in order:
            runs.append(Run(first, len(rows), prompts[solve]))
            runs += [Run(first + at, 1, tails[solve][row]) for at, row in enumerate(rows)]
            first += len(rows)
        step = attend(attention, keys, torch.cat([q[solve][rows] for solve, rows in order]), runs)
        places = {(solve, row): at for at, (solve, row) in enumerate((s, r) for s, rows in order for r in rows)}
        found.append([Found(step.out[at], step.lse[at]) for _, at in sorted(places.items())])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.out, other.out) and torch.equal(one.lse, other.lse)


def test_parts_may_be_put_together_in_any_order(device: str) -> None:
    keys = PagedKeys(SHAPE, 60, device)
    runs, rows = solves(keys, [(150, [(20, [3, 30]), (0, [1])])])
    q = keys.normal(rows, 7, 64)
    attention = made(SHAPE, device)
    whole = attend(attention, keys, q, runs)
    for seed in range(2):
        mixed = Random(seed).sample(runs, len(runs))
        close(attend(attention, keys, q, mixed), whole)


@pytest.mark.parametrize(("own", "shared"), [(16, (16, 16)), (64, (32, 64))])
def test_the_size_of_chunks_makes_no_difference(
    device: str, own: int, shared: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = PagedKeys(SHAPE, 60, device)
    runs, rows = solves(keys, [(200, [(20, [3, 70]), (0, [1])])])
    q = keys.normal(rows, 7, 64)
    attention = made(SHAPE, device)
    parts = len(attention.plan(runs, rows).places)
    whole = attend(attention, keys, q, runs)
    monkeypatch.setattr(items, "OWN_TOKENS", own)
    monkeypatch.setattr(items, "SHARED_TOKENS", shared)
    assert len(attention.plan(runs, rows).places) > parts
    close(attend(attention, keys, q, runs), whole)


def test_a_table_that_is_full_to_the_last_word(device: str) -> None:
    keys = PagedKeys(SHAPE, 60, device)
    runs, rows = solves(keys, [(130, [(0, [16, 40, 7])]), (16, [(0, [1])])])
    q = keys.normal(rows, 7, 64)
    plan = made(SHAPE, device).plan(runs, rows)
    exact = Capacity(rows, len(plan.items), len(plan.tiles), len(plan.places))
    attention = DecodeAttention(SHAPE, exact, torch.device(device))
    check(attend(attention, keys, q, runs), keys, q, runs)


def test_a_step_that_sees_nothing(device: str) -> None:
    """As a graph is captured: no run, and rows all the same."""
    keys = PagedKeys(SHAPE, 2, device)
    attention = made(SHAPE, device)
    attention.load(attention.plan([], 3))
    q = keys.normal(3, 7, 64)
    out, lse = torch.full_like(q, torch.nan), torch.full((3, 7), torch.nan, device=device)
    attention.run(q, keys.k, keys.v, out, 1.0, lse)
    assert not out.any() and (lse == -torch.inf).all()
