"""Spans of solves: from a caller's trace context over real gRPC, through the solver, to a collector. (Those of programs
on other servers: test_spans_elsewhere.py.)"""

import asyncio
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from thresher.client import AsyncClient, ThresherError
from thresher.v1 import problem_pb2, solve_pb2

from engine import tracing
from engine.metrics import Metrics
from tests.support.collector import Collector, Kept, collecting
from tests.support.prometheus import needs_prometheus, scraping
from tests.support.routed import routed
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver
from tests.support.scripted_solver import ScriptedSolver
from tests.support.served import serving, until

PROGRAMS = {
    "secret-easy": {"x = 'PASS hush'\n": 1.0, "x = 'FAIL hush'\n": 2.0},
    "endless": {f"x = '{'z' * 2000}'\n": 1.0, f"y = '{'z' * 2000}'\n": 1.0},
    "slow": {"x = 'SLOW FAIL'\n": 1.0},
    "hopeless": {f"x = 'FAIL {n}'\n": 1.0 for n in range(9)},
}
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
RPC = "thresher.v1.SynthesisService/Solve"


def context(*, kept: bool = True) -> list[tuple[str, str]]:
    """The metadata of a caller whose own spans are kept, or not."""
    return [("traceparent", f"00-{TRACE}-{CALLER}-{'01' if kept else '00'}"), ("tracestate", "vendor=1")]


def asked(name: str, *, k: int = 6, **more: object) -> solve_pb2.SolveSpec:
    problem = problem_pb2.Problem(
        problem_id="p/1",
        completion=problem_pb2.CompletionPrompt(text=name),
        tests=[problem_pb2.Test(snippet=problem_pb2.SnippetTest(code="assert quiet()"))],
    )
    return solve_pb2.SolveSpec(problem=problem, sampling=solve_pb2.SamplingParams(k=k, seed=3), **more)  # type: ignore


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Generator[Collector]:
    """The environment of a server names it."""
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.address)
        yield collector


@dataclass(frozen=True, slots=True)
class Running:
    """A server: a client of it, what its engine draws, and where it shows its metrics."""

    client: AsyncClient
    script: Script
    metrics_port: int | None


