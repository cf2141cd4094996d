"""What the executor says about a program: verdicts, evidence and reports."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """Outcome of one program, or of one test."""

    PASSED = "passed"
    WRONG_ANSWER = "wrong_answer"
    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    TIME_LIMIT = "time_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    SANDBOX_VIOLATION = "sandbox_violation"
    SKIPPED = "skipped"
    SANDBOX_FAILURE = "sandbox_failure"
    """The sandbox's fault; never counts against the candidate."""


class Evidence(StrEnum):
    """How far a pass can be trusted: where the comparison was made. Strongest first."""

    STDOUT = "stdout"
    """The host compared the bytes that the program printed."""
    VALUES = "values"
    """The host compared plain values that the call returned."""
    JUDGE = "judge"
    """The asserts ran in a second jail that calls the candidate by proxy, or a special judge there read its output."""
    IN_PROCESS = "in_process"
    """The asserts ran inside the candidate's process: a pass can be forged."""


class CallReport(msgspec.Struct, frozen=True):
    """What happened to one call of a CallsTest. `cpu_seconds` is as the host saw it: neighbours may share it."""

    verdict: Verdict
    cpu_seconds: float = 0.0
    value: bytes = b""
    """What it returned, as it came (`executor.guest.plain.decode` may refuse it), where the test compares nothing."""


class TestReport(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one test. Times are in seconds."""

    __test__ = False  # not a pytest class

    index: int
    name: str = ""
    verdict: Verdict
    message: str = ""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    evidence: Evidence | None = None
    exit_code: int | None = None
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    calls: tuple[CallReport, ...] = ()
    """CallsTest only: each call that was made, in order."""


class LoweredLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that is more than a server allows: `applied` held instead. Seconds, bytes, or a number of processes.

    `limit` is its name in the protocol; `test_index` None stands for the tests without limits of their own.
    """

    limit: str
    asked: float
    applied: float
    test_index: int | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one program. Times are in seconds, memory in bytes.

    `verdict` is PASSED only if every test passed; otherwise it is that of the first test that did not.
    `weaknesses` names each guarantee that this machine's sandbox did not give. An executor keeps to the limits of the
    program as they are; `lowered_limits` is for servers, which have maxima.
    """

    verdict: Verdict
    tests: tuple[TestReport, ...] = ()
    tests_total: int = 0
    detail: str = ""
    queue_seconds: float = 0.0
    startup_seconds: float = 0.0
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    weaknesses: tuple[str, ...] = ()
    lowered_limits: tuple[LoweredLimit, ...] = ()

    @property
    def tests_passed(self) -> int:
        """Number of tests with the verdict PASSED."""
        return sum(1 for test in self.tests if test.verdict is Verdict.PASSED)

    @property
    def evidence(self) -> Evidence | None:
        """The weakest evidence among the tests that ran; None if none did."""
        order = list(Evidence)
        found = [order.index(test.evidence) for test in self.tests if test.evidence is not None]
        return order[max(found)] if found else None
