"""Compiled attention against a plain softmax in float64, wherever keys lie: in tiles, in parts of tiles, anywhere."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kernels.cpu import attention

_TILE = 16


@dataclass(frozen=True, slots=True)
class Pool:
    """One layer's keys and values by slot, [slots, kv_heads, dim], and the same as the kernels want it."""

    keys: torch.Tensor
    values: torch.Tensor
    laid: torch.Tensor


def random_pool(slots: int, kv_heads: int, dim: int, dtype: torch.dtype) -> Pool:
    keys, values = (torch.randn(slots, kv_heads, dim).to(dtype) for _ in range(2))
    return Pool(keys, values, laid_out(keys, values))


def laid_out(keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Tiles of 16 slots, [tiles, 2, kv_heads, 16 * dim], from a cache line on; see kernels.cpu.rotation."""
    slots, kv_heads, dim = keys.shape
    tiles, wide = slots // _TILE, keys.dtype is torch.float32
    shape = (tiles, 2, kv_heads, _TILE * dim)
    room = torch.empty(tiles * 2 * kv_heads * _TILE * dim * keys.dtype.itemsize + 64, dtype=torch.uint8)
    start = -room.data_ptr() % 64
    laid = room[start : start + len(room) - 64].view(keys.dtype).view(shape)
    for part, of in enumerate((keys, values)):
        by_tile = of.view(tiles, _TILE, kv_heads, dim).transpose(1, 2)  # [tiles, kv_heads, 16, dim]
        if wide:
            place = by_tile if part else by_tile.transpose(2, 3)
        elif part:
            place = by_tile.reshape(tiles, kv_heads, _TILE // 2, 2, dim).transpose(3, 4)
        else:
            place = by_tile.reshape(tiles, kv_heads, _TILE, dim // 2, 2).transpose(2, 3)
        laid[:, part] = place.reshape(tiles, kv_heads, -1)
    return laid


def attend(
    pool: Pool,
    queries: torch.Tensor,
    blocks: list[tuple[int, int, int, int, int]],
    own: list[tuple[int, int]],
    slots: npt.NDArray[np.int32],
) -> torch.Tensor:
    """queries [tokens, heads, dim]; blocks, own and slots as of attend_kernel."""
    tokens, heads, dim = queries.shape
    kv_heads, size = pool.keys.shape[1], pool.keys.dtype.itemsize
    table, owned = torch.tensor(blocks), torch.tensor(own)
    found = torch.full((tokens, heads, dim), torch.nan)
    most = max(count for _, count, *_ in blocks) * (heads // kv_heads)
    room = attention.scratch_bytes(most, dim, size)
    scratch = torch.full((room * torch.get_num_threads(),), 255, dtype=torch.uint8)  # NaN, whatever is read of it
    attention.attend_kernel(
        len(blocks),
        heads,
        kv_heads,
        dim,
        tokens,
        table.data_ptr(),
        owned.data_ptr(),
        slots.ctypes.data,
        queries.data_ptr(),
        found.data_ptr(),
        pool.laid.data_ptr(),
        scratch.data_ptr(),
        room,
        size,
    )
    return found


def expected(pool: Pool, queries: torch.Tensor, seen: list[npt.NDArray[np.int32]]) -> torch.Tensor:
    """Each token's queries over the slots that it sees."""
    group = queries.shape[1] // pool.keys.shape[1]
    rows: list[torch.Tensor] = []
    for query, slots in zip(queries, seen, strict=True):
        keys, values = (of[torch.from_numpy(slots).long()].double() for of in (pool.keys, pool.values))
        keys, values = (of.repeat_interleave(group, 1).transpose(0, 1) for of in (keys, values))
        weights = (query.double()[:, None] @ keys.transpose(1, 2)).softmax(2)
        rows.append((weights @ values)[:, 0])
    return torch.stack(rows)


def places(random: np.random.Generator, count: int, kind: str, slots: int) -> npt.NDArray[np.int32]:
    """Slots of `count` neighbours from a multiple of 64 on."""
    if kind == "anywhere":
        return random.permutation(slots)[:count].astype(np.int32)
    tiles = random.permutation(slots // _TILE)
    slot = np.array([tiles[i // _TILE] * _TILE + i % _TILE for i in range(count)], np.int32)
    if kind == "shared pages":  # a path that left another one in the middle of each page
        for first in range(0, count, _TILE):
            cut = random.integers(0, _TILE + 1)
            other = int(tiles[-1 - first // _TILE])
            mine = slot[first : first + _TILE]
            mine[:cut] = other * _TILE + np.arange(len(mine[:cut]))
    return slot


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", ["pages", "shared pages", "anywhere"])
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(14, 2, 64), (9, 3, 64), (4, 4, 128), (16, 2, 128)])
def test_equals_a_softmax(dtype: torch.dtype, kind: str, heads: int, kv_heads: int, dim: int) -> None:
    random = np.random.default_rng(heads)
    torch.manual_seed(heads)
    pool = random_pool(512 * _TILE, kv_heads, dim, dtype)
    shared = places(random, 128, kind, 512 * _TILE)
    lengths = [1, 5, 16, 17, 63, 64, 65, 100]
    mine = [places(random, length, kind, 512 * _TILE) for length in lengths]
    run = places(random, 70 + 8, kind, 512 * _TILE)  # neighbours that see ever more of one path
    slots = np.concatenate([shared, *mine, run])
    starts = 128 + np.cumsum([0, *lengths])
    blocks = [(0, 5, 0, 128, 0), (5, 3, 0, 128, 0), (8, 8, int(starts[-1]), 71, 1)]
    own = [*zip(starts[:-1].tolist(), lengths, strict=True), *[(0, 0)] * 8]
    seen = [np.concatenate([shared, slot]) for slot in mine] + [run[: 71 + i] for i in range(8)]
    queries = (torch.randn(16, heads, dim) / dim**0.5 * 3).to(dtype)
    found = attend(pool, queries, blocks, own, slots).double()
    error = (found - expected(pool, queries, seen)).abs().max()
    assert error < (2e-5 if dtype is torch.float32 else 2e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_neither_where_keys_lie_nor_who_is_beside_changes_a_bit(dtype: torch.dtype) -> None:
    random = np.random.default_rng(1)
    torch.manual_seed(1)
    kv_heads, dim, length, slots = 2, 64, 150, 64 * _TILE
    path, queries = torch.randn(2, length, kv_heads, dim).to(dtype), torch.randn(3, 6, dim).to(dtype)
    results: list[torch.Tensor] = []
    for kind in ("pages", "shared pages", "anywhere"):
        pool, where = random_pool(slots, kv_heads, dim, dtype), places(random, length, kind, slots)
        keys, values = pool.keys, pool.values
        keys[torch.from_numpy(where).long()], values[torch.from_numpy(where).long()] = path[0], path[1]
        filled = Pool(keys, values, laid_out(keys, values))
        results.append(attend(filled, queries[:1].clone(), [(0, 1, 0, 128, 0)], [(128, length - 128)], where)[0])
        results.append(attend(filled, queries, [(0, 3, 0, 64, 0)], [(64, length - 64)] * 3, where)[0])
    assert all(torch.equal(result, results[0]) for result in results[1:])
