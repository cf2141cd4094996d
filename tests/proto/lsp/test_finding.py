"""Which tests decide over a function, and what is said of those that cannot be used."""

import doctest
import types
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pygls.uris import to_fs_path
from thresher.lsp.examples import SETUP
from thresher.lsp.finding import MOST_TESTS, find_tests
from thresher.lsp.found import Found
from thresher.lsp.functions import Source


def found_in(text: str, path: str = "f", *, beside: str | None = None, folder: Path | None = None) -> Found:
    """The tests of one function; `beside` is the text of `test_mod.py`."""
    if folder is not None and beside is not None:
        (folder / "test_mod.py").write_text(beside)
    source = Source(text)
    function = source.find(tuple(path.split(".")))
    assert function is not None
    file = str((folder or Path("/nowhere")) / "mod.py")
    return find_tests(source, function, file, lambda uri: Path(to_fs_path(uri) or "").read_text())


def shown(found: Found) -> list[str]:
    return [test.shown for test in found.tests]


def reasons(found: Found) -> dict[str, str]:
    return {one.name: one.reason for one in found.left_out}


def passes(program: str, codes: Sequence[str], setup: str = SETUP) -> list[bool]:
    """Runs tests as the sandbox does, in this process: programs of this file are trusted."""
    results: list[bool] = []
    for code in codes:
        names = types.ModuleType("solution").__dict__
        try:
            exec(compile(program + setup + code, "p.py", "exec"), names)  # noqa: S102
        except Exception:
            results.append(False)
        else:
            results.append(True)
    return results


EXAMPLES = '''def f(n):
    """Examples of every kind.

    >>> f(2)
    4
    >>> print("n:", f(1))
    n: 2
    >>> f(None)
    Traceback (most recent call last):
        ...
    TypeError: unsupported operand type(s) for *: 'NoneType' and 'int'
    >>> f("ab")  # doctest: +ELLIPSIS
    'a...b'
    >>> f([1,
    ...    2])
    [1, 2, 1, 2]
    >>> x = f(3)
    >>> x += 1
    >>> x
    7
    >>> print("a\\\\n\\\\nb" * f(0) + "c\\\\n\\\\nd")
    c
    <BLANKLINE>
    d
    >>> f(1)  # doctest: +SKIP
    3
    >>> f(1)  # doctest: +IGNORE_EXCEPTION_DETAIL
    2
    """
    ...
'''
BODIES = [
    "return n * 2",
    "return n + n",
    "return n * n",
    "return 4",
    "return 2.0 * n",
    "print(n)",
    "return n *",
    "return [n]",
]


def test_doctests_are_shown_as_asserts_where_they_are_values() -> None:
    found = found_in(EXAMPLES)
    assert shown(found)[:2] == ["assert f(2) == 4", '>>> print("n:", f(1))\nn: 2']
    assert shown(found)[5] == ">>> x = f(3)\n>>> x += 1\n>>> x\n7"
    assert [test.place.first for test in found.tests][:3] == [3, 5, 7]
    assert reasons(found) == {
        "f(1)  # doctest: +SKIP": "it says +SKIP",
        "f(1)  # doctest: +IGNORE_EXCEPTION_DETAIL": "its option IGNORE_EXCEPTION_DETAIL is not supported",
    }


@pytest.mark.parametrize("body", BODIES)
def test_what_passes_here_passes_doctest_and_the_other_way_round(body: str) -> None:
    program = EXAMPLES.replace("    ...\n\n", "").replace('"""\n    ...', f'"""\n    {body}')
    found = found_in(EXAMPLES)
    ours = passes(program, [test.code for test in found.tests])
    try:
        module = types.ModuleType("mod")
        exec(compile(program, "mod.py", "exec"), module.__dict__)  # noqa: S102
    except SyntaxError:
        assert not any(ours)
        return
    (case,) = [one for one in doctest.DocTestFinder().find(module, "mod") if one.examples]
    failed: set[int] = set()

    class Runner(doctest.DocTestRunner):
        def report_failure(self, out: object, test: object, example: doctest.Example, got: object) -> None:
            failed.add(example.lineno + 1)

        def report_unexpected_exception(self, out: object, test: object, example: doctest.Example, e: object) -> None:
            failed.add(example.lineno + 1)

    Runner().run(case, out=lambda text: None)
    assert ours == [test.place.first not in failed for test in found.tests]


