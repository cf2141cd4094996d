"""Reports of another server: from proto to domain, the way back of `report_out`."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import msgspec
from thresher.v1 import verdict_pb2

from engine.serving.report_out import EVIDENCE, VERDICTS, telling_test
from executor.types import Program
from executor.verdict import Evidence, LoweredLimit, Report, TestReport, Verdict

_VERDICTS = {number: word for word, number in VERDICTS.items()}
_EVIDENCE = {number: word for word, number in EVIDENCE.items()}
# The protocol's own bound of a Duration, 10,000 years: beyond it a report could not be told on.
_LONGEST = 315_576_000_000


def report_in(message: verdict_pb2.ExecutionReport, program: Program, positions: Sequence[int]) -> Report:
    """The report of `program`. Only the test that tells most has output: no more is sent.

    `positions` are those of its tests, ascending, in the list that the message counts by.

    Raises ValueError for a report that cannot be one of this program, or that says what this version does not know.
    """
    tests = tuple(test_report_in(result, program, positions) for result in message.results)
    telling = telling_test(tests)
    if telling is not None:
        told = msgspec.structs.replace(telling, stdout=message.stdout, stderr=message.stderr)
        tests = tuple(told if test is telling else test for test in tests)
    usage = message.usage
    return Report(
        verdict=_verdict_in(message.verdict),
        tests=tests,
        tests_total=message.tests_total,
        detail=message.detail,
        queue_seconds=_seconds(usage.queue_time, "usage.queue_time"),
        startup_seconds=_seconds(usage.startup_time, "usage.startup_time"),
        wall_seconds=_seconds(usage.wall_time, "usage.wall_time"),
        cpu_seconds=_seconds(usage.cpu_time, "usage.cpu_time"),
        peak_memory_bytes=usage.max_rss_bytes if usage.HasField("max_rss_bytes") else None,
        weaknesses=tuple(message.weaknesses),
        lowered_limits=tuple(limit_in(lowered, program, positions) for lowered in message.lowered_limits),
    )


def test_report_in(message: verdict_pb2.TestResult, program: Program, positions: Sequence[int]) -> TestReport:
    """One test of `program`. Raises ValueError as `report_in` does."""
    index = _test_index_in(message.test_index, program, positions)
    return TestReport(
        index=index,
        name=program.tests[index].name,
        verdict=_verdict_in(message.verdict),
        message=message.message,
        wall_seconds=_seconds(message.duration, "results.duration"),
        cpu_seconds=_seconds(message.cpu_time, "results.cpu_time"),
        evidence=_evidence_in(message.evidence),
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        signal=message.term_signal if message.HasField("term_signal") else None,
    )


def limit_in(message: verdict_pb2.LoweredLimit, program: Program, positions: Sequence[int]) -> LoweredLimit:
    """A limit that was lowered. Raises ValueError as `report_in` does."""
    return LoweredLimit(
        limit=message.limit,
        asked=message.asked,
        applied=message.applied,
        test_index=_test_index_in(message.test_index, program, positions) if message.HasField("test_index") else None,
    )


def _test_index_in(index: int, program: Program, positions: Sequence[int]) -> int:
    found = bisect_left(positions, index)
    if found == len(positions) or positions[found] != index:
        raise ValueError(f"test_index: {index} is none of its {len(program.tests)} tests")
    return found


def _verdict_in(number: verdict_pb2.Verdict.ValueType) -> Verdict:
    if number not in _VERDICTS:
        raise ValueError(f"verdict: {number} is not known here; is that server newer than this one?")
    return _VERDICTS[number]


def _evidence_in(number: verdict_pb2.Evidence.ValueType) -> Evidence | None:
    if number not in _EVIDENCE:
        raise ValueError(f"evidence: {number} is not known here; is that server newer than this one?")
    return _EVIDENCE[number]


def _seconds(duration: Any, field: str) -> float:
    if not 0 <= duration.seconds <= _LONGEST or not 0 <= duration.nanos < 1_000_000_000:
        raise ValueError(f"{field}: is no time that something can have taken")
    return duration.seconds + duration.nanos / 1e9
