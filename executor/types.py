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
    """Calls only: sequences compared as multisets."""
    TOKENS = "tokens"
    """Stdio only: the same white-space separated tokens."""
    LINES = "lines"
    """Stdio only: equal lines; trailing blanks and the final newline are ignored."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one test run. Seconds and bytes.

    The CPU limit decides; the wall limit only ends what does not use its CPU. Absent, it is 3 x cpu_seconds + 1, so a
    loaded machine does not change a verdict.
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
    """The program reads `stdin` and must print `expected_stdout` and exit with status 0."""

    stdin: bytes = b""
    expected_stdout: bytes = b""
    comparison: Comparison = Comparison.LINES
    rel_tol: float = 1e-9
    abs_tol: float = 0.0
    argv: tuple[str, ...] = ()
    name: str = ""
    weight: float = 1.0
    limits: Limits | None = None


Test = SnippetTest | CallTest | StdioTest


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program and what it must do.

    `setup_code` runs in the program's own namespace after it and before the tests (MBPP test_setup_code, which may use
    the program's classes); its import statements also run before the program (MBPP test_imports, which the program may
    rely on). `run_all` asks for all tests; otherwise the first failing test ends the run.
    """

    code: str
    tests: tuple[Test, ...]
    entry_point: str | None = None
    setup_code: str = ""
    limits: Limits = Limits()
    run_all: bool = False
    language: str = "python"
    allow_in_process: bool = False
    """Run a test that no other way can judge inside the candidate's process, where a pass can be forged."""
