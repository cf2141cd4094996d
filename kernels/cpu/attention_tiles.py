"""The inner loops of attention: scores of a few queries, their softmax, their weighted values.

Keys and values come as tiles of 16 slots (see kernels.cpu.rotation), up to four of them at a time. Numba intrinsics by
their number of queries; addresses and strides are in bytes. Each sum is one chain in the order of the keys, or of the
dimensions, however many queries and tiles are at it.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from kernels.cpu.lanes import reduced
from kernels.cpu.launch import intrinsic
from kernels.cpu.tiles import at, dot, load, product, splat, store
from kernels.cpu.vector import F32, I16, I32, I64, LANES, branch_on, declared, exp_of, exps_of, loop

SCORE_QUERIES = 8
"""Queries of the largest tile of scores."""
VALUE_QUERIES = 6
"""Queries of the largest tile of values: 24 sums, 4 vectors of values and one weight fill 32 registers."""
KEYS = 64
"""Keys whose scores are held at a time."""
_GROUPS = KEYS // LANES
_VF32, _VI32, _VI16 = (ir.VectorType(kind, LANES) for kind in (F32, I32, I16))
BELOW_ALL = -1e30
"""What a query's largest score is before it has seen a key."""

Add = Callable[[Any, Any, Any, Any], Any]


def _scores(add: Add) -> Any:
    @intrinsic
    def scores(
        typing: Any, queries: Any, tiles: Any, steps: Any, q: Any, q_stride: Any, keys: Any, out: Any, out_stride: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            queries, tiles, *rest = arguments
            branch_on(
                builder,
                builder.add(builder.mul(tiles, ir.Constant(I64, SCORE_QUERIES)), queries),
                (SCORE_QUERIES * together + count for together in (1, 2) for count in range(1, SCORE_QUERIES + 1)),
                lambda case: _score_tile(
                    builder, (case - 1) % SCORE_QUERIES + 1, (case - 1) // SCORE_QUERIES, add, rest
                ),
            )
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), generate

    return scores


def _score_tile(builder: Any, queries: int, tiles: int, add: Add, arguments: list[Any]) -> None:
    steps, q, q_stride, keys, out, out_stride = arguments
    lines = [builder.add(q, builder.mul(q_stride, ir.Constant(I64, row))) for row in range(queries)]
    places = [load(builder, at(builder, keys, 8 * t), I64, 8) for t in range(tiles)]

    def body(index: Any, sums: list[Any]) -> list[Any]:
        line = builder.mul(index, ir.Constant(I64, 4 * LANES))
        right = [load(builder, builder.add(place, line), _VI32, 64) for place in places]
        word = builder.mul(index, ir.Constant(I64, 4))
        found: list[Any] = []
        for row in range(queries):
            left = splat(builder, load(builder, builder.add(lines[row], word), I32, 4), _VI32)
            found += [add(builder, sums[row * tiles + t], left, right[t]) for t in range(tiles)]
        return found

    zero = ir.Constant(_VF32, [0.0] * LANES)
    sums = loop(builder, steps, [zero] * (queries * tiles), body)
    for row in range(queries):
        line = builder.add(out, builder.mul(out_stride, ir.Constant(I64, row)))
        for t in range(tiles):
            store(builder, sums[row * tiles + t], at(builder, line, 64 * t), 4)


def _values(add: Add) -> Any:
    @intrinsic
    def values(
        typing: Any,
        queries: Any,
        tiles: Any,
        steps: Any,
        p: Any,
        p_stride: Any,
        values: Any,
        column: Any,
        v_stride: Any,
        shrink: Any,
        sums: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            queries, *rest = arguments
            numbers = range(1, VALUE_QUERIES + 1)
            branch_on(builder, queries, numbers, lambda count: _value_tile(builder, count, add, rest))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), generate

    return values