def exemplars(text: str) -> dict[str, set[str]]:
    """Of an exposition in OpenMetrics: the traces that samples of a name point to."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.exemplar is not None:
                found.setdefault(sample.name, set()).add(sample.exemplar.labels["trace_id"])
    return found


@asynccontextmanager
async def server(script: Script | None = None, *, metrics: bool = False) -> AsyncGenerator[Running]:
    """A front, a solver and a scheduler, with a client; all spans have been sent once it has ended."""
    script = script or Script(PROGRAMS)
    registry = Metrics()
    solver: Any = scripted_solver(script, FakeExecutor(0.002), rows=16, waiting=8, metrics=registry)
    await solver.start()
    settings = {"metrics_listen": "127.0.0.1:0"} if metrics else {}
    try:
        async with (
            serving(solver, metrics=registry, serving=settings) as served,
            AsyncClient(f"unix:{served.folder}/s") as client,
        ):
            yield Running(client, script, served.front.metrics_port)
            await until(lambda: not solver.load().solves_running and not solver.load().solves_waiting)
    finally:
        await solver.close()


def inside(span: Kept, parent: Kept) -> bool:
    return span.parent == parent.id and parent.start <= span.start <= span.end


async def test_a_solve_is_a_tree_of_spans_below_its_callers(collector: Collector) -> None:
    async with server() as running:
        events = [event async for event in running.client.solve(asked("secret-easy"), timeout=30, metadata=context())]
    summary = events[-1].summary
    assert summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    assert {span.trace for span in collector.spans} == {TRACE}
    assert {span.service for span in collector.spans} == {"thresher"}
    call, solve = collector.one(RPC), collector.one("solve")
    assert (call.kind, call.parent) == ("SERVER", CALLER)
    assert call.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": RPC,
        "rpc.response.status_code": "OK",
    }
    assert inside(solve, call)
    assert solve.attributes["thresher.outcome"] == "solved"
    assert solve.attributes["gen_ai.request.model"] == "scripted"
    assert solve.attributes["gen_ai.usage.output_tokens"] == summary.accounting.generated_tokens
    assert solve.attributes["thresher.candidates_executed"] == summary.accounting.candidates_executed
    assert solve.attributes["thresher.problem_id"] == "p/1"
    queue, prefill = collector.one("queue"), collector.one("prefill")
    assert inside(queue, solve) and inside(prefill, solve)
    assert solve.start <= queue.start <= queue.end == prefill.start <= prefill.end
    candidates = collector.named("candidate")
    assert len(candidates) == summary.accounting.branches_started
    assert all(inside(span, solve) for span in candidates)
    assert prefill.start <= candidates[0].start
    passed = [span for span in candidates if span.attributes["thresher.outcome"] == "passed"]
    assert len(passed) == summary.accounting.candidates_passed
    for candidate in passed:
        (execute,) = collector.below(candidate)
        assert execute.name == "execute" and inside(execute, candidate) and execute.end <= candidate.end
        assert execute.attributes["thresher.verdict"] == "passed"
    assert not any(span.failed for span in collector.spans)


async def test_a_seed_that_no_collector_can_count_to_is_told_in_digits(collector: Collector) -> None:
    spec = asked("secret-easy")
    spec.sampling.seed = 2**64 - 1
    async with server() as running:
        await running.client.solve_once(spec, timeout=30)
    (solve,) = collector.named("solve")
    assert solve.attributes["gen_ai.request.seed"] == str(2**64 - 1)


async def test_no_text_is_in_any_span(collector: Collector) -> None:
    async with server() as running:
        async for _event in running.client.solve(asked("secret-easy"), timeout=30, metadata=context()):
            pass
    sent = b"".join(collector.sent)
    assert collector.spans and not any(word in sent for word in (b"secret", b"hush", b"quiet"))


async def test_a_cancelled_solve_ends_its_spans_and_is_no_failure(collector: Collector) -> None:
    async with server(Script(PROGRAMS, step_seconds=0.01)) as running:
        events = asked("endless", events=solve_pb2.EventOptions(branches=True))
        async with running.client.solve(events, timeout=60, metadata=context()) as stream:
            async for event in stream:
                if event.HasField("branch_started"):
                    break
    solve = collector.one("solve")
    assert solve.attributes["thresher.outcome"] == "cancelled" and not solve.failed
    assert collector.one(RPC).attributes["rpc.response.status_code"] == "CANCELLED"
    candidates = collector.named("candidate")
    assert candidates and all(span.end <= solve.end for span in candidates)
    assert {span.attributes["thresher.outcome"] for span in candidates} == {"cancelled"}


async def test_programs_that_ran_when_the_caller_left_end(collector: Collector) -> None:
    async with (
        server() as running,
        running.client.solve(asked("slow", k=1), timeout=60, metadata=context()) as stream,
    ):
        async for event in stream:
            if event.HasField("candidate_finished"):
                break
        stream.cancel()
    assert collector.one("execute").attributes["thresher.verdict"] == "cancelled"
    assert collector.one("solve").end >= collector.one("execute").end


async def test_a_failure_of_the_engine_is_one_of_the_spans(collector: Collector) -> None:
    async with server() as running:
        running.script.fail = True
        with pytest.raises(ThresherError):
            async for _event in running.client.solve(asked("secret-easy"), timeout=30, metadata=context()):
                pass
    call, solve = collector.one(RPC), collector.one("solve")
    assert solve.failed and solve.attributes["error.type"] == solve.attributes["thresher.outcome"] == "error"
    assert call.failed and call.attributes["error.type"] == "UNAVAILABLE"
    assert collector.one("queue").end <= solve.end


async def test_what_the_caller_got_wrong_is_no_failure_of_the_server(collector: Collector) -> None:
    async with server() as running:
        with pytest.raises(ThresherError):
            async for _event in running.client.solve(asked("secret-easy", k=100_000), timeout=30, metadata=context()):
                pass
    call = collector.one(RPC)
    assert call.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT" and not call.failed
    assert len(collector.spans) == 1


async def test_a_caller_whose_spans_are_not_kept_has_none_here(collector: Collector) -> None:
    async with server() as running:
        async for _event in running.client.solve(asked("secret-easy"), timeout=30, metadata=context(kept=False)):
            pass
    assert not collector.spans


async def test_a_caller_without_a_trace_begins_one(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    async with server() as running:
        await running.client.solve_once(asked("secret-easy"), timeout=30)
        await running.client.load(timeout=30)
    call = collector.one("thresher.v1.SynthesisService/SolveOnce")
    assert (call.parent, call.service) == ("", "mine")
    assert inside(collector.one("solve"), call)


async def test_the_sampler_of_the_environment_decides(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    async with server() as running:
        await running.client.solve_once(asked("secret-easy"), timeout=30)
        async for _event in running.client.solve(asked("secret-easy"), timeout=30, metadata=context()):
            pass
    assert {span.trace for span in collector.spans} == {TRACE}


async def test_spans_of_candidates_are_bounded(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.solving.spans._MOST", 2)
    async with server() as running:
        events = [event async for event in running.client.solve(asked("hopeless", k=9), timeout=30, metadata=context())]
    assert len(collector.named("candidate")) == 2
    left_out = events[-1].summary.accounting.branches_started - 2
    assert collector.one("solve").attributes["thresher.candidates_left_out"] == left_out > 0


async def test_a_tier_elsewhere_goes_on_with_the_trace(collector: Collector) -> None:
    async with routed([("small", ScriptedSolver())]) as over:
        await over.up("small")
        async for _event in over.client.solve(asked("x"), timeout=30, metadata=context()):
            pass
    (solve,) = collector.named("solve")
    assert solve.attributes["gen_ai.request.model"] == "cascade"
    outer, inner = sorted(
        (span for span in collector.named(RPC) if span.kind == "SERVER"), key=lambda span: span.parent != CALLER
    )
    (client,) = (span for span in collector.named(RPC) if span.kind == "CLIENT")
    assert [outer.parent, solve.parent, client.parent, inner.parent] == [CALLER, outer.id, solve.id, client.id]


def scraped(port: int | None, accept: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


@pytest.mark.usefixtures("collector")
async def test_times_of_a_kept_solve_name_its_trace_to_those_who_ask() -> None:
    async with server(metrics=True) as running:
        async for _event in running.client.solve(asked("secret-easy"), timeout=30, metadata=context(kept=False)):
            pass
        assert "trace_id" not in scraped(running.metrics_port, OPENMETRICS)
        async for _event in running.client.solve(asked("secret-easy"), timeout=30, metadata=context()):
            pass
        first_pass = "thresher_time_to_first_pass_seconds_bucket"
        await until(lambda: first_pass in exemplars(scraped(running.metrics_port, OPENMETRICS)))
        assert exemplars(scraped(running.metrics_port, OPENMETRICS))[first_pass] == {TRACE}
        assert "trace_id" not in scraped(running.metrics_port, "text/plain")


@needs_prometheus
@pytest.mark.slow
@pytest.mark.usefixtures("collector")
async def test_a_real_prometheus_keeps_the_exemplar(tmp_path: Path) -> None:
    asks = {"query": "thresher_time_to_first_pass_seconds_bucket", "start": "0", "end": "9999999999"}
    async with server(metrics=True) as running:
        async for _event in running.client.solve(asked("secret-easy"), timeout=30, metadata=context()):
            pass
        target = f"127.0.0.1:{running.metrics_port}"
        with scraping(target, tmp_path, features="exemplar-storage") as prometheus:
            found: list[Any] = []
            async with asyncio.timeout(60):
                while not found:
                    await asyncio.sleep(0.2)
                    found = await asyncio.to_thread(prometheus.get, "query_exemplars", **asks)
    assert {one["labels"]["trace_id"] for series in found for one in series["exemplars"]} == {TRACE}


async def test_a_dead_collector_costs_no_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")  # discard: nobody listens
    monkeypatch.setattr("engine.otel._FLUSH_SECONDS", 0.2)
    async with server() as running:
        answer = await running.client.solve_once(asked("secret-easy"), timeout=30)
    assert answer.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED


def test_a_collector_that_says_nothing_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
        monkeypatch.setattr("engine.otel._FLUSH_SECONDS", 0.2)
        kept = tracing.start_tracing()
        assert kept is not None
        kept.called(f"/{RPC}", {}).end()
        began = time.monotonic()
        kept.close()
        assert time.monotonic() - began < 10


def test_nothing_is_imported_where_spans_are_off() -> None:
    code = (
        "import json, sys; import engine.serving.front, engine.solving.spans; from engine.tracing import start_tracing;"
        "print(json.dumps([start_tracing() is None, [m for m in sys.modules if m.startswith('opentelemetry')]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert json.loads(done.stdout) == [True, []]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999"),
    ],
)
def test_a_variable_that_the_sdk_cannot_read_is_told_and_stops_nothing(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    with structlog.testing.capture_logs() as logs:
        assert tracing.start_tracing() is None
    assert [line["event"] for line in logs] == ["no_spans"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, "pip install 'thresher[otel]'"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "pip install 'thresher[otel]'"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "there are otlp and none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "set it to grpc"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, ""),
        ({}, ""),
    ],
)
def test_what_cannot_be_done_is_told_and_stops_nothing(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    assert tracing.start_tracing() is None
    reasons = [cast(dict[str, str], record.msg)["reason"] for record in caplog.records]
    assert [said in reason for reason in reasons] == ([True] if said else [])
