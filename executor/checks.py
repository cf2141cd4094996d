"""Comparing what a program gave with what a test expects. Runs on the host, on bytes and exact plain types only."""

import math
from collections.abc import Callable

from executor import apps
from executor.types import Comparison

Tolerance = tuple[float, float]


def stdout_matches(got: bytes, expected: bytes, comparison: Comparison, tolerance: Tolerance) -> bool:
    """Whether printed bytes are as expected. `tolerance` is (relative, absolute), for APPROX."""
    match comparison:
        case Comparison.EXACT:
            return got == expected
        case Comparison.LINES:
            return _lines(got) == _lines(expected)
        case Comparison.TOKENS:
            return got.split() == expected.split()
        case Comparison.APPROX:
            left, right = got.split(), expected.split()
            return len(left) == len(right) and all(
                a == b or _close_tokens(a, b, tolerance) for a, b in zip(left, right, strict=True)
            )
        case Comparison.UNORDERED:
            return sorted(filter(None, _lines(got))) == sorted(filter(None, _lines(expected)))
        case Comparison.APPS:
            return apps.stdout_matches(_text(got), _text(expected))
        case Comparison.JUDGE:
            raise ValueError("comparison: judge is decided in a jail, by executor.special_judge")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _lines(text: bytes) -> list[bytes]:
    lines = [line.rstrip() for line in text.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _close_tokens(got: bytes, expected: bytes, tolerance: Tolerance) -> bool:
    if len(got) > 400 or len(expected) > 400:
        return False
    try:
        return _close(float(got), float(expected), tolerance)
    except ValueError:
        return False


def _close(got: float, expected: float, tolerance: Tolerance) -> bool:
    try:
        return math.isclose(got, expected, rel_tol=tolerance[0], abs_tol=tolerance[1])
    except OverflowError:
        return got == expected


def value_matches(got: object, expected: object, comparison: Comparison, tolerance: Tolerance) -> bool:
    """Whether a returned value equals one that came from JSON. A JSON array equals a list and a tuple."""
    match comparison:
        case Comparison.EXACT:
            return _equal(got, expected, _same_scalar)
        case Comparison.APPROX:
            return _equal(got, expected, lambda a, b: _near_scalar(a, b, tolerance))
        case Comparison.UNORDERED:
            return _canonical(got) == _canonical(expected)
        case Comparison.APPS:
            return apps.value_matches(got, expected)
        case Comparison.TOKENS | Comparison.LINES | Comparison.JUDGE:
            raise ValueError(f"comparison: {comparison} is for stdio tests, not for call tests")


def _equal(got: object, expected: object, same: Callable[[object, object], bool]) -> bool:
    if isinstance(expected, list):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(expected)
            and all(_equal(a, b, same) for a, b in zip(got, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and len(got) == len(expected)
            and all(key in got and _equal(got[key], value, same) for key, value in expected.items())
        )
    return same(got, expected)


def _same_scalar(got: object, expected: object) -> bool:
    if type(got) is not type(expected):
        return False
    return got == expected or (got != got and expected != expected)


def _near_scalar(got: object, expected: object, tolerance: Tolerance) -> bool:
    if type(got) in (int, float) and type(expected) in (int, float):
        if got != got and expected != expected:
            return True
        assert isinstance(got, int | float) and isinstance(expected, int | float)
        return _close(got, expected, tolerance)
    return _same_scalar(got, expected)


def _canonical(value: object) -> str:
    """One text for all orders of the sequences in `value`."""
    if isinstance(value, list | tuple | set | frozenset):
        return "[" + ",".join(sorted(_canonical(item) for item in value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{_canonical(key)}:{_canonical(item)}" for key, item in value.items())) + "}"
    if isinstance(value, int) and not isinstance(value, bool):
        return hex(value)
    return repr(value)
