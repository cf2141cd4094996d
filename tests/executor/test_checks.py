"""Comparing output and values."""

import pytest

from executor import Comparison
from executor.checks import stdout_matches, value_matches

TIGHT = (1e-9, 0.0)


@pytest.mark.parametrize(
    ("got", "expected", "comparison", "same"),
    [
        (b"1 2\n", b"1 2\n", Comparison.EXACT, True),
        (b"1 2", b"1 2\n", Comparison.EXACT, False),
        (b"1 2", b"1 2\n", Comparison.LINES, True),
        (b"1 2  \r\n\n\n", b"1 2\n", Comparison.LINES, True),
        (b" 1 2\n", b"1 2\n", Comparison.LINES, False),
        (b"1\n\n2\n", b"1\n2\n", Comparison.LINES, False),
        (b"1\n2", b"1 2\n", Comparison.TOKENS, True),
        (b"1 23", b"12 3", Comparison.TOKENS, False),
        (b"0.3333333333333 x", b"0.33333333333334 x", Comparison.APPROX, True),
        (b"0.3333", b"0.3334", Comparison.APPROX, False),
        (b"nan", b"nan", Comparison.APPROX, True),
        (b"nan", b"1", Comparison.APPROX, False),
        (b"\xff\xfe", b"\xff\xfe", Comparison.LINES, True),
        (b"9" * 10_000, b"1", Comparison.APPROX, False),
        (b"b \n\na\n", b"a\nb\n", Comparison.UNORDERED, True),
        (b"a\na\nb\n", b"a\nb\nb\n", Comparison.UNORDERED, False),
        (b"b a\n", b"a b\n", Comparison.UNORDERED, False),
        (b"  1\n 2 \n", b"1\n2", Comparison.APPS, True),
        (b"1.000001\n2", b"1\n2", Comparison.APPS, True),
        (b"1.01\n2", b"1\n2", Comparison.APPS, False),
        (b"x 1.00004", b"x 1", Comparison.APPS, False),
        (b"5 1.00004", b"1 5", Comparison.APPS, True),
        (b"inf", b"1e999", Comparison.APPS, True),
        (b"nan", b"NaN", Comparison.APPS, False),
        (b"a\n\n\nb", b"a\nb", Comparison.APPS, True),
        (b"", b"\n", Comparison.APPS, True),
        (b"", b"a", Comparison.APPS, False),
        (b"\xff", b"\xfe", Comparison.APPS, False),
        (b"1" * 10_000, b"2", Comparison.APPS, False),
    ],
)
def test_stdout(got: bytes, expected: bytes, comparison: Comparison, same: bool) -> None:
    assert stdout_matches(got, expected, comparison, TIGHT) is same


@pytest.mark.parametrize(
    ("got", "expected", "comparison", "same"),
    [
        (1, 1, Comparison.EXACT, True),
        (1.0, 1, Comparison.EXACT, False),
        (True, 1, Comparison.EXACT, False),
        ((1, [2, (3,)]), [1, [2, [3]]], Comparison.EXACT, True),
        ({1, 2}, [1, 2], Comparison.EXACT, False),
        ({"a": (1,)}, {"a": [1]}, Comparison.EXACT, True),
        ({"a": 1, "b": 2}, {"a": 1}, Comparison.EXACT, False),
        (float("nan"), float("nan"), Comparison.EXACT, True),
        ("1", 1, Comparison.EXACT, False),
        (1, 1.0, Comparison.APPROX, True),
        ([0.1 + 0.2], [0.3], Comparison.APPROX, True),
        ([0.1 + 0.2], [0.3], Comparison.EXACT, False),
        (True, 1, Comparison.APPROX, False),
        (10**400, 1.0, Comparison.APPROX, False),
        ([3, 1, 2], [1, 2, 3], Comparison.UNORDERED, True),
        ([[2, 1], [3]], [[3], [1, 2]], Comparison.UNORDERED, True),
        ([1, 1, 2], [1, 2, 2], Comparison.UNORDERED, False),
        ({2, 1}, [1, 2], Comparison.UNORDERED, True),
        ([1], ["1"], Comparison.UNORDERED, False),
    ],
)
def test_values(got: object, expected: object, comparison: Comparison, same: bool) -> None:
    assert value_matches(got, expected, comparison, TIGHT) is same


def test_the_known_defect_of_apps_is_kept() -> None:
    """hendrycks/apps#27: order and number of lines and of tokens get lost."""
    assert stdout_matches(b"NO\nYES\nYES\n", b"YES\nNO\nYES\n", Comparison.APPS, TIGHT)
    assert stdout_matches(b"NO YES YES", b"YES NO YES", Comparison.APPS, TIGHT)
    assert stdout_matches(b"1 1 2", b"2 1", Comparison.APPS, TIGHT)
    assert not stdout_matches(b"NO YES", b"YES NO MAYBE", Comparison.APPS, TIGHT)


@pytest.mark.parametrize(
    ("got", "expected", "same"),
    [
        (9, [9], True),
        (9, 9, True),
        ([1, 2], [[1, 2]], True),
        ((1, 2), [[1, 2]], True),
        ((1, 2), [1, 2], True),
        ([(1, 2), (3,)], [[[1, 2], [3]]], True),
        ([(1, 2), (3,)], [[1, 2], [3]], False),
        (True, [1], True),
        (1, [1.0], True),
        (1, [2, 1], False),
        ([], [[]], True),
        ([], [], True),
        (None, [], False),
        ({1: "a"}, {"1": "a"}, True),
        ([{1: "a"}], {"1": "a"}, True),
        ({1: "a"}, [{"1": "a"}], True),
        ({"x": 1}, [{"x": 1}], True),
        ("ab", ["ab"], True),
        ([(1, 2), 3], [[[1, 2], 3]], False),
    ],
)
def test_values_as_apps_compares_them(got: object, expected: object, same: bool) -> None:
    assert value_matches(got, expected, Comparison.APPS, TIGHT) is same


def test_a_comparison_of_the_other_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="in a jail"):
        stdout_matches(b"", b"", Comparison.JUDGE, TIGHT)
    with pytest.raises(ValueError, match="stdio tests"):
        value_matches(1, 1, Comparison.LINES, TIGHT)
