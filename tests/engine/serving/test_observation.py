"""What a running front shows: a live scrape, and logs that name the call but never its program."""

import io
import json
import urllib.request

import pytest
from thresher.v1 import execution_service_pb2, problem_pb2

from engine.config import LogFormat, LogLevel
from engine.logs import configure_logs
from engine.solving.errors import InvalidRequest
from tests.support.prometheus import needs_prometheus, promtool
from tests.support.scripted_solver import ScriptedSolver, accepted, passing_script
from tests.support.served import once_request, refused, serving, spec, until

METRICS_ON = {"metrics_listen": "127.0.0.1:0"}
SECRET = "s3cret"


def scrape(port: int | None, accept: str = "text/plain") -> tuple[str, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.headers["Content-Type"], response.read()


async def test_a_scrape_has_our_series_in_both_formats() -> None:
    async with serving(serving={**METRICS_ON, "listen": ()}) as served:
        port = served.front.metrics_port
        await until(lambda: served.metric("thresher_event_loop_lag_seconds_count") > 0)
        kind, text = scrape(port)
        open_kind, open_text = scrape(port, "application/openmetrics-text; version=1.0.0")
    assert kind.startswith("text/plain")
    assert b"thresher_event_loop_lag_seconds_bucket" in text
    assert open_kind.startswith("application/openmetrics-text")
    assert open_text.endswith(b"# EOF\n")


async def test_the_endpoint_is_off_unless_asked_for_and_closes_with_the_server() -> None:
    async with serving() as served:
        assert served.front.metrics_port is None
    async with serving(serving={**METRICS_ON, "listen": ()}) as served:
        port = served.front.metrics_port
    with pytest.raises(OSError, match="refused"):
        scrape(port)


@needs_prometheus
async def test_promtool_finds_nothing_to_say_on_a_live_scrape() -> None:
    async with serving(serving={**METRICS_ON, "listen": ()}) as served:
        await until(lambda: served.metric("thresher_event_loop_lag_seconds_count") > 0)
        _, text = scrape(served.front.metrics_port)
    assert promtool("check", "metrics", given=text) == (0, "")


async def test_logs_name_the_call_and_never_its_program() -> None:
    stream = io.StringIO()
    configure_logs(LogLevel.INFO, LogFormat.JSON, stream)
    request = once_request(request_id="call-1")
    request.spec.problem.problem_id = "MBPP/3"
    request.spec.problem.completion.text = f"def {SECRET}():"
    request.spec.problem.setup_code = f"import {SECRET}"
    request.spec.problem.tests[0].snippet.code = f"assert {SECRET}() == 1"
    program = execution_service_pb2.Program(code=f"def {SECRET}(): pass", entry_point="f", tests=spec().problem.tests)
    solver = ScriptedSolver()
    async with serving(solver) as served:
        await served.synthesis.SolveOnce(request)
        await served.execution.Execute(execution_service_pb2.ExecuteRequest(program=program))
        solver.script = lambda spec: [accepted(spec), RuntimeError("broken")]
        request.spec.request_id = "call-2"
        await refused(served.synthesis.SolveOnce(request))
        solver.script = lambda spec: [InvalidRequest("spec.problem", "is odd")]
        await refused(served.synthesis.SolveOnce(request))
        solver.script = passing_script
        request.spec.request_id = "call-3"
        request.spec.problem.tests[0].CopyFrom(problem_pb2.Test(call=problem_pb2.CallTest(args_json=f"[{SECRET}")))
        await refused(served.synthesis.SolveOnce(request))
    text = stream.getvalue()
    assert SECRET not in text
    calls = [line for line in map(json.loads, text.splitlines()) if line["event"] == "call"]
    assert [line["status"] for line in calls] == ["OK", "OK", "INTERNAL", "INVALID_ARGUMENT", "INVALID_ARGUMENT"]
    assert calls[0]["request_id"] == "call-1"
    assert calls[0]["problem_id"] == "MBPP/3"
    assert len(calls[1]["request_id"]) == 32
    failed = next(line for line in map(json.loads, text.splitlines()) if line["event"] == "call failed")
    assert failed["request_id"] == "call-2"
