"""Keys and values of 16 neighbours, brought together where they lie in several tiles of the pool."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from kernels.cpu.launch import intrinsic, jit
from kernels.cpu.tiles import load, splat, store
from kernels.cpu.vector import I32, I64, LANES, f32, i32, loop, u16

_VI32 = ir.VectorType(I32, LANES)


@jit
def gather(wide: bool, slots: int, count: int, dim: int, pool: int, tile_bytes: int, values: int, tile: int) -> None:
    """Copy keys and values of `count` slots (int32 at an address) to a tile of their own.

    What is behind them counts for nothing, but its values must be numbers: they are 0. Neighbours that share a tile
    where they have their own places, as in pages of 16 slots, are copied together.
    """
    found = i32(slots, count)
    own = i32(tile + values_of(wide, dim), values_of(wide, dim) // 4)
    for i in range(len(own)):
        own[i] = 0
    first = 0
    while first < count:
        slot: Any = np.int64(found[first])
        source, within = pool + (slot >> 4) * tile_bytes, slot & 15
        end = first + 1
        if within == first:
            while end < count and found[end] == slot + end - first:
                end += 1
        if wide:
            _copy_wide(source, values, tile, within, first, end, dim)
        elif within == first:
            _merge_pairs(source, values, tile, first, end, dim)
        else:
            _copy_pair(source, values, tile, within, first, dim)
        first = end


@jit
def values_of(wide: bool, dim: int) -> int:
    """Where the values of a tile of its own begin, in bytes: behind as many bytes of keys."""
    return dim * (64 if wide else 32)


@intrinsic
def _merge_lanes(typing: Any, source: Any, tile: Any, vectors: Any, first: Any, end: Any) -> Any:
    """Copy lanes `first` to `end` of so many vectors of 16 int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, tile, vectors, first, end = arguments
        lanes = ir.Constant(_VI32, list(range(LANES)))
        low, high = (splat(builder, builder.trunc(number, I32), _VI32) for number in (first, end))
        inside = builder.and_(builder.icmp_signed(">=", lanes, low), builder.icmp_signed("<", lanes, high))

        def body(index: Any, _: list[Any]) -> list[Any]:
            offset = builder.mul(index, ir.Constant(I64, 64))
            place = builder.add(tile, offset)
            there, here = load(builder, place, _VI32, 64), load(builder, builder.add(source, offset), _VI32, 64)
            store(builder, builder.select(inside, here, there), place, 64)
            return []

        loop(builder, vectors, [], body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def _merge_bits(typing: Any, source: Any, tile: Any, vectors: Any, bits: Any) -> Any:
    """Add these bits of each of 16 int32 to so many vectors, where they are 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, tile, vectors, bits = arguments
        mask = splat(builder, builder.trunc(bits, I32), _VI32)

        def body(index: Any, _: list[Any]) -> list[Any]:
            offset = builder.mul(index, ir.Constant(I64, 64))
            place = builder.add(tile, offset)
            here = builder.and_(load(builder, builder.add(source, offset), _VI32, 64), mask)
            store(builder, builder.or_(load(builder, place, _VI32, 64), here), place, 64)
            return []

        loop(builder, vectors, [], body)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@jit
def _merge_pairs(source: int, values: int, tile: int, first: int, end: int, dim: int) -> None:
    """Slots `first` to `end` of a tile of bfloat16, each to the same place."""
    _merge_lanes(source, tile, dim // 2, first, end)
    for pair in range(first >> 1, (end + 1) >> 1):
        bits = (0xFFFF if first <= 2 * pair else 0) | (0xFFFF0000 if 2 * pair + 1 < end else 0)
        _merge_bits(source + values + pair * dim * 4, tile + dim * 32 + pair * dim * 4, dim // 16, bits)


@jit
def _copy_pair(source: int, values: int, tile: int, within: int, to: int, dim: int) -> None:
    """One slot of a tile of bfloat16 to another place."""
    keys, own_keys = i32(source, 8 * dim), i32(tile, 8 * dim)
    for pair in range(dim // 2):
        own_keys[pair * 16 + to] = keys[pair * 16 + within]
    kept, own_kept = u16(source + values, 16 * dim), u16(tile + dim * 32, 16 * dim)
    place, there = (within >> 1) * dim * 2 + (within & 1), (to >> 1) * dim * 2 + (to & 1)
    for d in range(dim):
        own_kept[there + 2 * d] = kept[place + 2 * d]


@jit
def _copy_wide(source: int, values: int, tile: int, within: int, first: int, end: int, dim: int) -> None:
    """Neighbouring slots from `within` on of a tile of float32 to the places from `first` to `end`."""
    keys, own_keys = f32(source, 16 * dim), f32(tile, 16 * dim)
    kept, own_kept = f32(source + values, 16 * dim), f32(tile + dim * 64, 16 * dim)
    for i in range(first, end):
        place = within + i - first
        for d in range(dim):
            own_keys[d * 16 + i] = keys[d * 16 + place]
            own_kept[i * dim + d] = kept[place * dim + d]
