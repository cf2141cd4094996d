"""What the executor is asked: programs, tests and limits. These travel between processes as msgspec structs."""

from enum import StrEnum

import msgspec


class Comparison(StrEnum):
    """How a result is compared with what the test expects."""

    EXACT = "exact"
    """Calls: equal in type and value. Stdio: equal bytes."""
    APPROX = "approx"
    """Numbers within `rel_tol` or `abs_tol`, recursively (stdio: token by token)."""
    UNORDERED = "unordered"
    """Sequences compared as multisets (stdio: the lines, blank ones apart)."""
    TOKENS = "tokens"
    """Stdio only: the same white-space separated tokens."""
    LINES = "lines"
    """Stdio only: equal lines; trailing blanks and the final newline are ignored."""
    APPS = "apps"
    """As the grader of APPS compares, with its known defect: order and number of tokens and lines get lost."""
    JUDGE = "judge"
    """Stdio only: the test's own `judge` decides."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one test run. Seconds and bytes.

    The CPU limit decides; the wall limit only ends what does not use its CPU. Absent, it is 3 x cpu_seconds + 1. Time
    spent waiting for a core does not count, up to ten times the limit, so a loaded machine does not change a verdict.
    """

    cpu_seconds: float = 3.0
    wall_seconds: float | None = None
    memory_bytes: int = 256 << 20
    output_bytes: int = 1 << 20
    processes: int = 32

    @property
    def effective_wall_seconds(self) -> float:
        """The wall limit in force, in seconds."""
        return 3 * self.cpu_seconds + 1 if self.wall_seconds is None else self.wall_seconds


class SnippetTest(msgspec.Struct, frozen=True, kw_only=True, tag="snippet"):
    """Python run after the program; passes when it raises nothing."""

    code: str
    name: str = ""
    weight: float = 1.0
    limits: Limits | None = None


class CallTest(msgspec.Struct, frozen=True, kw_only=True, tag="call"):
    """`function(*args, **kwargs)` must return the expected value, or raise the expected exception.

    `args_json` is a JSON array, `kwargs_json` a JSON object. Exactly one of `expected_json` and `expected_exception`
    (the class name) is set. JSON arrays equal both lists and tuples.
    """

    function: str
    args_json: str = "[]"
    kwargs_json: str = "{}"
    expected_json: str | None = None
    expected_exception: str | None = None
    comparison: Comparison = Comparison.EXACT
    rel_tol: float = 1e-9
    abs_tol: float = 0.0
    name: str = ""
    weight: float = 1.0
    limits: Limits | None = None


class StdioTest(msgspec.Struct, frozen=True, kw_only=True, tag="stdio"):
    """The program reads `stdin` and must print `expected_stdout` and exit with status 0.

    `judge`, with Comparison.JUDGE and only then, is Python that defines `judge(stdin, expected, output)` over texts:
    True accepts; False, or an AssertionError with a reason, rejects. It runs in a jail of its own. Whatever else it
    does is its own failure (sandbox_failure), never the candidate's.
    """

    stdin: bytes = b""
    expected_stdout: bytes = b""
    comparison: Comparison = Comparison.LINES
    rel_tol: float = 1e-9
    abs_tol: float = 0.0
    judge: str = ""
    argv: tuple[str, ...] = ()
    name: str = ""
    weight: float = 1.0
    limits: Limits | None = None


class Oracle(StrEnum):
    """What a call's value is held against in a CallsTest; `executor.oracles` decides."""

    EQUAL = "equal"
    """The expected value: equal by `==`, or close where there is a tolerance."""
    SET = "set"
    """The same elements, whatever their order, number and container."""
    NOT_NONE = "not_none"
    """The expected value says whether there is to be any value."""
    ANY = "any"
    """Whatever is returned is right."""
    EQUAL_OR_ZERO = "equal_or_zero"
    """The expected value, or 0."""
    ROOT = "root"
    """A root of the polynomial whose coefficients, lowest first, are the argument."""
    SURFACE_AREA = "surface_area"
    """The expected value, or the surface of a square pyramid by its base edge and its own height."""
    DIGIT_DISTANCE = "digit_distance"
    """The expected value, or the sum of the digits' distances of two numbers, the shorter padded by zeros."""


class Rules(StrEnum):
    """The EvalPlus release whose rules of comparison hold."""

    V0_2 = "0.2"
    V0_3 = "0.3"


class CallsTest(msgspec.Struct, frozen=True, kw_only=True, tag="calls"):
    """Many calls of one function in one process, one after the other, compared as EvalPlus compares.

    `calls` holds a list of positional arguments for each call, `expected` the value of each, in the encoding of
    `executor.guest.plain` (`executor.evalplus` makes both). Without `expected` nothing is compared: the report holds
    the values, which is how the expected ones are found. `tolerances` (absolute) and `call_seconds` (CPU time) have one
    entry for each call, or none at all. The first call that fails ends the test, unless `all_calls` is set: then a call
    that ended the process, or was ended, is followed by the next one in a fresh process.
    """

    function: str
    calls: tuple[bytes, ...]
    expected: tuple[bytes, ...] | None = None
    oracle: Oracle = Oracle.EQUAL
    rules: Rules = Rules.V0_3
    tolerances: tuple[float, ...] = ()
    call_seconds: tuple[float, ...] = ()
    all_calls: bool = False
    name: str = ""
    weight: float = 1.0
    limits: Limits | None = None


Test = SnippetTest | CallTest | StdioTest | CallsTest


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program and what it must do.

    `setup_code` runs in the program's own namespace after it and before the tests (MBPP test_setup_code, which may use
    the program's classes); its import statements also run before the program (MBPP test_imports, which the program may
    rely on). `entry_point` is the function that a test's `check(candidate)` is called with. `run_all` asks for all
    tests; otherwise the first failing test ends the run.
    """

    code: str
    tests: tuple[Test, ...]
    entry_point: str | None = None
    setup_code: str = ""
    limits: Limits = Limits()
    run_all: bool = False
    any_order: bool = False
    """Run first the tests that failed most programs with the same tests before. Which failing test ends the run, and so
    the verdict's kind, then depends on what ran before; whether it passes does not."""
    language: str = "python"
    """python, or one of executor.languages for which the machine has the tools: stdio tests only."""
    allow_in_process: bool = False
    """Run a test that no other way can judge inside the candidate's process, where a pass can be forged."""