def _value_tile(builder: Any, queries: int, add: Add, arguments: list[Any]) -> None:
    tiles, steps, p, p_stride, values, column, v_stride, shrink, sums = arguments
    lines = [builder.add(p, builder.mul(p_stride, ir.Constant(I64, row))) for row in range(queries)]
    outs = [builder.add(sums, builder.mul(v_stride, ir.Constant(I64, row))) for row in range(queries)]
    places = [at(builder, out, 64 * v) for out in outs for v in range(_GROUPS)]
    starts: list[Any] = []
    for row in range(queries):
        factor = splat(builder, load(builder, at(builder, shrink, 4 * row), F32, 4), _VF32)
        mine = places[row * _GROUPS : (row + 1) * _GROUPS]
        starts += [builder.fmul(load(builder, place, _VF32, 4), factor) for place in mine]

    def of_tile(number: Any, before: list[Any]) -> list[Any]:
        place = builder.add(values, builder.mul(number, ir.Constant(I64, 8)))
        first = builder.add(load(builder, place, I64, 8), column)
        words = builder.mul(builder.mul(number, steps), ir.Constant(I64, 4))

        def body(index: Any, found: list[Any]) -> list[Any]:
            line = builder.add(first, builder.mul(index, v_stride))
            right = [load(builder, at(builder, line, 64 * v), _VI32, 64) for v in range(_GROUPS)]
            word = builder.add(words, builder.mul(index, ir.Constant(I64, 4)))
            after: list[Any] = []
            for row in range(queries):
                left = splat(builder, load(builder, builder.add(lines[row], word), I32, 4), _VI32)
                after += [add(builder, found[row * _GROUPS + v], left, right[v]) for v in range(_GROUPS)]
            return after

        return loop(builder, steps, before, body)

    for total, place in zip(loop(builder, tiles, starts, of_tile), places, strict=True):
        store(builder, total, place, 4)


def _softmax_of(builder: Any, arguments: Any) -> list[Any]:
    """The 4 vectors of weights of a query; its state is brought up to date."""
    scores, visible, best, total, shrink = arguments[:5]
    lanes = ir.Constant(_VI32, list(range(LANES)))
    seen = splat(builder, builder.trunc(visible, I32), _VI32)
    values: list[Any] = []
    for v in range(_GROUPS):
        lane = builder.add(lanes, ir.Constant(_VI32, [LANES * v] * LANES))
        value = load(builder, at(builder, scores, 64 * v), _VF32, 4)
        below = ir.Constant(_VF32, [BELOW_ALL] * LANES)
        values.append(builder.select(builder.icmp_signed("<", lane, seen), value, below))
    larger = declared(builder, "llvm.maxnum", _VF32, 2)
    pairs = [builder.call(larger, values[n : n + 2], fastmath=("nnan",)) for n in (0, 2)]
    highest = reduced(builder, "fmax", builder.call(larger, pairs, fastmath=("nnan",)))
    before = load(builder, best, F32, 4)
    now = builder.call(declared(builder, "llvm.maxnum", F32, 2), [before, highest], fastmath=("nnan",))
    factor = exp_of(builder, builder.fsub(before, now))
    least = splat(builder, now, _VF32)
    weights = [exps_of(builder, builder.fsub(value, least)) for value in values]
    added = builder.fadd(builder.fadd(weights[0], weights[1]), builder.fadd(weights[2], weights[3]))
    sum_before = builder.fmul(load(builder, total, F32, 4), factor)
    store(builder, builder.fadd(sum_before, reduced(builder, "fadd", added)), total, 4)
    store(builder, now, best, 4)
    store(builder, factor, shrink, 4)
    return weights


