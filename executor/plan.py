"""What to do for each test: decided on the host before a jail is spent, and once for all candidates of a problem."""

import ast
import functools
import json
from dataclasses import dataclass
from typing import cast

from executor import apps
from executor.asserts import Checks, Compiler, Expression, NotLiteral
from executor.calls import CallsPlan, plan_calls
from executor.errors import InvalidProgram, UnsupportedLanguage
from executor.guest.plain import PlainError, encode
from executor.languages import LANGUAGES, PYTHON
from executor.snippet import JudgeCode, Setup, read_setup, read_snippet
from executor.types import CallsTest, CallTest, Comparison, Limits, Program, SnippetTest, StdioTest, Test

MEMORY_LEAST = 16 << 20
_CACHED_PLANS = 2048


@dataclass(frozen=True, slots=True)
class CallPlan:
    """One call whose value, or exception, is compared with what JSON says."""

    test: CallTest
    call: Expression
    expected: object


@dataclass(frozen=True, slots=True)
class Planned:
    """A test and the way to judge it."""

    test: Test
    way: Checks | JudgeCode | CallPlan | CallsPlan | StdioTest
    limits: Limits


def plan_program(program: Program, tests_max: int) -> tuple[Setup, tuple[Planned, ...]]:
    """Plan all tests. Raises InvalidProgram, which names the field; UnsupportedLanguage for what cannot be run here."""
    if program.language != PYTHON:
        _check_other_language(program)
    if not program.tests:
        raise InvalidProgram("tests: at least one is needed")
    if len(program.tests) > tests_max:
        raise InvalidProgram(f"tests: {len(program.tests)} are more than {tests_max}; split them")
    _check_limits(program.limits, "limits")
    setup = _setup(program.setup_code)
    planned: list[Planned] = []
    for index, test in enumerate(program.tests):
        if test.limits is not None:
            _check_limits(test.limits, f"tests[{index}].limits")
        try:
            # Its plans have a small cache of their own: expected values of hundreds of MB must not stay in memory.
            way = (
                plan_calls(test, _function(test.function))
                if isinstance(test, CallsTest)
                else _way(test, program.entry_point, program.setup_code)
            )
        except InvalidProgram as error:
            raise InvalidProgram(f"tests[{index}]: {error}") from None
        planned.append(Planned(test, way, test.limits or program.limits))
    return setup, tuple(planned)


def _check_other_language(program: Program) -> None:
    language = LANGUAGES.get(program.language)
    if language is None:
        known = ", ".join((PYTHON, *LANGUAGES))
        raise UnsupportedLanguage(f"language: {program.language!r} is not supported; there are {known}")
    if missing := language.missing():
        raise UnsupportedLanguage(
            f"language: {language.name} needs {', '.join(missing)}, which this machine lacks: {language.install}"
        )
    for index, test in enumerate(program.tests):
        if not isinstance(test, StdioTest):
            raise InvalidProgram(f"tests[{index}]: {language.name} programs take stdio tests only; others need Python")
    for field in ("entry_point", "setup_code", "allow_in_process"):
        if getattr(program, field):
            raise InvalidProgram(f"{field}: has no meaning for a {language.name} program; leave it out")


def _check_limits(limits: Limits, field: str) -> None:
    if not 0 < limits.cpu_seconds <= 3600:
        raise InvalidProgram(f"{field}.cpu_seconds: {limits.cpu_seconds} is not in (0, 3600]")
    if limits.effective_wall_seconds <= 0:
        raise InvalidProgram(f"{field}.wall_seconds: {limits.wall_seconds} is not positive")
    if limits.memory_bytes < MEMORY_LEAST:
        raise InvalidProgram(f"{field}.memory_bytes: {limits.memory_bytes} is below {MEMORY_LEAST}, less than Python")
    if not 0 < limits.output_bytes <= 64 << 20:
        raise InvalidProgram(f"{field}.output_bytes: {limits.output_bytes} is not in (0, {64 << 20}]")
    if not 0 < limits.processes <= 4096:
        raise InvalidProgram(f"{field}.processes: {limits.processes} is not in (0, 4096]")


@functools.lru_cache(maxsize=_CACHED_PLANS)
def _setup(code: str) -> Setup:
    return read_setup(code)


@functools.lru_cache(maxsize=_CACHED_PLANS)
def _way(
    test: SnippetTest | CallTest | StdioTest, entry_point: str | None, setup_code: str
) -> Checks | JudgeCode | CallPlan | StdioTest:
    if isinstance(test, SnippetTest):
        way = read_snippet(test.code, entry_point, _setup(setup_code))
        if isinstance(way, Checks):
            for call in way.calls:
                _require_carried(call, "test code")
        return way
    if isinstance(test, CallTest):
        return _plan_call(test)
    return _plan_stdio(test)


def _plan_stdio(test: StdioTest) -> StdioTest:
    if (test.comparison is Comparison.JUDGE) != bool(test.judge):
        raise InvalidProgram("judge: set it together with the comparison judge, and only then")
    if test.judge and "judge" not in read_setup(test.judge, "judge").bound:
        raise InvalidProgram("judge: it defines no judge; take def judge(stdin, expected, output): ... return True")
    return test


def _plan_call(test: CallTest) -> CallPlan:
    if test.comparison in (Comparison.TOKENS, Comparison.LINES, Comparison.JUDGE):
        raise InvalidProgram(f"comparison: {test.comparison} is for stdio tests; take exact, approx, unordered or apps")
    if (test.expected_json is None) == (test.expected_exception is None):
        raise InvalidProgram("set exactly one of expected_json and expected_exception")
    arguments = _json(test.args_json, "args_json")
    if not isinstance(arguments, list):
        raise InvalidProgram(f"args_json: a JSON array is needed, not {test.args_json[:60]!r}")
    keywords = _json(test.kwargs_json, "kwargs_json")
    if not isinstance(keywords, dict):
        raise InvalidProgram(f"kwargs_json: a JSON object is needed, not {test.kwargs_json[:60]!r}")
    expected = None if test.expected_json is None else _json(test.expected_json, "expected_json")
    given = cast("list[object]", arguments)
    if test.comparison is Comparison.APPS:
        given = apps.arguments(given)
    positional: list[Expression] = [("lit", item) for item in given]
    named: dict[str, Expression] = {key: ("lit", item) for key, item in cast("dict[str, object]", keywords).items()}
    call = ("call", _function(test.function), positional, named)
    _require_carried(call, "args_json and kwargs_json")
    _require_carried(expected, "expected_json")
    return CallPlan(test, call, expected)


def _require_carried(value: object, field: str) -> None:
    try:
        encode(value)
    except PlainError as error:
        raise InvalidProgram(f"{field}: {error}") from None


def _json(text: str, field: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidProgram(f"{field}: {error}") from None


def _function(path: str) -> Expression:
    try:
        node = ast.parse(path.strip(), mode="eval").body
        if not isinstance(node, ast.Name | ast.Attribute):
            raise NotLiteral(type(node).__name__)
        function = Compiler(frozenset()).remote(node)
        encode(function)
        return function
    except (PlainError, SyntaxError, ValueError, RecursionError, NotLiteral):
        raise InvalidProgram(f"function: {path!r} is no name; take one like solve, or Solution().solve") from None
