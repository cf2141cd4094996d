"""Reading tests: what is decided by value, with Python's own meaning, and what has to go to a judge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.asserts import CandidateRaised, Checks
from executor.errors import InvalidProgram
from executor.guest.program import Answers
from executor.plan import plan_program
from executor.snippet import JudgeCode, Setup, read_setup, read_snippet
from executor.types import CallsTest, CallTest, Comparison, Program, SnippetTest, Test

NOTHING = read_setup("")
PROGRAM = """
import math
PI = 3.14
def f(*args, **kwargs):
    return args[0] if len(args) == 1 and not kwargs else (args, kwargs)
def none(x): return None
def boom(x): raise ValueError(x)
def gen(n):
    yield from range(n)
class Solution:
    def double(self, x): return 2 * x
"""


class NoWire:
    """Answers evaluates without speaking here."""


def evaluate(code: str, *, entry_point: str | None = None, setup: Setup = NOTHING) -> list[bool]:
    """The checks of `code`, evaluated on values that really crossed the codec."""
    from executor.guest.plain import decode, encode

    way = read_snippet(code, entry_point, setup)
    assert isinstance(way, Checks), way
    namespace: dict[str, object] = {}
    exec(PROGRAM, namespace)  # noqa: S102
    exec(setup.whole, namespace)  # noqa: S102
    answers = Answers(namespace, NoWire(), 1 << 20)  # type: ignore[arg-type]

    def value(index: int) -> object:
        call = decode(encode(way.calls[index]))
        try:
            return decode(encode(answers.evaluate(call)))  # type: ignore[arg-type]
        except ValueError:
            raise CandidateRaised(index) from None

    return [bool(check.condition(value)) or check.bare for check in way.checks]


@pytest.mark.parametrize(
    "code",
    [
        "assert f(2) == 2",
        "assert f(1) == True == 1.0",
        "assert f((1, 2)) != [1, 2]",
        "assert f([1, (2, 3)]) == [1, (2, 3)]",
        "assert f(1, b=2) == ((1,), {'b': 2})",
        "assert f(None) is None and f(0) is not None",
        "assert f(True) is True",
        "assert not f(0)",
        "assert f('x')",
        "assert abs(f(0.1) + 0.2 - 0.3) < 1e-9, 'a message'",
        "import math\nassert math.isclose(f(1/3), 0.333333, rel_tol=1e-3)",
        "assert set(f([1, 2, 2])) == {1, 2}",
        "assert sorted(f({3: 1, 1: 2})) == [1, 3]",
        "assert list(gen(3)) == [0, 1, 2]",
        "assert tuple(sorted(gen(3), reverse=True)) == (2, 1, 0)",
        "assert len(f([1, 2])) == 2 and f([1, 2])[1] == 2 and f([1, 2])[:1] == [1]",
        "assert f(-2**31) == -2147483648",
        "assert f('a' * 5) == 'aaaaa' == f(f('aaaaa'))",
        "assert f(float('inf')) == float('inf')",
        "assert 3 in f([1, 2, 3]) and 4 not in f([1, 2, 3])",
        "assert 1 < f(2) <= 2 < 3",
        "assert isinstance(f(2), int) and type(f('')) is str and isinstance(f(1.0), (int, float))",
        "assert f(1) == 2 or f(1) == 1",
        "assert f(1) == 1 or boom(1) == 1",
        "assert PI == 3.14",
        "assert Solution().double(4) == 8",
        "assert f('Ab').lower() == 'ab'",
        "assert round(f(2.567), 1) == 2.6",
        "x = 5\nassert f(x) == 5",
        "'a docstring'\npass\nassert True",
        "f(1)",
        "METADATA = {'a': [1]}\ndef check(g):\n    'doc'\n    assert g(3) == 3\n    assert True, 'x'\ncheck(f)",
        "assert f([f(1), (f(2),)]) == [1, (2,)]",
    ],
)
def test_by_value_means_what_python_means(code: str) -> None:
    namespace: dict[str, object] = {}
    exec(PROGRAM, namespace)  # noqa: S102
    exec(code, namespace)  # noqa: S102 (Python agrees that it holds)
    assert all(evaluate(code))


@pytest.mark.parametrize(
    "code",
    [
        "assert f(2) == 3",
        "assert f((1, 2)) == [1, 2]",
        "assert none(1) == 0",
        "assert none(1)",
        "assert f(1) is True",
        "assert f(2) != 2",
        "assert f(1.0) is None",
        "assert gen(2) == [0, 1]",
        "def check(g):\n    assert g(3) == 3\n    assert g(4) == 3\ncheck(f)",
    ],
)
def test_what_does_not_hold_fails(code: str) -> None:
    namespace: dict[str, object] = {}
    exec(PROGRAM, namespace)  # noqa: S102
    with pytest.raises(AssertionError):
        exec(code, namespace)  # noqa: S102
    assert not all(evaluate(code))


LITERALS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.0, 1.0, -0.5]) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)


@given(LITERALS, LITERALS, st.sampled_from(["==", "!="]))
def test_equality_is_pythons(left: object, right: object, operator: str) -> None:
    expected = (left == right) if operator == "==" else (left != right)
    assert evaluate(f"assert f({left!r}) {operator} {right!r}") == [expected]


@pytest.mark.parametrize(
    "code",
    [
        "for i in range(3):\n    assert f(i) == i",
        "x = [1]\nf(x)\nassert x == [2]",
        "assert f(lambda x: x) == 1",
        "assert f(*[1, 2]) == 1",
        "assert [f(i) for i in (1, 2)] == [1, 2]",
        "import random\nassert f(random.random()) < 1",
        "try:\n    f(1)\nexcept ValueError:\n    pass",
        "assert f(1) is f(1)",
        "def helper(x):\n    return x\nassert f(helper(1)) == 1",
        "from math import isclose\nassert isclose(f(1), 1)",
        "assert '%d' % f(1) == '1'",
        "with open('x') as file:\n    assert f(file.read()) == ''",
    ],
)
def test_the_rest_goes_to_a_judge(code: str) -> None:
    way = read_snippet(code, None, NOTHING)
    assert isinstance(way, JudgeCode)
    assert "f" in way.names
    assert not {"range", "random", "isclose", "helper", "x", "i", "open"} & set(way.names)


def test_an_uncalled_check_is_called_with_the_entry_point() -> None:
    code = "def check(candidate):\n    for i in range(3):\n        assert candidate(i) == i\n"
    way = read_snippet(code, "f", NOTHING)
    assert isinstance(way, JudgeCode)
    assert way.code.rstrip().endswith("check(f)") and way.names == ("f",)
    called = read_snippet(code + "check(f)\n", "f", NOTHING)
    assert isinstance(called, JudgeCode)
    assert called.code.count("check(f)") == 1
    with pytest.raises(InvalidProgram, match="set entry_point"):
        read_snippet(code, None, NOTHING)


def test_names_of_builtins_are_the_candidates_where_it_is_said_or_clear() -> None:
    way = read_snippet("assert sorted([3, 1]) == [1, 3]", None, NOTHING)
    assert isinstance(way, Checks)
    assert way.calls == (("call", ("name", "sorted"), [("lit", [3, 1])], {}),)
    way = read_snippet("assert len(sum([1, 2])) == 2", "sum", NOTHING)
    assert isinstance(way, Checks)
    assert way.calls == (("call", ("name", "sum"), [("lit", [1, 2])], {}),)


def test_names_of_the_setup_are_evaluated_with_the_candidate() -> None:
    setup = read_setup("import math\nroot = (1, 2)\n")
    assert setup.imports == "import math" and setup.bound == {"math", "root"} and setup.imported == {"math"}
    assert all(evaluate("assert f(root) == (1, 2)", setup=setup))


@pytest.mark.parametrize("code", ["assert f(", "\0", "(" * 5000 + ")" * 5000])
def test_what_is_not_python_is_refused(code: str) -> None:
    with pytest.raises(InvalidProgram, match="is not Python"):
        read_snippet(code, None, NOTHING)
    with pytest.raises(InvalidProgram, match="setup_code"):
        read_setup(code)


def test_what_is_too_deep_for_the_host_is_for_a_judge() -> None:
    way = read_snippet("assert f(1) == " + "1+" * 600 + "1", None, NOTHING)
    assert isinstance(way, JudgeCode) and way.names == ("f",)


DEEP = "[" * 250 + "]" * 250


@pytest.mark.parametrize(
    ("test", "field"),
    [
        (CallTest(function="f", args_json=DEEP, expected_json="1"), "args_json"),
        (CallTest(function="f", expected_json=DEEP, comparison=Comparison.UNORDERED), "expected_json"),
        (CallTest(function="f" + ".a" * 300, expected_json="1"), "function"),
        (CallsTest(function="f" + ".a" * 300, calls=(b"L\0\0\0\0",)), "function"),
        (SnippetTest(code="assert f" + ".a" * 300 + "(1)"), "test code"),
    ],
)
def test_what_is_too_deep_to_carry_is_refused_by_field(test: Test, field: str) -> None:
    with pytest.raises(InvalidProgram, match=field):
        plan_program(Program(code="", tests=(test,)), 10)


@pytest.mark.parametrize("work", ["9**9**9", "1 << 10**9", "'a' * 10**12", "[0] * 10**10", "round(1.5, 10**9)"])
def test_costly_arithmetic_is_refused(work: str) -> None:
    from executor.hostmath import TooMuchWork

    with pytest.raises((TooMuchWork, MemoryError, OverflowError)):
        evaluate(f"assert f(1) == {work}")