@intrinsic
def soften(typing: Any, scores: Any, visible: Any, best: Any, total: Any, shrink: Any, weights: Any) -> Any:
    """Scores of a query for 64 keys (float32) to weights in bfloat16 [64], not yet divided by their sum.

    Only the first `visible` keys count, none if that is not positive. best, total: the query's largest score and sum
    of weights so far (Milakov and Gimelshein 2018), brought up to date; shrink: by what earlier weights become smaller.
    Its first keys must not all be invisible.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for v, weight in enumerate(_softmax_of(builder, arguments)):
            bits = builder.bitcast(weight, _VI32)
            one, sixteen, half = (ir.Constant(_VI32, [number] * LANES) for number in (1, 16, 0x7FFF))
            odd = builder.and_(builder.lshr(bits, sixteen), one)
            rounded = builder.lshr(builder.add(builder.add(bits, half), odd), sixteen)
            store(builder, builder.trunc(rounded, _VI16), at(builder, arguments[5], 32 * v), 4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@intrinsic
def soften_wide(typing: Any, scores: Any, visible: Any, best: Any, total: Any, shrink: Any) -> Any:
    """As `soften`, with weights in float32 in the place of the scores."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for v, weight in enumerate(_softmax_of(builder, arguments)):
            store(builder, weight, at(builder, arguments[0], 64 * v), 4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def tile_of(typing: Any, slots: Any, count: Any) -> Any:
    """The tile that holds `count` (1 to 16) slots, int32 at an address, each at the place of its position; else -1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        slots, count = arguments
        lanes = ir.Constant(_VI32, list(range(LANES)))
        wanted = builder.icmp_signed("<", lanes, splat(builder, builder.trunc(count, I32), _VI32))
        pointer, zero = builder.inttoptr(slots, _VI32.as_pointer()), ir.Constant(_VI32, [0] * LANES)
        kind = ir.FunctionType(_VI32, [_VI32.as_pointer(), I32, wanted.type, _VI32])
        name = "llvm.masked.load.v16i32.p0"
        masked = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        found = builder.call(masked, [pointer, ir.Constant(I32, 4), wanted, zero])
        first = builder.extract_element(found, ir.Constant(I32, 0))
        in_order = builder.icmp_signed("==", found, builder.add(splat(builder, first, _VI32), lanes))
        beyond = builder.icmp_signed(">=", lanes, splat(builder, builder.trunc(count, I32), _VI32))
        right = builder.bitcast(builder.or_(in_order, beyond), I16)
        whole = builder.icmp_signed("==", right, ir.Constant(I16, -1))
        starts = builder.icmp_signed("==", builder.and_(first, ir.Constant(I32, 15)), ir.Constant(I32, 0))
        tile = builder.sext(builder.ashr(first, ir.Constant(I32, 4)), I64)
        return builder.select(builder.and_(whole, starts), tile, ir.Constant(I64, -1))

    return types.int64(types.int64, types.int64), generate


scores_of_pairs = _scores(dot)
"""queries (1 to 8), tiles (1 or 2), steps, q, q_stride, keys, out, out_stride: out[r, 16 t + c] = sum over i of
q[r, i] * k[t][i, c], for c < 16.

q: bfloat16 [queries, 2 * steps], lines `q_stride` apart. keys: where the addresses of the tiles lie, each bfloat16
[steps, 16, 2]. out: float32, lines `out_stride` apart.
"""

scores_of_floats = _scores(product)
"""As `scores_of_pairs`, with q float32 [queries, steps] and tiles float32 [steps, 16]."""

values_of_pairs = _values(dot)
"""queries (1 to 6), tiles, steps, p, p_stride, values, column, v_stride, shrink, sums: sums[r, c] = sums[r, c] *
shrink[r] + sum over t < tiles and i of p[r, t, i] * v[t][i, c], for c < 64.

p: bfloat16 [queries, tiles, 2 * steps], lines `p_stride` apart. values: where the addresses of the tiles lie, each
bfloat16 [steps, d, 2], lines `v_stride` apart; `column` is added to them. shrink: float32 [queries]. sums: float32,
lines `v_stride` apart.
"""

values_of_floats = _values(product)
"""As `values_of_pairs`, with p float32 [queries, tiles, steps] and tiles float32 [steps, d]."""
