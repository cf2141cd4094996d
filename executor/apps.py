"""Comparing as the grader of APPS does (hendrycks/apps, eval/testing_util.py), so that its numbers can be reproduced.

Its known defect is part of it (issue 27 there): when nothing stricter holds, the printed lines are compared as a set of
sets of tokens, so order and multiplicity are lost: `NO YES YES` passes for `YES NO YES`. For judging rather than
comparing with published numbers take another comparison.
"""

import math
from typing import cast

_RELATIVE, _ABSOLUTE = 1e-5, 1e-8  # numpy.allclose's own
_DECIMALS = 3
_LONGEST_NUMBER = 400

TokenSets = set[frozenset[str]]


def stdout_matches(got: str, expected: str) -> bool:
    """Whether printed text is the expected one: exact, stripped, numbers a line each, or sets of tokens."""
    lines = got.splitlines()
    wanted = expected.strip()
    if "\n".join(lines).strip() == wanted or "\n".join(line.strip() for line in lines).strip() == wanted:
        return True
    asked = [line.strip() for line in expected.split("\n") if line]
    printed = [line for line in lines if line]
    return asked in (lines, printed) or _same_numbers(printed, asked) or _same_sets(printed, asked)


def _same_numbers(printed: list[str], asked: list[str]) -> bool:
    try:
        pairs = list(zip(map(_number, printed), map(_number, asked), strict=True))
    except ValueError:
        return False
    return all(a == b or abs(a - b) <= _ABSOLUTE + _RELATIVE * abs(b) < math.inf for a, b in pairs)


def _same_sets(printed: list[str], asked: list[str]) -> bool:
    mine: TokenSets = {frozenset(words) for line in printed if (words := line.split())}
    theirs: TokenSets = {frozenset(line.split()) for line in asked}
    if mine == theirs:
        return True
    try:
        return _rounded(mine) == _rounded(theirs)
    except ValueError:
        return False


def _rounded(lines: TokenSets) -> set[frozenset[float]]:
    return {frozenset(round(_number(word), _DECIMALS) for word in line) for line in lines}


def _number(text: str) -> float:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("too long for a number")
    return float(text)


def value_matches(got: object, expected: object) -> bool:
    """Whether a returned value is the expected one, or the only item of the expected list, tuples as lists."""
    expected = _with_integer_keys(expected)
    if isinstance(got, tuple):
        got = list(cast("tuple[object, ...]", got))
    if got == expected:
        return True
    if not isinstance(expected, list) or not expected:
        return False
    first = cast("list[object]", expected)[0]
    if got == first:
        return True
    if not isinstance(got, list) or not got:
        return False
    items = cast("list[object]", got)
    if not isinstance(items[0], tuple) or not all(isinstance(item, list | tuple | set | str | dict) for item in items):
        return False
    return [list(cast("list[object]", item)) for item in items] == first


def _with_integer_keys(expected: object) -> object:
    first = cast("list[object]", expected)[0] if isinstance(expected, list) and expected else cast(object, expected)
    if not isinstance(first, dict):
        return expected
    try:
        return [_integer_keys(cast("dict[str, object]", first))]
    except ValueError:
        return expected


def arguments(values: list[object]) -> list[object]:
    """The arguments of a call: a first one that is a dict with integers for keys gets them back from JSON's texts."""
    if not values or not isinstance(values[0], dict):
        return values
    try:
        return [_integer_keys(cast("dict[str, object]", values[0]))]
    except ValueError:
        return values


def _integer_keys(items: dict[str, object]) -> dict[int, object]:
    return {int(key): value for key, value in items.items()}