@given(st.lists(st.integers() | st.text(max_size=5) | st.booleans() | st.none(), min_size=1, max_size=4))
def test_a_doctest_holds_for_the_value_that_it_shows(values: list[object]) -> None:
    lines = "".join(f"    >>> f({index})\n    {value!r}\n" for index, value in enumerate(values) if value is not None)
    text = f"def f(n):\n    r'''\n{lines}    '''\n    ...\n"
    program = f"def f(n):\n    return {values!r}[n]\n"
    tests = found_in(text).tests
    assert len(tests) == len([value for value in values if value is not None])
    assert all(passes(program, [test.code for test in tests]))
    assert not any(passes("def f(n):\n    return (n,)\n", [test.code for test in tests]))


def test_own_exceptions_have_no_module_in_the_sandbox() -> None:
    text = (
        "class Gone(Exception): pass\n\n\ndef f(n):\n"
        '    """\n    >>> f(1)\n    Traceback (most recent call last):\n    mod.Gone: 1\n    """\n'
    )
    codes = [test.code for test in found_in(text).tests]
    assert passes("class Gone(Exception): pass\n\n\ndef f(n):\n    raise Gone(n)\n", codes) == [True]


def test_asserts_below_with_what_they_need() -> None:
    text = (
        "import math\n\nassert f(0) == 0\n\n\ndef f(x):\n    ...\n\n\nassert f(1) == 1, 'one'\nassert g(1)\n"
        "items = [1]\nitems.append(2)\nother = 3\nassert f(items) == [2]\n"
        "for n in range(3):\n    assert f(n) == n\n"
        "if __name__ == '__main__':\n    got = f(5)\n    assert got == 5\n"
    )
    assert shown(found_in(text)) == [
        "assert f(1) == 1, 'one'",
        "items = [1]\nitems.append(2)\nassert f(items) == [2]",
        "for n in range(3):\n    assert f(n) == n",
        "got = f(5)\nassert got == 5",
    ]


def test_asserts_about_a_method_name_it_after_a_dot() -> None:
    text = (
        "class A:\n    def f(self): ...\n\n\nassert A().f() == 1\nassert f() == 2\nassert A().g() == 3\n"
        "assert {}.f() == 4\na = A()\nassert a.f() == 5\n"
    )
    assert shown(found_in(text, "A.f")) == ["assert A().f() == 1", "a = A()\nassert a.f() == 5"]


BESIDE = '''import math
import unittest

import pytest
from pytest import approx as near
from mod import f as g
import mod as m

HALF = 0.5


def helper(x):
    return m.f(x)


def test_plain():
    """Two asserts are two tests."""
    assert g(1) == 2
    assert m.f(2) == 4


def test_helper():
    assert helper(HALF) == near(1.0)


@pytest.mark.parametrize("x, y", [(1, 2), (2, 4)])
def test_rows(x, y):
    assert g(x) == y


def test_raises():
    with pytest.raises(TypeError, match="unsupported"):
        g(None)


class TestIt:
    def test_method(self):
        assert g(3) == 6


class Case(unittest.TestCase):
    def setUp(self):
        self.x = 4

    def test_unit(self):
        self.assertEqual(g(self.x), 8)


@unittest.skip("later")
class Skipped(unittest.TestCase):
    def test_unit(self):
        self.assertEqual(g(1), 2)


class TestBased(TestIt):
    def test_based(self):
        assert g(1) == 2


class TestSetUp:
    def setup_method(self):
        self.x = 1

    def test_set_up(self):
        assert g(self.x) == 2


def test_other():
    assert math.floor(1.5) == 1


def test_fixture(tmp_path):
    assert g(1) == 2


async def test_async():
    assert g(1) == 2


@pytest.mark.skip
def test_skipped():
    assert g(1) == 2


@pytest.mark.parametrize("x", range(3))
def test_computed_rows(x):
    assert g(x) == 2 * x


def test_own_exception():
    with pytest.raises(m.Gone):
        g(1)


def test_monkey():
    assert pytest.importorskip("numpy") and g(1)
'''
GOOD, BAD = "def f(n):\n    return n * 2\n", "def f(n):\n    return n\n"


