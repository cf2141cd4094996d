"""Comparing the value of a call as EvalPlus does. Runs on the host, on plain values only.

The rules are those of EvalPlus 0.2 and 0.3 (Liu et al. 2023, arXiv 2305.01210; the special tasks are those of its own
evaluation code). Two things are stricter here: an object that is not plain data never equals anything, since its own
`==` would be the candidate's, and arrays compared with a tolerance must have the same shape.
"""

import math
from collections.abc import Callable, Iterable

from executor.guest.plain import Opaque, PlainError, check_hashes, decode
from executor.types import Oracle, Rules

_RELATIVE = 1e-7
_FLOAT_TOLERANCE = 1e-6
_INT64_LEAST, _UINT64_MOST = -(1 << 63), (1 << 64) - 1
_ERRORS = (ArithmeticError, TypeError, ValueError, LookupError, RecursionError, PlainError)


def accepts(oracle: Oracle, rules: Rules, got: object, expected: object, inputs: object, tolerance: float) -> bool:
    """Whether `got` is right for a call with the arguments `inputs`. `tolerance` is absolute; 0: exact."""
    try:
        if oracle is Oracle.ROOT:
            return _is_root(rules, got, expected, inputs, tolerance)
        same = _same(oracle, got, expected, inputs, tolerance)
        return same or (tolerance != 0 and close(rules, got, expected, tolerance))
    except _ERRORS:
        return False  # comparing values that do not go together: EvalPlus counts the exception as a failure, too


def _same(oracle: Oracle, got: object, expected: object, inputs: object, tolerance: float) -> bool:
    match oracle:
        case Oracle.EQUAL | Oracle.ROOT:
            return got == expected
        case Oracle.ANY:
            return True
        case Oracle.EQUAL_OR_ZERO:
            return got == expected or got == 0
        case Oracle.NOT_NONE:
            return got == expected if isinstance(got, bool) else expected is (got is not None)
        case Oracle.SET:
            return _elements(got) == _elements(expected)
        case Oracle.SURFACE_AREA:
            return got == expected or abs(_number(got) - _of_two(_surface_area, inputs)) <= tolerance
        case Oracle.DIGIT_DISTANCE:
            return got == expected or got == _of_two(_digit_distance, inputs)


def _elements(value: object) -> set[object]:
    if not isinstance(value, list | tuple | set | frozenset | dict | str | bytes):
        raise TypeError(f"a {type(value).__name__} has no elements")
    check_hashes(value)
    return set(value)


def _number(value: object) -> int | float:
    if not isinstance(value, int | float):
        raise TypeError(f"a {type(value).__name__} is no number")
    return value


def _of_two(function: Callable[[float, float], float], inputs: object) -> float:
    assert isinstance(inputs, list | tuple)
    first, second = map(_number, inputs)
    return function(first, second)


def _surface_area(base_edge: float, height: float) -> float:
    slant = math.sqrt((base_edge / 2) ** 2 + height**2)
    return round(base_edge**2 + 2 * base_edge * slant)


def _digit_distance(first: float, second: float) -> float:
    left, right = str(first), str(second)
    width = max(len(left), len(right))
    pairs = zip(left.zfill(width), right.zfill(width), strict=True)
    return sum(abs(int(one) - int(other)) for one, other in pairs)


def _is_root(rules: Rules, got: object, expected: object, inputs: object, tolerance: float) -> bool:
    assert isinstance(inputs, list | tuple)
    (coefficients,) = inputs
    assert isinstance(coefficients, list | tuple)
    x = _number(got)
    value = sum(_number(coefficient) * math.pow(x, power) for power, coefficient in enumerate(coefficients))
    if rules is Rules.V0_3:
        return abs(value) <= tolerance
    # 0.2 forgot the absolute value, and goes on to compare with the expected root.
    return value <= tolerance and (got == expected or close(rules, got, expected, tolerance))


def tolerances(atol: float, expected: Iterable[bytes], rules: Rules) -> tuple[float, ...]:
    """The absolute tolerance of each call in a row, by the encoded values that are expected.

    Where the data set states none (`atol` 0), floats still get one; and from the first such expected value on EvalPlus
    keeps it, for whatever type comes next.
    """
    found: list[float] = []
    for value in expected:
        if atol == 0 and _are_floats(value, rules):
            atol = _FLOAT_TOLERANCE
        found.append(atol)
    return tuple(found)


def _are_floats(data: bytes, rules: Rules) -> bool:
    if data[:1] == b"D":
        return True
    # A list's first item follows its tag and count; most lists begin with no float and need no decoding.
    if data[:1] not in (b"L", b"U") or data[5:6] not in (b"D", b""):
        return False
    value = decode(data)
    assert isinstance(value, list | tuple)
    # To 0.2 an empty list is one of floats.
    return (bool(value) or rules is Rules.V0_2) and all(isinstance(item, float) for item in value)


def close(rules: Rules, got: object, expected: object, tolerance: float) -> bool:
    """Whether numbers, or arrays of them, differ by no more than `tolerance` + 1e-7 x |expected| (numpy's allclose).

    0.3 asks for equal types at the top (a list is no tuple, 1 is no 1.0), and no NaN equals another there.
    """
    if rules is Rules.V0_3 and type(got) is not type(expected):
        return False
    return _close(got, expected, tolerance, nan_equal=rules is Rules.V0_2)


def _close(got: object, expected: object, tolerance: float, *, nan_equal: bool) -> bool:
    if isinstance(expected, list | tuple):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(expected)
            and all(_close(a, b, tolerance, nan_equal=nan_equal) for a, b in zip(got, expected, strict=True))
        )
    if not _is_array_number(got) or not _is_array_number(expected):
        return False  # numpy finds no arithmetic for texts, None, dicts, sets and huge integers
    assert isinstance(got, int | float | complex) and isinstance(expected, int | float | complex)
    if got != got or expected != expected:
        return nan_equal and got != got and expected != expected
    return got == expected or abs(got - expected) <= tolerance + _RELATIVE * abs(expected) < math.inf


def _is_array_number(value: object) -> bool:
    if isinstance(value, int):
        return _INT64_LEAST <= value <= _UINT64_MOST
    return isinstance(value, float | complex)


def foreign(value: object) -> str | None:
    """The type name of something in `value` that is not plain data, so that no rule can compare it; None if all is."""
    if isinstance(value, Opaque):
        return value.type_name
    if isinstance(value, list | tuple | set | frozenset):
        return next((name for item in value if (name := foreign(item)) is not None), None)
    if isinstance(value, dict):
        return foreign([*value.keys(), *value.values()])
    return None
