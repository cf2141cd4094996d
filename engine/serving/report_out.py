"""Verdicts and reports: from domain to proto."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from google.protobuf.duration_pb2 import Duration
from thresher.v1 import verdict_pb2

from engine.serving.limits import lowered_out
from executor.verdict import Evidence, Report, TestReport, Verdict

VERDICTS = {
    Verdict.PASSED: verdict_pb2.VERDICT_PASSED,
    Verdict.WRONG_ANSWER: verdict_pb2.VERDICT_WRONG_ANSWER,
    Verdict.COMPILE_ERROR: verdict_pb2.VERDICT_COMPILE_ERROR,
    Verdict.RUNTIME_ERROR: verdict_pb2.VERDICT_RUNTIME_ERROR,
    Verdict.TIME_LIMIT: verdict_pb2.VERDICT_TIME_LIMIT,
    Verdict.MEMORY_LIMIT: verdict_pb2.VERDICT_MEMORY_LIMIT,
    Verdict.OUTPUT_LIMIT: verdict_pb2.VERDICT_OUTPUT_LIMIT,
    Verdict.SANDBOX_VIOLATION: verdict_pb2.VERDICT_SANDBOX_VIOLATION,
    Verdict.SKIPPED: verdict_pb2.VERDICT_SKIPPED,
    Verdict.SANDBOX_FAILURE: verdict_pb2.VERDICT_SANDBOX_FAILURE,
}
EVIDENCE = {
    None: verdict_pb2.EVIDENCE_UNSPECIFIED,
    Evidence.STDOUT: verdict_pb2.EVIDENCE_STDOUT,
    Evidence.VALUES: verdict_pb2.EVIDENCE_VALUES,
    Evidence.JUDGE: verdict_pb2.EVIDENCE_JUDGE,
    Evidence.IN_PROCESS: verdict_pb2.EVIDENCE_IN_PROCESS,
}
"""Both tables hold every word once, so that `report_in` can turn them round."""


@dataclass(frozen=True, slots=True)
class TestPlaces:
    """The tests a report speaks of: their positions in the caller's list and their weights, by `TestReport.index`."""

    __test__ = False  # not a pytest class

    positions: tuple[int, ...]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, tests: Sequence[tuple[int, float]]) -> Self:
        """Places from (position, weight) pairs."""
        return cls(tuple(position for position, _ in tests), tuple(weight for _, weight in tests))


def duration_out(seconds: float) -> Duration:
    """A duration; a clock that ran backwards gives zero."""
    duration = Duration()
    duration.FromNanoseconds(max(0, round(seconds * 1e9)))
    return duration


def result_out(test: TestReport, places: TestPlaces, *, hidden: bool = False) -> verdict_pb2.TestResult:
    """One test's result. What a hidden test said is not quoted."""
    return verdict_pb2.TestResult(
        test_index=places.positions[test.index],
        name=test.name,
        verdict=VERDICTS[test.verdict],
        message="" if hidden else test.message,
        duration=duration_out(test.wall_seconds),
        cpu_time=duration_out(test.cpu_seconds),
        evidence=EVIDENCE[test.evidence],
        exit_code=test.exit_code,
        term_signal=test.signal,
    )


def telling_test(tests: Sequence[TestReport]) -> TestReport | None:
    """The test whose output is told: the first that did not pass, else the last one; None if none ran."""
    ran = [test for test in tests if test.verdict is not Verdict.SKIPPED]
    return next((test for test in ran if test.verdict is not Verdict.PASSED), ran[-1] if ran else None)


def report_out(report: Report, places: TestPlaces, *, hidden: bool = False) -> verdict_pb2.ExecutionReport:
    """One program's report.

    Output, exit code and signal are those of the first test that did not pass, or of the last one.
    """
    total = sum(places.weights)
    passed = sum(places.weights[test.index] for test in report.tests if test.verdict is Verdict.PASSED)
    ran = sum(1 for test in report.tests if test.verdict is not Verdict.SKIPPED)
    telling = telling_test(report.tests)
    message = verdict_pb2.ExecutionReport(
        verdict=VERDICTS[report.verdict],
        tests_passed=report.tests_passed,
        tests_run=ran,
        tests_total=report.tests_total,
        score=passed / total if total else 0.0,
        results=[result_out(test, places, hidden=hidden) for test in report.tests],
        detail="" if hidden else report.detail,
        usage=verdict_pb2.ResourceUsage(
            queue_time=duration_out(report.queue_seconds),
            startup_time=duration_out(report.startup_seconds),
            wall_time=duration_out(report.wall_seconds),
            cpu_time=duration_out(report.cpu_seconds),
            max_rss_bytes=report.peak_memory_bytes,
        ),
        evidence=EVIDENCE[report.evidence],
        weaknesses=report.weaknesses,
        lowered_limits=lowered_out(report.lowered_limits, places.positions),
    )
    if telling is not None and not hidden:
        message.stdout = telling.stdout
        message.stderr = telling.stderr
        if telling.exit_code is not None:
            message.exit_code = telling.exit_code
        if telling.signal is not None:
            message.term_signal = telling.signal
    return message
