import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.text.python_lines import LineState, definition, string_is_open
from engine.text.python_source import defines, error_line, globals_of, is_program, parse


def test_parsing_never_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse("x = '\\d'\nif x is 1: pass\n") is not None
        assert globals_of("assert (1, 2)\n'\\d'") is not None


def test_the_line_that_cannot_be_taken() -> None:
    assert error_line("x = 1\ny = 2\n") is None
    assert error_line("x = 1\nThe end\ny = 2\n") == 2
    assert error_line("x = (1,\ny = 2\n") == 1
    assert error_line("x = 1\n" * (1 << 16)) == 1


@pytest.mark.parametrize(
    ("source", "bound", "unbound"),
    [
        ("import os.path, re as r\nfrom a import b as c, d\n", "os r c d", ""),
        ("def f(x):\n    y = x\n    return g(y) + len(LIMIT)\n", "f", "g LIMIT"),
        ("class C(Base):\n    a = b\n    def m(self):\n        return helper(self.a)\n", "C", "Base b helper"),
        ("f = lambda n: [h(i) for i in n]\n", "f", "h"),
        ("def f():\n    def inner():\n        return other()\n    return inner\n", "f", "other"),
        ("def f():\n    global n\n    n = 1\nprint(n)\n", "f n", ""),
        ("for i in range(3):\n    print(i, __name__)\n", "i", ""),
        ("@cache\ndef f(x: List[int] = D) -> Set: pass\n", "f", "cache List D Set"),
        ("if x := y: pass\n", "x", "y"),
    ],
)
def test_globals(source: str, bound: str, unbound: str) -> None:
    assert globals_of(source) == (frozenset(bound.split()), frozenset(unbound.split()))


def test_what_is_defined() -> None:
    source = (
        "@a\ndef f(x): pass\nasync def g(): pass\nclass K(f): pass\nv = 1\nw: int = 2\nu == 3\n  def m(): pass\nthe"
    )
    found = [name for name in ["a", "f", "g", "K", "v", "w", "u", "m", "x", "the"] if defines(source, name)]
    assert found == ["f", "g", "K", "v", "w", "m"]
    assert defines(source, "K.m")
    assert not defines("def function(): pass", "func")


def test_what_may_be_a_program() -> None:
    assert is_program("def f():\n    return 1", "f")
    assert not is_program("def f():\n    return 1", "g")
    assert not is_program('def f():\n    """Later."""\n    ...', "f")
    assert is_program("def f(:\n    return 1", "f")
    assert is_program("print(input())", None)
    assert not is_program("Hello", None)
    assert not is_program("3, 4", None)
    assert not is_program("It works.", None)


def test_definitions_by_line() -> None:
    assert definition("def f(x):") == "f"
    assert definition("async  def f(") == "f"
    assert definition("class C") == "C"
    assert definition("define(x)") is None


@given(st.lists(st.text("()[]{}'\"\\#x ", max_size=12), max_size=6))
def test_lines_are_read_whatever_they_hold(lines: list[str]) -> None:
    state = LineState()
    for line in lines:
        state.feed(line)
        assert state.depth >= 0
        assert state.quote in ("", "'", '"', "'''", '"""')
    assert string_is_open("\n".join(lines)) == (len(state.quote) == 3)
    # What Python takes as whole statements leaves nothing open.
    if parse("\n".join(lines)) is not None:
        assert state.fresh or lines[-1].endswith("\\")
