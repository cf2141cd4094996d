"""A gRPC server that speaks thresher.v1 and does what a test tells it to. Draws and runs nothing."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from thresher.v1 import (
    execution_service_pb2,
    execution_service_pb2_grpc,
    info_service_pb2,
    info_service_pb2_grpc,
    refine_pb2,
    solve_pb2,
    synthesis_service_pb2,
    synthesis_service_pb2_grpc,
    verdict_pb2,
)

WORKERS = "fake-server"
"""How its threads' names begin: a pool makes them when it likes, so a test that counts threads leaves them out."""

PROGRAM = "def add(a, b):\n    return a + b\n"
Event = solve_pb2.SolveEvent


def solved_events() -> list[Event]:
    """Two branches, two candidates, the second one passes."""
    failed = verdict_pb2.ExecutionReport(verdict=verdict_pb2.VERDICT_WRONG_ANSWER, tests_run=1, tests_total=1)
    failed.results.add(verdict=verdict_pb2.VERDICT_WRONG_ANSWER, message="got -1, expected 3")
    passed = verdict_pb2.ExecutionReport(
        verdict=verdict_pb2.VERDICT_PASSED, tests_passed=1, tests_run=1, tests_total=1, score=1.0
    )
    winner = solve_pb2.Candidate(index=1, code=PROGRAM, generated_tokens=12, samples=[1], report=passed)
    return [
        Event(accepted=solve_pb2.Accepted(request_id="r1", model="models/fake", prompt_tokens=40, seed=7)),
        Event(branch_started=solve_pb2.BranchStarted(branch=0, samples=[0, 1, 2, 3], model="models/fake")),
        Event(branch_delta=solve_pb2.BranchDelta(branch=0, text="def add(a, b):\n", tokens=6)),
        Event(branch_started=solve_pb2.BranchStarted(branch=1, parent=0, position=6, samples=[1, 2])),
        Event(branch_ended=solve_pb2.BranchEnded(branch=0, outcome="BRANCH_OUTCOME_FINISHED", candidate=0)),
        Event(
            candidate_finished=solve_pb2.CandidateFinished(
                index=0, branch=0, finish_reason="FINISH_REASON_END_OF_TEXT", generated_tokens=11, samples=[0]
            )
        ),
        Event(samples_joined=solve_pb2.SamplesJoined(index=0, samples=[3])),
        Event(candidate_judged=solve_pb2.CandidateJudged(candidate=solve_pb2.Candidate(index=0, report=failed))),
        Event(
            candidate_finished=solve_pb2.CandidateFinished(
                index=1, branch=1, finish_reason="FINISH_REASON_END_OF_PROGRAM", generated_tokens=12, samples=[1]
            )
        ),
        Event(candidate_judged=solve_pb2.CandidateJudged(candidate=winner)),
        Event(branch_ended=solve_pb2.BranchEnded(branch=1, outcome="BRANCH_OUTCOME_CUT_OFF", generated_tokens=9)),
        Event(
            summary=solve_pb2.Summary(
                outcome="SOLVE_OUTCOME_SOLVED",
                candidates=[winner],
                seed=7,
                accounting=solve_pb2.Accounting(
                    samples_requested=4, generated_tokens=41, rows_computed=30, rows_saved=11, wasted_tokens=9
                ),
            )
        ),
    ]


def unsolved_events() -> list[Event]:
    """Nothing passed."""
    return [
        Event(accepted=solve_pb2.Accepted(request_id="r2", model="models/fake", seed=8)),
        Event(summary=solve_pb2.Summary(outcome="SOLVE_OUTCOME_EXHAUSTED", seed=8)),
    ]


def rich_error(
    code: int, reason: str, message: str, *details: Any, metadata: Mapping[str, str] | None = None
) -> status_pb2.Status:
    """A status with ErrorInfo and more."""
    packed = []
    info = error_details_pb2.ErrorInfo(reason=reason, domain="thresher", metadata=metadata)
    for detail in (info, *details):
        holder = AnyMessage()
        holder.Pack(detail)
        packed.append(holder)
    return status_pb2.Status(code=code, message=message, details=packed)


