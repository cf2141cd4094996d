"""The inner loops of matrix products: a few rows times 64 columns, the sums held in vector registers.

Numba intrinsics by their number of rows; addresses and strides are in bytes.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from kernels.cpu.launch import has_bf16, intrinsic
from kernels.cpu.vector import F32, I8, I32, I64, branch_on, declared, loop

ROWS = 6
"""Rows of the largest tile: 24 sums, 4 vectors of the right-hand side and one of the left fill 32 registers."""
COLUMNS = 64
_VECTORS = COLUMNS // 16
_VI32 = ir.VectorType(I32, 16)
_VF32 = ir.VectorType(F32, 16)


def load(builder: Any, address: Any, kind: Any, align: int) -> Any:
    """The value of a kind at an address."""
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=align)


def store(builder: Any, value: Any, address: Any, align: int) -> None:
    """Write a value to an address."""
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=align)


def at(builder: Any, address: Any, offset: int) -> Any:
    """An address so many bytes further on."""
    return builder.add(address, ir.Constant(I64, offset))


def splat(builder: Any, value: Any, kind: Any) -> Any:
    """A vector of a kind, of 16 times the value."""
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, 16), [0] * 16))


def finished(builder: Any, sums: list[Any], columns: Any, row_scale: Any, out: Any, *, start: bool = False) -> None:
    """Store one row of a product of bytes, [64] float32 at `out`, of its sums, 4 vectors of 16 int32.

    columns: as of `products_of_bytes`; `start`: whether its first part is still to be added. row_scale: address of a
    float32.
    """
    scale = splat(builder, load(builder, row_scale, F32, 4), _VF32)
    fma = declared(builder, "llvm.fma", _VF32, 3)
    for v, total in enumerate(sums):
        if start:
            total = builder.add(total, load(builder, at(builder, columns, 64 * v), _VI32, 64))
        of_column = load(builder, at(builder, columns, 256 + 64 * v), _VF32, 64)
        bias = load(builder, at(builder, columns, 512 + 64 * v), _VF32, 64)
        scaled = builder.fmul(builder.sitofp(total, _VF32), of_column)
        store(builder, builder.call(fma, [scaled, scale, bias]), at(builder, out, 64 * v), 4)


_BYTE_TILES = [(rows, lines) for lines, least in ((0, 3), (1, 4), (4, 1)) for rows in range(least, ROWS + 1)]
"""By rows and by cache lines fetched for each quad: those that are asked for."""


@intrinsic
def products_of_bytes(
    typing: Any,
    rows: Any,
    lines: Any,
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
    """out[r, c] = (sum over i of x[r, i] * w[i, c] + start[c]) * column_scale[c] * row_scale[r] + bias[c], for c < 64.

    x: uint8 [rows, 4 * quads], `x_stride` apart; 1 to 6 rows. w: int8, [quads, 64, 4]. columns: start [64] int32,
    column_scale [64] and bias [64] float32, one after the other. row_scale: [rows] float32. out: float32 [rows, 64],
    `out_stride` apart. ahead: address of what is fetched into the cache meanwhile, `lines` cache lines for a quad: 4,
    or 1 beside at least four rows, or none beside at least three. The sums are exact.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, lines, *rest = arguments
        branch_on(
            builder,
            builder.add(builder.mul(lines, ir.Constant(I64, 8)), rows),
            (8 * lines + rows for rows, lines in _BYTE_TILES),
            lambda case: _byte_tile(builder, case % 8, case // 8, rest),
        )
        return context.get_dummy_value()

    return types.void(*[types.int64] * 11), generate


def _byte_tile(builder: Any, rows: int, lines: int, arguments: list[Any]) -> None:
    quads, x, x_stride, w, columns, row_scale, out, out_stride, ahead = arguments
    multiply = builder.module.globals.get("llvm.x86.avx512.vpdpbusd.512") or ir.Function(
        builder.module, ir.FunctionType(_VI32, [_VI32] * 3), "llvm.x86.avx512.vpdpbusd.512"
    )
    fetch = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(
        builder.module, ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32]), "llvm.prefetch.p0"
    )
    x_rows = [builder.add(x, builder.mul(x_stride, ir.Constant(I64, row))) for row in range(rows)]
    starts = [load(builder, at(builder, columns, 64 * v), _VI32, 64) for v in range(_VECTORS)]

    def body(index: Any, sums: list[Any]) -> list[Any]:
        panel = builder.mul(index, ir.Constant(I64, 4 * COLUMNS))
        weights = [load(builder, builder.add(w, at(builder, panel, 64 * v)), _VI32, 64) for v in range(_VECTORS)]
        coming = builder.add(ahead, builder.mul(index, ir.Constant(I64, 64 * lines)))
        for number in range(lines):
            line = builder.inttoptr(at(builder, coming, 64 * number), I8.as_pointer())
            builder.call(fetch, [line, *(ir.Constant(I32, n) for n in (0, 2, 1))])
        quad = builder.mul(index, ir.Constant(I64, 4))
        found: list[Any] = []
        for row in range(rows):
            value = splat(builder, load(builder, builder.add(x_rows[row], quad), I32, 4), _VI32)
            found += [builder.call(multiply, [sums[row * _VECTORS + v], value, weights[v]]) for v in range(_VECTORS)]
        return found

    sums = loop(builder, quads, starts * rows, body)
    for row in range(rows):
        line = builder.add(out, builder.mul(out_stride, ir.Constant(I64, row)))
        finished(builder, sums[row * _VECTORS : (row + 1) * _VECTORS], columns, at(builder, row_scale, 4 * row), line)


