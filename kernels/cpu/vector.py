"""What kernels need and numba's language lacks: arrays at an address, shared counters, bit patterns, exponentials."""

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]

from kernels.cpu.launch import SLOTS, has_long_vectors, intrinsic, jit

F32 = ir.FloatType()
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


LANES = 16
"""float32 numbers of a vector register."""


def declared(builder: Any, name: str, kind: Any, arity: int) -> Any:
    """LLVM's intrinsic `name` (llvm.fma ...) from `arity` float32 (or vectors of them) to one."""
    name += ".f32" if kind is F32 else f".v{kind.count}f32"
    found = builder.module.globals.get(name)
    return found or ir.Function(builder.module, ir.FunctionType(kind, [kind] * arity), name)


def loop(builder: Any, count: Any, start: list[Any], body: Any) -> list[Any]:
    """`count` (at least one) rounds of body(index, values) -> values; the last values."""
    before = builder.block
    block = builder.append_basic_block("lanes.loop")
    after = builder.append_basic_block("lanes.after")
    builder.branch(block)
    builder.position_at_end(block)
    index = builder.phi(I64)
    index.add_incoming(ir.Constant(I64, 0), before)
    values = [builder.phi(value.type) for value in start]
    for phi, value in zip(values, start, strict=True):
        phi.add_incoming(value, before)
    results = body(index, values)
    following = builder.add(index, ir.Constant(I64, 1))
    index.add_incoming(following, builder.block)
    for phi, value in zip(values, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.cbranch(builder.icmp_signed("<", following, count), block, after)
    builder.position_at_end(after)
    return results


def branch_on(builder: Any, number: Any, cases: Iterable[int], emit: Callable[[int], None]) -> None:
    """Code of `emit(case)` for each value that `number` can have; any other one is taken for the last."""
    found = {case: builder.append_basic_block(f"case.{case}") for case in cases}
    after = builder.append_basic_block("case.after")
    switch = builder.switch(number, list(found.values())[-1])
    for case, block in found.items():
        switch.add_case(ir.Constant(number.type, case), block)
        builder.position_at_end(block)
        emit(case)
        builder.branch(after)
    builder.position_at_end(after)


def _pointer_to(kind: Any) -> Any:
    @intrinsic
    def pointer(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), generate

    return pointer


_f32, _f64, _i32, _i64, _u8, _u16 = (
    _pointer_to(kind) for kind in (types.float32, types.float64, types.int32, types.int64, types.uint8, types.uint16)
)


@jit
def i64_array(arguments: Any) -> Any:
    """A kernel's arguments as an array; the first is the counter of `take`."""
    return carray(arguments, SLOTS)


@jit
def f32(address: int, count: int) -> Any:
    """float32 array [count] at an address."""
    return carray(_f32(address), count)


@jit
def f64(address: int, count: int) -> Any:
    """float64 array [count] at an address."""
    return carray(_f64(address), count)


@jit
def i32(address: int, count: int) -> Any:
    """int32 array [count] at an address."""
    return carray(_i32(address), count)


@jit
def i64(address: int, count: int) -> Any:
    """int64 array [count] at an address."""
    return carray(_i64(address), count)


@jit
def u8(address: int, count: int) -> Any:
    """uint8 array [count] at an address."""
    return carray(_u8(address), count)


@jit
def u16(address: int, count: int) -> Any:
    """uint16 array [count] at an address."""
    return carray(_u16(address), count)


@intrinsic
def take(typing: Any, pointer: Any) -> Any:
    """The next number of the counter at `pointer`, shared by all threads of a launch."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.atomic_rmw("add", arguments[0], ir.Constant(I64, 1), "monotonic")

    return types.int64(pointer), generate


@intrinsic
def take_thread(typing: Any, pointer: Any) -> Any:
    """A number for the calling thread, different from those of the launch's other threads; call it once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        last = builder.gep(arguments[0], [ir.Constant(I64, SLOTS - 1)])
        return builder.atomic_rmw("add", last, ir.Constant(I64, 1), "monotonic")

    return types.int64(pointer), generate


@intrinsic
def from_bf16(typing: Any, bits: Any) -> Any:
    """bfloat16, given as uint16, as float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = builder.shl(builder.zext(arguments[0], I32), ir.Constant(I32, 16))
        return builder.bitcast(wide, F32)

    return types.float32(types.uint16), generate


@intrinsic
def to_bf16(typing: Any, value: Any) -> Any:
    """A finite float32 as bfloat16 in a uint16, rounded to nearest, ties to even."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], I32)
        odd = builder.and_(builder.lshr(bits, ir.Constant(I32, 16)), ir.Constant(I32, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(I32, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, ir.Constant(I32, 16)), I16)

    return types.uint16(types.float32), generate


@intrinsic
def rounded_u8(typing: Any, value: Any) -> Any:
    """A float32 within [-127, 127] to the nearest integer (ties to even), plus 128."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rint = declared(builder, "llvm.rint", F32, 1)
        whole = builder.fptosi(builder.call(rint, [arguments[0]]), I32)
        return builder.trunc(builder.add(whole, ir.Constant(I32, 128)), I8)

    return types.uint8(types.float32), generate


@intrinsic
def bits_f32(typing: Any, bits: Any) -> Any:
    """The float32 whose bits are the lower half of an int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.trunc(arguments[0], I32), F32)

    return types.float32(types.int64), generate


# On [-ln 2 / 2, ln 2 / 2], from the highest power on. Taylor's of degree 6 are good to 2e-7 there, about float32's own
# precision; so are these of degree 5, fitted for the least largest relative error with 1 at 0.
_TAYLOR = (1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0)
_FITTED = (
    8.290272206068039e-03,
    4.189816117286682e-02,
    0.1666763871908188,
    0.4999914765357971,
    0.9999997019767761,
    1.0,
)
_LOG2_E, _LN_2 = 1.4426950408889634, 0.6931471824645996


@intrinsic
def exp(typing: Any, value: Any) -> Any:
    """e to the power of a float32, relative error below 3e-7; 0 below -87, and as at 88 above that."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return exp_of(builder, arguments[0])

    return types.float32(types.float32), generate


def exp_of(builder: Any, x: Any) -> Any:
    """Code of `exp`, for a float32 or a vector of them."""
    real = x.type
    whole = I32 if real is F32 else ir.VectorType(I32, real.count)

    def const(value: float, kind: Any = real) -> Any:
        return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)

    def call(name: str, *values: Any) -> Any:
        return builder.call(declared(builder, name, real, len(values)), list(values))

    small = builder.fcmp_ordered("<", x, const(-87.0))
    x = builder.select(builder.fcmp_ordered(">", x, const(88.0)), const(88.0), x)
    power = call("llvm.rint", builder.fmul(x, const(_LOG2_E)))
    rest = call("llvm.fma", power, const(-_LN_2), x)
    total = const(_TAYLOR[0])
    for coefficient in _TAYLOR[1:]:
        total = call("llvm.fma", total, rest, const(coefficient))
    exponent = builder.shl(builder.add(builder.fptosi(power, whole), const(127, whole)), const(23, whole))
    return builder.select(small, const(0.0), builder.fmul(total, builder.bitcast(exponent, real)))


def exps_of(builder: Any, x: Any) -> Any:
    """Code of e to the powers of 16 float32, relative error below 4e-7 down to -87; 0 below -104, no more than infinity
    above 88. Not to the bit what `exp` gives.
    """
    if not has_long_vectors():
        return exp_of(builder, x)
    kind = x.type

    def const(value: float) -> Any:
        return ir.Constant(kind, [value] * kind.count)

    def call(name: str, *values: Any) -> Any:
        return builder.call(declared(builder, name, kind, len(values)), list(values), fastmath=("nnan",))

    # Half the instructions of `exp`: the processor scales by powers of two itself, and knows where they end.
    x = call("llvm.maxnum", x, const(-110.0))
    power = call("llvm.rint", builder.fmul(x, const(_LOG2_E)))
    rest = call("llvm.fma", power, const(-_LN_2), x)
    total = const(_FITTED[0])
    for coefficient in _FITTED[1:]:
        total = call("llvm.fma", total, rest, const(coefficient))
    name = "llvm.x86.avx512.mask.scalef.ps.512"
    scale = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(kind, [kind, kind, kind, I16, I32]), name
    )
    all_lanes, rounding_as_set = ir.Constant(I16, -1), ir.Constant(I32, 4)
    return builder.call(scale, [total, power, total, all_lanes, rounding_as_set])
