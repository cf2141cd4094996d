"""Reading the examples of docstrings, in the ways that HumanEval writes them."""

import pytest

from benchmarks.data.examples import examples


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("f(2, 3) == 5", "assert f(2, 3) == 5"),
        ("f(2, 3) = 5", "assert f(2, 3) == 5"),
        ("f(2, 3) ➞ 5", "assert f(2, 3) == 5"),
        ("f(2, 3) -> 5", "assert f(2, 3) == 5"),
        ("f(2, 3) => 5", "assert f(2, 3) == 5"),
        ("* f([1], 'a)') ==> ['(']", "assert f([1], 'a)') == ['(']"),
        ("For x the result is: f(2) should return True.", "assert f(2) == True"),
        ("f(3)  returns [1, 2] (in order)", "assert f(3) == [1, 2]"),
        ("f(3) == 'a, b'  # a remark", "assert f(3) == 'a, b'"),
    ],
)
def test_an_example_on_one_line(line: str, wanted: str) -> None:
    assert examples(f'def f(x):\n    """Text.\n    {line}\n    """\n', "f") == (wanted,)


def test_an_example_as_python_shows_it() -> None:
    stub = 'def f(x):\n    """\n    >>> round(f(2), 2)  # rounded\n    1.5\n    >>> f(2)\n    <object>\n    """\n'
    assert examples(stub, "f") == ("assert round(f(2), 2) == 1.5",)


@pytest.mark.parametrize(
    "line",
    ["f(3) = f(2) + 1", "f(a) == 1", "g(2) == 1", "f(2) is a number", "f of 2 is 4", "f(2", "call f(2) now"],
)
def test_what_is_no_example(line: str) -> None:
    assert examples(f'def f(x):\n    """{line}"""\n', "f") == ()


def test_each_is_there_once_and_in_order() -> None:
    stub = 'def f(x):\n    """\n    f(2) == 4\n    f(1) == 1\n    f(2) == 4\n    """\n'
    assert examples(stub, "f") == ("assert f(2) == 4", "assert f(1) == 1")
