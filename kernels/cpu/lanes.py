"""Loops over rows whose vectors we write ourselves, 16 numbers at a time: LLVM leaves these loops as they are.

Numba intrinsics of addresses and of how many times 16 numbers to go through.
"""

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from kernels.cpu.launch import intrinsic
from kernels.cpu.vector import F32, I8, I32, I64, LANES, declared, exps_of, loop

_VF32 = ir.VectorType(F32, LANES)
_VI32 = ir.VectorType(I32, LANES)
_VI8 = ir.VectorType(I8, LANES)


def _place(builder: Any, address: Any, index: Any, kind: Any) -> Any:
    """Where vector `index` of `kind` lies after `address`."""
    size = LANES * (1 if kind is _VI8 else 4)
    at = builder.add(address, builder.mul(index, ir.Constant(I64, size)))
    return builder.inttoptr(at, kind.as_pointer())


def _loaded(builder: Any, address: Any, index: Any) -> Any:
    return builder.load(_place(builder, address, index, _VF32), align=4)


def _splat(builder: Any, value: Any) -> Any:
    undefined = ir.Constant(_VF32, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_VI32, [0] * LANES))


def reduced(builder: Any, operation: str, vector: Any) -> Any:
    """One number of a vector: "fmax" or "fadd" of its lanes, none of which is NaN."""
    name = f"llvm.vector.reduce.{operation}.v16f32"
    start = [ir.Constant(F32, 0.0)] if operation == "fadd" else []
    kind = ir.FunctionType(F32, [*([F32] * len(start)), _VF32])
    reduce = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    # In the order that suits the processor; without saying so it would be one after the other.
    return builder.call(reduce, [*start, vector], fastmath=("nnan", "reassoc", "nsz"))


def _largest(builder: Any, count: Any, value_of: Callable[[Any], Any]) -> Any:
    """The largest |value| of `count` vectors (0 of none)."""

    def body(index: Any, values: list[Any]) -> list[Any]:
        value = builder.call(declared(builder, "llvm.fabs", _VF32, 1), [value_of(index)])
        return [builder.call(declared(builder, "llvm.maxnum", _VF32, 2), [values[0], value], fastmath=("nnan",))]

    (found,) = loop(builder, count, [ir.Constant(_VF32, [0.0] * LANES)], body)
    return reduced(builder, "fmax", found)


@intrinsic
def largest(typing: Any, values: Any, vectors: Any) -> Any:
    """The largest |value| of float32 values; `vectors` is at least one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, vectors = arguments
        return _largest(builder, vectors, lambda index: _loaded(builder, values, index))

    return types.float32(types.int64, types.int64), generate


@intrinsic
def largest_product(typing: Any, values: Any, weights: Any, vectors: Any) -> Any:
    """As `largest`, of values times float32 weights."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, weights, vectors = arguments
        return _largest(
            builder,
            vectors,
            lambda index: builder.fmul(_loaded(builder, values, index), _loaded(builder, weights, index)),
        )

    return types.float32(types.int64, types.int64, types.int64), generate


@intrinsic
def highest(typing: Any, values: Any, vectors: Any) -> Any:
    """The largest of float32 values; `vectors` is at least one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, vectors = arguments

        def body(index: Any, found: list[Any]) -> list[Any]:
            value = _loaded(builder, values, index)
            return [builder.call(declared(builder, "llvm.maxnum", _VF32, 2), [found[0], value], fastmath=("nnan",))]

        (found,) = loop(builder, vectors, [ir.Constant(_VF32, [-math.inf] * LANES)], body)
        return reduced(builder, "fmax", found)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def sum_of_exp(typing: Any, values: Any, vectors: Any, shift: Any, factor: Any) -> Any:
    """The sum of exp((value - shift) * factor) over float32 values; `vectors` is at least one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, vectors = arguments[:2]
        shift, factor = _splat(builder, arguments[2]), _splat(builder, arguments[3])

        def body(index: Any, sums: list[Any]) -> list[Any]:
            value = builder.fmul(builder.fsub(_loaded(builder, values, index), shift), factor)
            return [builder.fadd(sums[0], exps_of(builder, value))]

        (found,) = loop(builder, vectors, [ir.Constant(_VF32, [0.0] * LANES)], body)
        return reduced(builder, "fadd", found)

    return types.float32(types.int64, types.int64, types.float32, types.float32), generate


@intrinsic
def squares(typing: Any, values: Any, vectors: Any) -> Any:
    """The sum of the squares of float32 values; `vectors` is at least one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, vectors = arguments

        def body(index: Any, sums: list[Any]) -> list[Any]:
            value = _loaded(builder, values, index)
            return [builder.call(declared(builder, "llvm.fma", _VF32, 3), [value, value, sums[0]])]

        (found,) = loop(builder, vectors, [ir.Constant(_VF32, [0.0] * LANES)], body)
        return reduced(builder, "fadd", found)

    return types.float32(types.int64, types.int64), generate


@intrinsic
def swiglu(typing: Any, gates: Any, ups: Any, vectors: Any) -> Any:
    """gates = gates * sigmoid(gates) * ups, in float32; the largest |value|. `vectors` is at least one."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = ir.Constant(_VF32, [1.0] * LANES)

        def value_of(index: Any) -> Any:
            place = _place(builder, arguments[0], index, _VF32)
            gate = builder.load(place, align=4)
            up = _loaded(builder, arguments[1], index)
            below = builder.fadd(one, exps_of(builder, builder.fneg(gate)))
            value = builder.fmul(builder.fdiv(gate, below), up)
            builder.store(value, place, align=4)
            return value

        return _largest(builder, arguments[2], value_of)

    return types.float32(types.int64, types.int64, types.int64), generate


def _to_bytes(builder: Any, vectors: Any, factor: Any, out: Any, value_of: Callable[[Any], Any]) -> None:
    factors = _splat(builder, factor)

    def body(index: Any, _: list[Any]) -> list[Any]:
        rint = declared(builder, "llvm.rint", _VF32, 1)
        whole = builder.fptosi(builder.call(rint, [builder.fmul(value_of(index), factors)]), _VI32)
        narrow = builder.trunc(builder.add(whole, ir.Constant(_VI32, [128] * LANES)), _VI8)
        builder.store(narrow, _place(builder, out, index, _VI8), align=1)
        return []

    loop(builder, vectors, [], body)


@intrinsic
def to_bytes(typing: Any, values: Any, vectors: Any, factor: Any, out: Any) -> Any:
    """float32 values times `factor`, which are within [-127, 127], to the nearest integers (ties to even), plus 128, as
    uint8. `vectors` is at least one.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, vectors, factor, out = arguments
        _to_bytes(builder, vectors, factor, out, lambda index: _loaded(builder, values, index))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float32, types.int64), generate


@intrinsic
def products_to_bytes(typing: Any, values: Any, weights: Any, vectors: Any, factor: Any, out: Any) -> Any:
    """As `to_bytes`, of values times float32 weights."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, weights, vectors, factor, out = arguments

        def value_of(index: Any) -> Any:
            return builder.fmul(_loaded(builder, values, index), _loaded(builder, weights, index))

        _to_bytes(builder, vectors, factor, out, value_of)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.float32, types.int64), generate