def test_the_test_file_beside(tmp_path: Path) -> None:
    found = found_in("def f(n): ...\n", beside=BESIDE, folder=tmp_path)
    assert [test.subject for test in found.tests] == [
        "f(1) == 2",
        "f(2) == 4",
        "test_helper",
        "test_rows(x=1, y=2)",
        "test_rows(x=2, y=4)",
        "test_raises",
        "TestIt.test_method",
        "Case.test_unit",
    ]
    assert all(test.place.uri.endswith("test_mod.py") for test in found.tests)
    assert found.tests[0].place.first == 17
    assert passes(GOOD, [test.code for test in found.tests]) == [True] * 8
    assert passes(BAD, [test.code for test in found.tests]) == [False] * 8
    assert reasons(found) == {
        "Skipped.test_unit": "its class is decorated with @unittest.skip('later')",
        "TestBased.test_based": "its class has the base class TestIt",
        "TestSetUp.test_set_up": "its class has setup_method",
        "test_fixture": "it needs the fixture tmp_path",
        "test_async": "it is asynchronous",
        "test_skipped": "its decorator @pytest.mark.skip is not understood",
        "test_computed_rows": "its parametrize is not plain: names and rows of values",
        "test_own_exception": "it gives `raises` more than a builtin exception",
        "test_monkey": "it needs pytest's importorskip",
    }


def test_a_test_file_that_does_not_import_the_module_is_not_its(tmp_path: Path) -> None:
    other = "from other import f\n\n\ndef test_f():\n    assert f(1) == 2\n"
    assert found_in("def f(n): ...\n", beside=other, folder=tmp_path) == Found()
    own = "import mod\n\n\ndef f(n): return n\n\n\ndef test_f():\n    assert f(1) == 2\n"
    assert found_in("def f(n): ...\n", beside=own, folder=tmp_path) == Found()
    assert found_in("def f(n): ...\n", beside="def broken(:\n", folder=tmp_path) == Found()


def test_test_functions_of_the_same_file_get_the_rest_of_it_from_the_program() -> None:
    text = (
        "import pytest\n\nCONSTANT = 2\n\n\ndef f(n): ...\n\n\ndef check(n):\n    assert f(n) == CONSTANT * n\n\n\n"
        "def test_check():\n    check(3)\n\n\ndef test_raises():\n    with pytest.raises(TypeError):\n        f(None)\n"
    )
    found = found_in(text)
    assert [test.subject for test in found.tests] == ["test_check", "test_raises"]
    assert "def check" not in found.tests[0].code
    assert "class pytest" in found.tests[1].code


def test_many_tests_are_not_all_sent_and_equal_ones_once() -> None:
    lines = "".join(f"assert f({n}) == {n}\n" for n in range(MOST_TESTS + 2)) + "assert f(1) == 1\n"
    found = found_in(f"def f(n): ...\n\n\n{lines}")
    assert len(found.tests) == MOST_TESTS
    assert set(reasons(found).values()) == {f"only {MOST_TESTS} tests are sent"}
    assert len(found.left_out) == 2


def test_examples_run_after_those_before_them() -> None:
    text = 'def f():\n    """Counts.\n\n    >>> f()\n    1\n    >>> f()\n    2\n    """\n'
    found = found_in(text)
    assert shown(found) == ["assert f() == 1", "assert f() == 2"]
    program = "n = 0\n\n\ndef f():\n    global n\n    n += 1\n    return n\n"
    assert passes(program, [test.code for test in found.tests]) == [True, True]
