"""Messages as plain data."""

import json

from thresher.client import to_plain
from thresher.v1 import solve_pb2, verdict_pb2


def test_values_are_plain() -> None:
    report = verdict_pb2.ExecutionReport(verdict=verdict_pb2.VERDICT_WRONG_ANSWER, stdout=b"a\xff", tests_total=2)
    report.usage.wall_time.FromMilliseconds(1500)
    report.usage.max_rss_bytes = 1 << 40
    report.results.add(verdict=verdict_pb2.VERDICT_PASSED, evidence=verdict_pb2.EVIDENCE_IN_PROCESS, exit_code=0)
    plain = to_plain(report)
    json.dumps(plain, allow_nan=False)
    assert plain["verdict"] == "wrong_answer"
    assert plain["stdout"] == "a\ufffd"
    assert plain["usage"] == {"wall_time": 1.5, "max_rss_bytes": 1 << 40}
    assert plain["results"][0]["evidence"] == "in_process"
    assert plain["results"][0]["exit_code"] == 0
    assert "term_signal" not in plain["results"][0]
    assert plain["tests_passed"] == 0


def test_a_value_from_a_newer_server_is_its_number() -> None:
    summary = solve_pb2.Summary()
    summary.outcome = 77  # type: ignore[assignment]
    assert to_plain(summary)["outcome"] == "77"


def test_oneofs_show_what_is_set() -> None:
    event = solve_pb2.SolveEvent(sequence=1, accepted=solve_pb2.Accepted(seed=2**63))
    plain = to_plain(event)
    assert plain["accepted"]["seed"] == 2**63
    assert "summary" not in plain
