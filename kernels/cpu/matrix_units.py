"""The inner loop of products of bytes on units for matrices (Intel AMX): up to 32 rows times 64 columns.

The sums stay in the units' own registers, eight tiles of 16 rows of 64 bytes. How many rows a tile has is part of a
thread's configuration, so that nothing beyond the last row is read. The weights lie as kernels.cpu.tiles has them: 16
quads of 16 columns are one tile.
"""

from functools import cache
from typing import Any

import llvmlite.binding
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils

from kernels.cpu.launch import intrinsic
from kernels.cpu.tiles import COLUMNS, finished
from kernels.cpu.vector import I8, I16, I32, I64, loop

ROWS = 32
"""Rows of the largest block: two tiles."""
QUADS = 16
"""Quads of a tile: blocks go through the rows in steps of 64 bytes."""
_LEFT, _RIGHT = 4, 6  # tiles: 0 to 3 hold sums, two the rows, two the weights
_LOWER = (2, 3, 5)  # tiles of the lower half, in blocks of two
_VI32 = ir.VectorType(I32, 16)
_CONFIGURATION = 64  # bytes


@cache
def has_matrix_units() -> bool:
    """Whether this processor multiplies matrices of bytes (AMX-INT8) and the system lets this process, which is asked
    here: without that the instructions are illegal."""
    features = llvmlite.binding.get_host_cpu_features()
    cpu: Any = torch.cpu
    return bool(features.get("amx-int8", False)) and bool(cpu._is_amx_tile_supported()) and bool(cpu._init_amx())


def _units(builder: Any, name: str, *arguments: Any) -> None:
    """Call one of the units' instructions; an int is the number of a tile."""
    values = [ir.Constant(I8, one) if isinstance(one, int) else one for one in arguments]
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    name = f"llvm.x86.{name}"
    builder.call(builder.module.globals.get(name) or ir.Function(builder.module, kind, name), values)


def _pointer(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, I8.as_pointer())


def _configure(builder: Any, first: Any, second: Any | None) -> None:
    """Tiles of `first` rows (i8, at least 1); those of a block's lower half, if it has one, of `second`."""
    place = cgutils.alloca_once(builder, ir.ArrayType(I8, _CONFIGURATION))
    place.align = 64
    builder.store(ir.Constant(ir.ArrayType(I8, _CONFIGURATION), [1, *([0] * (_CONFIGURATION - 1))]), place)
    zero = ir.Constant(I32, 0)
    for tile in range(8):
        rows = first if second is None or tile not in _LOWER else second
        rows = ir.Constant(I8, QUADS) if tile >= _RIGHT else rows
        wide = builder.bitcast(builder.gep(place, [zero, ir.Constant(I32, 16 + 2 * tile)]), I16.as_pointer())
        builder.store(ir.Constant(I16, 64), wide)
        builder.store(rows, builder.gep(place, [zero, ir.Constant(I32, 48 + tile)]))
    _units(builder, "ldtilecfg", builder.bitcast(place, I8.as_pointer()))


def _fetch(builder: Any, address: Any, line: Any) -> list[Any]:
    """Have a cache line fetched into the second cache."""
    kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
    name = "llvm.prefetch.p0"
    fetch = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    place = _pointer(builder, builder.add(address, builder.mul(line, ir.Constant(I64, 64))))
    builder.call(fetch, [place, *(ir.Constant(I32, n) for n in (0, 2, 1))])
    return []


def _block(halves: int) -> Any:
    """out[r, c] of `kernels.cpu.tiles.products_of_bytes`, c < 64, to the bit.

    halves: 1 for up to 16 rows, 2 for up to 32. x: uint8 [first + second, 64 * steps], `x_stride` bytes apart. w: int8
    [16 * steps, 64, 4]. ahead: address of what is fetched into the cache meanwhile, `lines` cache lines for each step.
    first, second: rows of the upper and of the lower half, at least 1 each; where there is one half it has `first`.
    The thread's tiles are configured anew and released.
    """

    @intrinsic
    def block(
        typing: Any,
        steps: Any,
        x: Any,
        x_stride: Any,
        w: Any,
        columns: Any,
        row_scale: Any,
        out: Any,
        out_stride: Any,
        ahead: Any,
        lines: Any,
        first: Any,
        second: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            steps, x, x_stride, w, columns, row_scale, out, out_stride, ahead, lines, first, second = arguments
            scratch = cgutils.alloca_once(builder, ir.ArrayType(I32, ROWS * COLUMNS))
            scratch.align = 64
            sums = builder.ptrtoint(scratch, I64)
            _configure(builder, builder.trunc(first, I8), builder.trunc(second, I8) if halves == 2 else None)
            lower = builder.add(x, builder.mul(x_stride, first))
            line, panel = ir.Constant(I64, 4 * COLUMNS), ir.Constant(I64, 4 * COLUMNS * QUADS)
            per_pass = 4 // halves  # tiles of columns
            for part in range(halves):
                for tile in range(4):
                    _units(builder, "tilezero", tile)

                def body(index: Any, _: list[Any], part: int = part) -> list[Any]:
                    along = builder.mul(index, ir.Constant(I64, 4 * QUADS))
                    below = builder.mul(index, panel)
                    for half, rows in enumerate((x, lower)[:halves]):
                        _units(
                            builder, "tileloadd64", _LEFT + half, _pointer(builder, builder.add(rows, along)), x_stride
                        )
                    for number in range(per_pass):
                        column = ir.Constant(I64, 64 * (part * per_pass + number))
                        place = builder.add(builder.add(w, below), column)
                        right = _RIGHT + number % 2
                        _units(builder, "tileloadd64", right, _pointer(builder, place), line)
                        for half in range(halves):
                            target = number if halves == 1 else 2 * half + number
                            _units(builder, "tdpbusd", target, _LEFT + half, right)
                    # The second time through the weights are in the cache, and so is what was fetched the first time.
                    if part == 0:
                        coming = builder.add(ahead, builder.mul(index, builder.mul(lines, ir.Constant(I64, 64))))
                        with builder.if_then(builder.icmp_signed(">", lines, ir.Constant(I64, 0))):
                            loop(builder, lines, [], lambda number, _: _fetch(builder, coming, number))
                    return []

                loop(builder, steps, [], body)
                for tile in range(4):
                    half, column = (0, tile) if halves == 1 else (tile // 2, part * 2 + tile % 2)
                    start = builder.add(
                        sums, builder.mul(first if half else ir.Constant(I64, 0), ir.Constant(I64, 4 * COLUMNS))
                    )
                    place = builder.add(start, ir.Constant(I64, 64 * column))
                    _units(builder, "tilestored64", tile, _pointer(builder, place), line)
            _units(builder, "tilerelease")
            rows = builder.add(first, second) if halves == 2 else first

            def finish(row: Any, _: list[Any]) -> list[Any]:
                at = builder.add(sums, builder.mul(row, ir.Constant(I64, 4 * COLUMNS)))
                given = [
                    builder.load(
                        builder.inttoptr(builder.add(at, ir.Constant(I64, 64 * v)), _VI32.as_pointer()), align=64
                    )
                    for v in range(4)
                ]
                scale = builder.add(row_scale, builder.mul(row, ir.Constant(I64, 4)))
                finished(builder, given, columns, scale, builder.add(out, builder.mul(out_stride, row)), start=True)
                return []

            loop(builder, rows, [], finish)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), generate

    return block


block_of_16, block_of_32 = _block(1), _block(2)