def dot(builder: Any, sums: Any, left: Any, right: Any) -> Any:
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


def product(builder: Any, sums: Any, left: Any, right: Any) -> Any:
    """sums + left * right of float32 ([16] int32 vectors of their bits)."""
    left, right = builder.bitcast(left, _VF32), builder.bitcast(right, _VF32)
    return builder.call(declared(builder, "llvm.fma", _VF32, 3), [left, right, sums])


def _float_products(add: Callable[[Any, Any, Any, Any], Any]) -> Any:
    @intrinsic
    def products(typing: Any, rows: Any, steps: Any, x: Any, x_stride: Any, w: Any, out: Any, out_stride: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rows, *rest = arguments
            branch_on(builder, rows, range(1, ROWS + 1), lambda count: _float_tile(builder, count, add, rest))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    return products


def _float_tile(builder: Any, rows: int, add: Callable[[Any, Any, Any, Any], Any], arguments: list[Any]) -> None:
    steps, x, x_stride, w, out, out_stride = arguments
    x_rows = [builder.add(x, builder.mul(x_stride, ir.Constant(I64, row))) for row in range(rows)]
    out_rows = [builder.add(out, builder.mul(out_stride, ir.Constant(I64, row))) for row in range(rows)]
    places = [at(builder, line, 64 * v) for line in out_rows for v in range(_VECTORS)]
    starts = [load(builder, place, _VF32, 4) for place in places]

    def body(index: Any, sums: list[Any]) -> list[Any]:
        line = builder.add(w, builder.mul(index, ir.Constant(I64, 4 * COLUMNS)))
        right = [load(builder, at(builder, line, 64 * v), _VI32, 64) for v in range(_VECTORS)]
        place = builder.mul(index, ir.Constant(I64, 4))
        found: list[Any] = []
        for row in range(rows):
            left = splat(builder, load(builder, builder.add(x_rows[row], place), I32, 4), _VI32)
            found += [add(builder, sums[row * _VECTORS + v], left, right[v]) for v in range(_VECTORS)]
        return found

    for total, place in zip(loop(builder, steps, starts, body), places, strict=True):
        store(builder, total, place, 4)


add_products_of_pairs = _float_products(dot)
"""rows (1 to 6), steps, x, x_stride, w, out, out_stride: out[r, c] += sum over i of x[r, i] * w[i, c], for c < 64.

x: bfloat16 [rows, 2 * steps], lines `x_stride` apart. w: bfloat16 [steps, 64, 2]. out: float32 [rows, 64], lines
`out_stride` apart. Each sum is one chain in the order of i, whatever `rows` is.
"""

add_products_of_floats = _float_products(product)
"""As `add_products_of_pairs`, with x float32 [rows, steps] and w float32 [steps, 64]."""
