"""EvalPlus's rules of comparison: a table of cases, and numpy's own arithmetic beside ours."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.guest.plain import Opaque, encode
from executor.oracles import accepts, close, foreign, tolerances
from executor.types import Oracle, Rules

BOTH = (Rules.V0_2, Rules.V0_3)
OBJECT = Opaque("Fraction", True)


@pytest.mark.parametrize(
    ("got", "expected", "tolerance", "old", "new"),
    [
        (1, 1.0, 0, True, True),
        (True, 1, 0, True, True),
        ([1, 2], (1, 2), 0, False, False),
        ([1.0, 2.0], (1.0, 2.0), 1e-6, True, False),
        ({1, 2}, (1, 2), 0, False, False),
        (0.3000000001, 0.3, 0, False, False),
        (0.3000000001, 0.3, 1e-6, True, True),
        (1, 1.0000000001, 1e-6, True, False),
        (1e9, 1e9 + 50, 0.0001, True, True),
        (1e9, 1e9 + 500, 0.0001, False, False),
        ([0.5, "a"], [0.5000001, "a"], 1e-6, False, False),
        ([0.5, "a"], [0.5, "a"], 1e-6, True, True),
        ([[0.5], [1.0]], [[0.5000001], [1.0]], 1e-6, True, True),
        ([0.5, 0.5], [0.5, 0.5, 0.5], 1e-6, False, False),
        (0.5, [0.5], 1e-6, False, False),
        ([], 0.5, 1e-6, False, False),
        (None, 0.5, 1e-6, False, False),
        ("0.5", 0.5, 1e-6, False, False),
        (math.nan, math.nan, 1e-6, True, False),
        (math.nan, 1.0, 1e-6, False, False),
        (math.inf, math.inf, 1e-6, True, True),
        (math.inf, 1e308, 1e-6, False, False),
        (1e308, math.inf, 1e-6, False, False),
        (2**70, 2**70 + 1, 1e-6, False, False),
        (2**40, 2**40 + 1, 1e-6, True, True),
        (1 + 1e-9j, 1 + 0j, 1e-6, True, True),
        ({"a": 0.5}, {"a": 0.5000001}, 1e-6, False, False),
        (OBJECT, 0.5, 1e-6, False, False),
        ([OBJECT], [1], 0, False, False),
    ],
)
def test_equal(got: object, expected: object, tolerance: float, old: bool, new: bool) -> None:
    answers = [accepts(Oracle.EQUAL, rules, got, expected, [], tolerance) for rules in BOTH]
    assert answers == [old, new]


@pytest.mark.parametrize(
    ("oracle", "got", "expected", "inputs", "right"),
    [
        (Oracle.ANY, OBJECT, 1, [], True),
        (Oracle.EQUAL_OR_ZERO, 0, 17, [], True),
        (Oracle.EQUAL_OR_ZERO, 17, 17, [], True),
        (Oracle.EQUAL_OR_ZERO, 1, 17, [], False),
        (Oracle.NOT_NONE, True, True, [], True),
        (Oracle.NOT_NONE, False, True, [], False),
        (Oracle.NOT_NONE, OBJECT, True, [], True),
        (Oracle.NOT_NONE, "Found", True, [], True),
        (Oracle.NOT_NONE, None, True, [], False),
        (Oracle.NOT_NONE, None, False, [], True),
        (Oracle.NOT_NONE, "Found", False, [], False),
        (Oracle.SET, [2, 1, 1], (1, 2), [], True),
        (Oracle.SET, {1, 2}, (1, 2), [], True),
        (Oracle.SET, "ab", ["a", "b"], [], True),
        (Oracle.SET, [1, 2, 3], (1, 2), [], False),
        (Oracle.SET, [[1], [2]], ([1], [2]), [], False),
        (Oracle.SET, 3, (3,), [], False),
        (Oracle.SET, [2**61 * k + 1 for k in range(-500, 500)], [1], [], False),
        (Oracle.SURFACE_AREA, 33, 33, [3, 4], True),
        (Oracle.SURFACE_AREA, round(9 + 6 * math.sqrt(2.25 + 16)), 33, [3, 4], True),
        (Oracle.SURFACE_AREA, 34, 33, [3, 4], False),
        (Oracle.SURFACE_AREA, "33", 33, [3, 4], False),
        (Oracle.DIGIT_DISTANCE, 1, 1, [1, 2], True),
        (Oracle.DIGIT_DISTANCE, 7, 6, [123, 256], True),
        (Oracle.DIGIT_DISTANCE, 3, 9, [12, 120], False),
        (Oracle.DIGIT_DISTANCE, 3, 9, [-1, 2], False),
    ],
)
def test_special(oracle: Oracle, got: object, expected: object, inputs: list[object], right: bool) -> None:
    assert accepts(oracle, Rules.V0_3, got, expected, inputs, 0.0) is right


@pytest.mark.parametrize(
    ("got", "old", "new"),
    [(-0.5, True, True), (-0.50001, True, True), (-0.6, False, False), ("x", False, False), (10**400, False, False)],
)
def test_root(got: object, old: bool, new: bool) -> None:
    """1 + 2x, whose root is -0.5. At -0.6 the value is below 0, which 0.2 takes for a root; it then compares, too."""
    answers = [accepts(Oracle.ROOT, rules, got, -0.5, [[1, 2]], 1e-4) for rules in BOTH]
    assert answers == [old, new]


def test_another_root_counts_in_the_new_rules_only() -> None:
    """x^2 - 1 has two; the canonical solution finds one of them."""
    answers = [accepts(Oracle.ROOT, rules, -1.0, 1.0, [[-1, 0, 1]], 1e-4) for rules in BOTH]
    assert answers == [False, True]


@pytest.mark.parametrize(
    ("atol", "values", "old", "new"),
    [
        (0, [1, "a"], [0, 0], [0, 0]),
        (0, [1, 0.5, 1], [0, 1e-6, 1e-6], [0, 1e-6, 1e-6]),
        (0, [[], 1], [1e-6, 1e-6], [0, 0]),
        (0, [(0.5, 1), (0.5, 1.0)], [0, 1e-6], [0, 1e-6]),
        (0, [{0.5}, [[0.5]]], [0, 0], [0, 0]),
        (0.5, [1, 0.5], [0.5, 0.5], [0.5, 0.5]),
    ],
)
def test_tolerances(atol: float, values: list[object], old: list[float], new: list[float]) -> None:
    encoded = [encode(value) for value in values]
    assert [list(tolerances(atol, encoded, rules)) for rules in BOTH] == [old, new]


def test_foreign() -> None:
    assert foreign([1, {"a": (2, OBJECT)}]) == "Fraction"
    assert foreign({OBJECT: 1}) == "Fraction"
    assert foreign([1, {"a": (2, "b")}]) is None


NUMBERS = st.one_of(
    st.integers(-(2**62), 2**62), st.floats(allow_nan=True, allow_infinity=True), st.booleans(), st.just(1.0)
)
NUDGES = st.sampled_from([0.0, 1e-9, 1e-7, 2e-7, 1e-5, 1.0])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two numbers, or two lists or tuples of them of one length, near each other or not."""
    expected = draw(st.lists(NUMBERS, min_size=1, max_size=5))
    got = [value if isinstance(value, bool) else value * (1 + draw(NUDGES)) for value in expected]
    if draw(st.booleans()):
        return got[0], expected[0]
    return draw(st.sampled_from([list, tuple]))(got), draw(st.sampled_from([list, tuple]))(expected)


@given(pairs(), st.sampled_from([1e-6, 1e-4]))
def test_close_as_numpy(pair: tuple[Any, Any], tolerance: float) -> None:
    got, expected = pair
    with np.errstate(all="ignore"):
        new = type(got) is type(expected) and bool(np.allclose(got, expected, rtol=1e-07, atol=tolerance))
        try:
            np.testing.assert_allclose(got, expected, atol=tolerance)
            old = True
        except AssertionError:
            old = False
    assert close(Rules.V0_2, got, expected, tolerance) is old
    assert close(Rules.V0_3, got, expected, tolerance) is new