class FakeServer(
    synthesis_service_pb2_grpc.SynthesisServiceServicer,
    execution_service_pb2_grpc.ExecutionServiceServicer,
    info_service_pb2_grpc.InfoServiceServicer,
):
    """Listens on a Unix socket (and on loopback TCP when asked). Set the attributes before calling."""

    def __init__(self, socket: Path | None = None) -> None:
        self.events: Callable[[], list[Event]] = solved_events
        self.error: status_pb2.Status | None = None
        self.errors_left = 10**9  # how often `error` is sent before calls go well
        self.hang = False  # after a solve's first event, and before a report, wait until the call ends
        self.token: str | None = None
        self.report = verdict_pb2.ExecutionReport(verdict=verdict_pb2.VERDICT_PASSED, tests_passed=1, tests_total=1)
        self.specs: list[solve_pb2.SolveSpec] = []
        self.programs: list[execution_service_pb2.Program] = []
        self.said: list[synthesis_service_pb2.RefineRequest] = []  # in sessions, beside what begins a turn
        self.transcript = refine_pb2.Transcript(session="sessions/fake")
        self.cancelled = threading.Event()
        self.called = threading.Event()  # ExecuteMany has a program
        self.calls = 0
        self.clients: list[Any] = []  # whom each call was for, as it said itself
        self.most_held = 0
        limits = [("grpc.max_receive_message_length", 16 << 20), ("grpc.max_send_message_length", 16 << 20)]
        self._server = grpc.server(ThreadPoolExecutor(8, WORKERS), options=[*limits, ("grpc.so_reuseport", 0)])
        synthesis_service_pb2_grpc.add_SynthesisServiceServicer_to_server(self, self._server)
        execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server(self, self._server)
        info_service_pb2_grpc.add_InfoServiceServicer_to_server(self, self._server)
        self.health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        if socket is None:
            self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        else:
            self.address = f"unix:{socket}"
            self._server.add_insecure_port(self.address)

    def set_serving(self, serving: bool) -> None:
        """What the health service says of the whole server."""
        status = health_pb2.HealthCheckResponse
        self.health.set("", status.SERVING if serving else status.NOT_SERVING)

    def __enter__(self) -> "FakeServer":
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.stop(0).wait()

    def _check(self, context: grpc.ServicerContext) -> None:
        self.calls += 1
        self.clients.append(dict(context.invocation_metadata()).get("thresher-client"))
        if self.token is not None:
            given = dict(context.invocation_metadata()).get("authorization")
            if given != f"Bearer {self.token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no or wrong token")
        if self.error is not None and self.errors_left > 0:
            self.errors_left -= 1
            context.abort_with_status(rpc_status.to_status(self.error))

    def Solve(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._check(context)
        ended = threading.Event()
        # The generator is not resumed once the call is over, so the callback tells how it ended.
        sent_all = threading.Event()

        def over() -> None:
            ended.set()
            if not sent_all.is_set():
                self.cancelled.set()

        if not context.add_callback(over):  # it was over before this thread came to it
            over()
        # Last, as a test may end the call as soon as it sees this.
        self.specs.append(request.spec)
        for number, event in enumerate(self.events(), 1):
            event.sequence = number
            event.elapsed.FromMilliseconds(100 * number)
            yield synthesis_service_pb2.SolveResponse(event=event)
            if self.hang:
                ended.wait(60)
                return
        sent_all.set()

    def Refine(self, request_iterator: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Every turn is a solve as `events` has it; turns follow by themselves while none is solved."""
        self._check(context)
        turn, left, sequence = 0, 0, 0

        def reply(**body: Any) -> Any:
            nonlocal sequence
            sequence += 1
            return synthesis_service_pb2.RefineResponse(sequence=sequence, **body)

        opened = refine_pb2.SessionOpened(session="sessions/fake")
        yield synthesis_service_pb2.RefineResponse(session_opened=opened)
        for request in request_iterator:
            match request.WhichOneof("action"):
                case "start":
                    self.specs.append(request.start.spec)
                    left = request.start.rounds or 1
                case "resample":
                    left = request.resample.rounds or 1
                case "end_session":
                    yield reply(session_ended=refine_pb2.SessionEnded(transcript=self.transcript))
                    return
                case _:
                    self.said.append(request)
            automatic = False
            while left:
                turn, left = turn + 1, left - 1
                yield reply(turn_started=refine_pb2.TurnStarted(turn=turn, automatic=automatic))
                automatic = True
                events = self.events()
                for event in events:
                    yield reply(event=event)
                solved = events[-1].summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
                left = 0 if solved else left
                outcome = refine_pb2.TURN_OUTCOME_SOLVED if solved else refine_pb2.TURN_OUTCOME_UNSOLVED
                ended = refine_pb2.TurnEnded(turn=turn, outcome=outcome, another_follows=left > 0)
                yield reply(turn_ended=ended)

    def GetTranscript(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        return synthesis_service_pb2.GetTranscriptResponse(transcript=self.transcript)

    def SolveOnce(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        self.specs.append(request.spec)
        events = self.events()
        return synthesis_service_pb2.SolveOnceResponse(
            request_id=events[0].accepted.request_id, summary=events[-1].summary
        )

    def Execute(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        self.programs.append(request.program)
        if self.hang:
            ended = threading.Event()
            if context.add_callback(ended.set):
                ended.wait(60)
        return execution_service_pb2.ExecuteResponse(report=self.report)

    def ExecuteMany(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        """Answers each program with the report; `hold` waits to be cancelled, an empty one is refused."""
        self._check(context)
        finished = threading.Event()
        context.add_callback(lambda: finished.is_set() or self.cancelled.set())
        response = execution_service_pb2.ExecuteManyResponse
        held: set[int] = set()
        for request in requests:
            if request.WhichOneof("action") == "cancel":
                held.discard(request.id)
                yield response(id=request.id, cancelled=execution_service_pb2.ProgramCancelled())
                continue
            program = request.run.program
            self.programs.append(program)
            self.called.set()
            if request.run.test_results:
                yield response(id=request.id, test=verdict_pb2.TestResult(name="first"))
            if program.code.startswith("hold"):
                held.add(request.id)
                self.most_held = max(self.most_held, len(held))
            elif program.code:
                yield response(id=request.id, report=self.report)
            else:
                refused = execution_service_pb2.ProgramRefused(code=3, reason="BAD_REQUEST", field="program.code")
                yield response(id=request.id, refused=refused)
        if not held:  # a cancelled call ends the requests, too; a client that is served keeps its side open till then
            finished.set()

    def GetServerInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        return info_service_pb2.GetServerInfoResponse(version="0.0.fake", max_k=64, max_programs_in_flight=8)

    def ListModels(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        if request.page_token:
            return info_service_pb2.ListModelsResponse(models=[info_service_pb2.Model(name="models/two")])
        models = [info_service_pb2.Model(name="models/one")]
        return info_service_pb2.ListModelsResponse(models=models, next_page_token="second")

    def GetLoad(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        return info_service_pb2.GetLoadResponse(solves_running=3)


def bad_request() -> status_pb2.Status:
    """INVALID_ARGUMENT with one violation."""
    violation = error_details_pb2.BadRequest.FieldViolation(field="spec.sampling.k", description="0 is too small")
    detail = error_details_pb2.BadRequest(field_violations=[violation])
    return rich_error(code_pb2.INVALID_ARGUMENT, "BAD_REQUEST", "spec.sampling.k: 0 is too small", detail)


def queue_full(seconds: float) -> status_pb2.Status:
    """RESOURCE_EXHAUSTED with RetryInfo."""
    detail = error_details_pb2.RetryInfo()
    detail.retry_delay.FromMilliseconds(int(seconds * 1000))
    return rich_error(code_pb2.RESOURCE_EXHAUSTED, "QUEUE_FULL", "256 solves are waiting", detail)
