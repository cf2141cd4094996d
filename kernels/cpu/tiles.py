"""The inner loops of matrix products: a few rows times 64 columns, the sums held in vector registers.

Numba intrinsics by their number of rows; addresses and strides are in bytes.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from kernels.cpu.launch import has_bf16, intrinsic
from kernels.cpu.vector import F32, I8, I32, I64, declared, loop

ROWS = 6
"""Rows of the largest tile: 24 sums, 4 vectors of the right-hand side and one of the left fill 32 registers."""
SCORE_ROWS = 8
"""Rows of the largest tile of 16 columns: more sums than the dot product takes cycles."""
COLUMNS = 64
_VECTORS = COLUMNS // 16
_VI32 = ir.VectorType(I32, 16)
_VF32 = ir.VectorType(F32, 16)


def _load(builder: Any, address: Any, kind: Any, align: int) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=align)


def _store(builder: Any, value: Any, address: Any, align: int) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=align)


def _at(builder: Any, address: Any, offset: int) -> Any:
    return builder.add(address, ir.Constant(I64, offset))


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, 16), [0] * 16))


def finished(builder: Any, sums: list[Any], columns: Any, row_scale: Any, out: Any, *, start: bool = False) -> None:
    """Store one row of a product of bytes, [64] float32 at `out`, of its sums, 4 vectors of 16 int32.

    columns: as of `byte_tiles`; `start`: whether its first part is still to be added. row_scale: address of a float32.
    """
    scale = _splat(builder, _load(builder, row_scale, F32, 4), _VF32)
    fma = declared(builder, "llvm.fma", _VF32, 3)
    for v, total in enumerate(sums):
        if start:
            total = builder.add(total, _load(builder, _at(builder, columns, 64 * v), _VI32, 64))
        of_column = _load(builder, _at(builder, columns, 256 + 64 * v), _VF32, 64)
        bias = _load(builder, _at(builder, columns, 512 + 64 * v), _VF32, 64)
        product = builder.fmul(builder.sitofp(total, _VF32), of_column)
        _store(builder, builder.call(fma, [product, scale, bias]), _at(builder, out, 64 * v), 4)


def _byte_tile(rows: int, lines: int) -> Any:
    """out[r, c] = (sum over i of x[r, i] * w[i, c] + start[c]) * column_scale[c] * row_scale[r] + bias[c].

    x: uint8 [rows, 4 * quads], `x_stride` apart. w: int8, [quads, 64, 4]. columns: start [64] int32, column_scale [64]
    and bias [64] float32, one after the other. row_scale: [rows] float32. out: float32 [rows, 64], `out_stride` apart.
    ahead: address of what is fetched into the cache meanwhile, `lines` cache lines for each quad. The sums are exact.
    """

    @intrinsic
    def tile(
        typing: Any,
        quads: Any,
        x: Any,
        x_stride: Any,
        w: Any,
        columns: Any,
        row_scale: Any,
        out: Any,
        out_stride: Any,
        ahead: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            quads, x, x_stride, w, columns, row_scale, out, out_stride, ahead = arguments
            dot = builder.module.globals.get("llvm.x86.avx512.vpdpbusd.512") or ir.Function(
                builder.module, ir.FunctionType(_VI32, [_VI32] * 3), "llvm.x86.avx512.vpdpbusd.512"
            )
            fetch = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(
                builder.module, ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32]), "llvm.prefetch.p0"
            )
            x_rows = [builder.add(x, builder.mul(x_stride, ir.Constant(I64, row))) for row in range(rows)]
            starts = [_load(builder, _at(builder, columns, 64 * v), _VI32, 64) for v in range(_VECTORS)]

            def body(index: Any, sums: list[Any]) -> list[Any]:
                panel = builder.mul(index, ir.Constant(I64, 4 * COLUMNS))
                weights = [
                    _load(builder, builder.add(w, _at(builder, panel, 64 * v)), _VI32, 64) for v in range(_VECTORS)
                ]
                coming = builder.add(ahead, builder.mul(index, ir.Constant(I64, 64 * lines)))
                for number in range(lines):
                    line = builder.inttoptr(_at(builder, coming, 64 * number), I8.as_pointer())
                    builder.call(fetch, [line, *(ir.Constant(I32, n) for n in (0, 2, 1))])
                quad = builder.mul(index, ir.Constant(I64, 4))
                found: list[Any] = []
                for row in range(rows):
                    value = _splat(builder, _load(builder, builder.add(x_rows[row], quad), I32, 4), _VI32)
                    found += [builder.call(dot, [sums[row * _VECTORS + v], value, weights[v]]) for v in range(_VECTORS)]
                return found

            sums = loop(builder, quads, starts * rows, body)
            for row in range(rows):
                line = builder.add(out, builder.mul(out_stride, ir.Constant(I64, row)))
                mine = sums[row * _VECTORS : (row + 1) * _VECTORS]
                finished(builder, mine, columns, _at(builder, row_scale, 4 * row), line)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9), generate

    return tile


def _dot(builder: Any, sums: Any, left: Any, right: Any) -> Any:
    """sums + left * right over pairs of bfloat16 ([16] int32 vectors of pairs), summed in float32."""
    if has_bf16():
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        found = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(_VF32, [_VF32, _VI32, _VI32]), name
        )
        return builder.call(found, [sums, left, right])
    fma = declared(builder, "llvm.fma", _VF32, 3)
    sixteen, upper = (ir.Constant(_VI32, [number] * 16) for number in (16, -0x10000))

    def low(value: Any) -> Any:
        return builder.bitcast(builder.shl(value, sixteen), _VF32)

    def high(value: Any) -> Any:
        return builder.bitcast(builder.and_(value, upper), _VF32)

    return builder.call(fma, [high(left), high(right), builder.call(fma, [low(left), low(right), sums])])


def _product(builder: Any, sums: Any, left: Any, right: Any) -> Any:
    """sums + left * right of float32 ([16] int32 vectors of their bits)."""
    left, right = builder.bitcast(left, _VF32), builder.bitcast(right, _VF32)
    return builder.call(declared(builder, "llvm.fma", _VF32, 3), [left, right, sums])


def _float_tile(rows: int, vectors: int, *, accumulate: bool, add: Callable[[Any, Any, Any, Any], Any]) -> Any:
    """out[r, c] = sum over i of x[r, i] * w[i, c], added to what is there if `accumulate`; c < 16 * vectors.

    By `_dot`: x is bfloat16 [rows, 2 * steps], `x_stride` apart, w bfloat16 [steps, 16 * vectors, 2], lines `w_stride`
    apart. By `_product`: x is float32 [rows, steps], w float32 [steps, 16 * vectors]. out: float32, [rows, 16 *
    vectors], `out_stride` apart. Each sum is one chain in the order of i, whatever `rows` is.
    """

    @intrinsic
    def tile(typing: Any, steps: Any, x: Any, x_stride: Any, w: Any, w_stride: Any, out: Any, out_stride: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            steps, x, x_stride, w, w_stride, out, out_stride = arguments
            x_rows = [builder.add(x, builder.mul(x_stride, ir.Constant(I64, row))) for row in range(rows)]
            out_rows = [builder.add(out, builder.mul(out_stride, ir.Constant(I64, row))) for row in range(rows)]
            places = [_at(builder, line, 64 * v) for line in out_rows for v in range(vectors)]
            zero = ir.Constant(_VF32, [0.0] * 16)
            starts = [_load(builder, place, _VF32, 4) if accumulate else zero for place in places]

            def body(index: Any, sums: list[Any]) -> list[Any]:
                line = builder.add(w, builder.mul(index, w_stride))
                right = [_load(builder, _at(builder, line, 64 * v), _VI32, 64) for v in range(vectors)]
                place = builder.mul(index, ir.Constant(I64, 4))
                found: list[Any] = []
                for row in range(rows):
                    left = _splat(builder, _load(builder, builder.add(x_rows[row], place), I32, 4), _VI32)
                    found += [add(builder, sums[row * vectors + v], left, right[v]) for v in range(vectors)]
                return found

            sums = loop(builder, steps, starts, body)
            for total, place in zip(sums, places, strict=True):
                _store(builder, total, place, 4)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return tile


byte_tiles = {(rows, lines): _byte_tile(rows, lines) for rows in range(1, ROWS + 1) for lines in (0, 1, 4)}
"""By rows and by cache lines fetched for each quad."""
score_tiles = {rows: _float_tile(rows, 1, accumulate=False, add=_dot) for rows in range(1, SCORE_ROWS + 1)}
value_tiles = {rows: _float_tile(rows, _VECTORS, accumulate=True, add=_dot) for rows in range(1, ROWS + 1)}
wide_score_tiles = {rows: _float_tile(rows, 1, accumulate=False, add=_product) for rows in range(1, SCORE_ROWS + 1)}
wide_value_tiles = {rows: _float_tile(rows, _VECTORS, accumulate=True, add=_product) for rows in range(1, ROWS + 1)}
