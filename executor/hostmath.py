"""The small arithmetic that an assert may do on the host: builtin operations on plain data, each bounded.

A test like `assert abs(f(2) - 0.5) < 1e-6` is decided here. Whatever is not in these tables goes to a judge jail.
"""

import ast
import math
import operator as _operator
from collections.abc import Callable, Iterable
from typing import Any, cast

from executor.guest.plain import PlainError, check_hashes

# The operands may be of any type: what does not fit raises TypeError, as it would in the test.
operator: Any = _operator
_MAX_BITS = 1 << 16
_MAX_ITEMS = 1 << 20


class TooMuchWork(Exception):
    """The operation would cost the host more than it grants a test."""


def _bits(*values: object) -> None:
    if any(isinstance(value, int) and value.bit_length() > _MAX_BITS for value in values):
        raise TooMuchWork(f"integers of more than {_MAX_BITS} bits")


def _multiply(left: object, right: object) -> object:
    _bits(left, right)
    for sequence, count in ((left, right), (right, left)):
        many = isinstance(sequence, str | bytes | list | tuple) and isinstance(count, int)
        if many and len(cast("str", sequence)) * cast("int", count) > _MAX_ITEMS:
            raise TooMuchWork(f"a sequence of more than {_MAX_ITEMS} items")
    return operator.mul(left, right)


def _power(left: object, right: object) -> object:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _MAX_BITS:
        raise TooMuchWork(f"integers of more than {_MAX_BITS} bits")
    _bits(left, right)
    return operator.pow(left, right)


def _shift(left: object, right: object) -> object:
    if isinstance(right, int) and right > _MAX_BITS:
        raise TooMuchWork(f"integers of more than {_MAX_BITS} bits")
    _bits(left)
    return operator.lshift(left, right)


def _bounded(work: Callable[[object, object], object]) -> Callable[[object, object], object]:
    def call(left: object, right: object) -> object:
        _bits(left, right)
        if isinstance(left, str | bytes):
            raise TypeError("text formatting is not done on the host")
        return work(left, right)

    return call


Binary = Callable[[object, object], object]

BINARY: dict[type[ast.operator], Binary] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _multiply,
    ast.Div: _bounded(operator.truediv),
    ast.FloorDiv: _bounded(operator.floordiv),
    ast.Mod: _bounded(operator.mod),
    ast.Pow: _power,
    ast.LShift: _shift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}

UNARY: dict[type[ast.unaryop], Callable[[object], object]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}

COMPARE: dict[type[ast.cmpop], Binary] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: operator.contains(right, left),
    ast.NotIn: lambda left, right: not operator.contains(right, left),
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


def _hashed(kind: Callable[..., object]) -> Callable[..., object]:
    def make(items: Iterable[object] = ()) -> object:
        held = list(items)
        try:
            check_hashes(held)
        except PlainError as error:
            raise TypeError(str(error)) from None
        return kind(held)

    return make


def _dict(items: object = ()) -> object:
    pairs: list[Any] = [*cast("dict[Any, Any]", items).items()] if isinstance(items, dict) else [*cast("Any", items)]
    held = [(key, value) for key, value in pairs]
    try:
        check_hashes(key for key, _ in held)
    except PlainError as error:
        raise TypeError(str(error)) from None
    return dict(held)


def _round(value: float, digits: int | None = None) -> object:
    if digits is not None and abs(digits) > 1000:
        raise TooMuchWork("more than 1000 digits")
    return round(value, digits)


def _sum(items: Iterable[float], start: float = 0) -> object:
    held = list(items)
    if any(isinstance(item, list | tuple) for item in held):
        raise TypeError("only numbers are added up on the host")
    return sum(held, start)


TYPES: dict[str, type] = {
    kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
}

FUNCTIONS: dict[str, Callable[..., object]] = {
    "set": _hashed(set),
    "frozenset": _hashed(frozenset),
    "list": list,
    "tuple": tuple,
    "dict": _dict,
    "sorted": sorted,
    "len": len,
    "abs": abs,
    "round": _round,
    "sum": _sum,
    "min": min,
    "max": max,
    "any": any,
    "all": all,
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "isinstance": isinstance,
    "type": lambda value: type(value),  # one argument: the other form makes classes
}
"""Builtins that the host applies to values. The program's own functions of these names are not asked."""

MATERIALISING = frozenset({"set", "frozenset", "list", "tuple", "sorted", "sum", "min", "max", "any", "all", "dict"})
"""Those that take any iterable, which a candidate may return instead of a list."""

MATH: dict[str, object] = {
    name: getattr(math, name)
    for name in ("isclose", "fabs", "sqrt", "floor", "ceil", "isnan", "isinf", "isfinite", "pi", "e", "inf", "nan")
}
"""What of the module `math` is evaluated on the host."""
