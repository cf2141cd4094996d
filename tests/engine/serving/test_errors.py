"""The error table: each error of the domain as a client sees it, over a real socket."""

import grpc
import pytest

from engine.serving.status import PUSHBACK_TRAILER, refusal_of
from engine.solving.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
    QueueFull,
    SessionEventsGone,
    SessionLimit,
    SessionNotFound,
    SessionSuperseded,
    Unavailable,
    Unsupported,
)
from executor.errors import ExecutorBusy, InvalidProgram, SandboxUnavailable, UnsupportedLanguage
from tests.support.scripted_solver import ScriptedSolver, accepted
from tests.support.served import once_request, refused, serving, solve_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

TABLE = [
    (InvalidRequest("spec.x", "is bad"), "INVALID_ARGUMENT", "BAD_REQUEST", "BadRequest"),
    (
        InvalidRequest("spec.problem.prompt", "is long", reason="PROMPT_TOO_LONG"),
        "INVALID_ARGUMENT",
        "PROMPT_TOO_LONG",
        "BadRequest",
    ),
    (ModelNotFound("big", ("small",)), "NOT_FOUND", "MODEL_NOT_FOUND", "ResourceInfo"),
    (Unsupported("spec.x", "is not here"), "UNIMPLEMENTED", "UNSUPPORTED", None),
    (
        Unsupported("spec.x", "no", reason="LANGUAGE_UNSUPPORTED"),
        "UNIMPLEMENTED",
        "LANGUAGE_UNSUPPORTED",
        None,
    ),
    (QueueFull(3, 2.5), "RESOURCE_EXHAUSTED", "QUEUE_FULL", "RetryInfo"),
    (Unavailable("DRAINING", "stopping", 0.25), "UNAVAILABLE", "DRAINING", "RetryInfo"),
    (Unavailable("ENGINE_RESTARTING", "again", 1), "UNAVAILABLE", "ENGINE_RESTARTING", "RetryInfo"),
    (SandboxUnavailable("no nsjail"), "UNAVAILABLE", "SANDBOX_UNAVAILABLE", "RetryInfo"),
    (ExecutorBusy("full"), "RESOURCE_EXHAUSTED", "QUEUE_FULL", "RetryInfo"),
    (InvalidProgram("tests[0]"), "INVALID_ARGUMENT", "BAD_REQUEST", "BadRequest"),
    (UnsupportedLanguage("language: cpp needs g++"), "UNIMPLEMENTED", "LANGUAGE_UNSUPPORTED", None),
    (DeadlineExceeded(queued=True), "DEADLINE_EXCEEDED", "DEADLINE_IN_QUEUE", None),
    (DeadlineExceeded(queued=False), "DEADLINE_EXCEEDED", "DEADLINE_RUNNING", None),
    (SessionNotFound("abc"), "NOT_FOUND", "SESSION_NOT_FOUND", "ResourceInfo"),
    (SessionSuperseded("abc"), "ABORTED", "SESSION_SUPERSEDED", None),
    (SessionEventsGone(3, 9), "OUT_OF_RANGE", "SESSION_EVENTS_GONE", None),
    (SessionLimit("SESSION_LIMIT", "too many", 5.0), "RESOURCE_EXHAUSTED", "SESSION_LIMIT", "RetryInfo"),
    (SessionLimit("SESSION_FULL", "too large"), "RESOURCE_EXHAUSTED", "SESSION_FULL", None),
    (EngineFailed("the engine died"), "INTERNAL", "ENGINE_FAILED", None),
    (ValueError("def secret(): ..."), "INTERNAL", "ENGINE_FAILED", None),
]


@pytest.mark.parametrize(("error", "code", "reason", "detail"), TABLE, ids=lambda value: str(value)[:40])
async def test_error_table(error: Exception, code: str, reason: str, detail: str | None) -> None:
    async with serving(ScriptedSolver(lambda spec: [accepted(spec), error])) as served:
        for call in (
            served.synthesis.Solve(solve_request(request_id="id-9")),
            served.synthesis.SolveOnce(once_request(request_id="id-9")),
        ):
            found = await refused(call)
            assert found.code is grpc.StatusCode[code]
            assert (found.info.domain, found.info.reason) == ("thresher", reason)
            assert found.info.metadata["request_id"] == "id-9"
            assert set(found.details) == {"ErrorInfo"} | ({detail} if detail else set())


async def test_retry_info_and_pushback_say_the_same() -> None:
    async with serving(ScriptedSolver(lambda spec: [QueueFull(3, 2.5)])) as served:
        found = await refused(served.synthesis.SolveOnce(once_request()))
    assert found.details["RetryInfo"].retry_delay.ToMilliseconds() == 2500
    assert found.trailers[PUSHBACK_TRAILER] == "2500"


async def test_field_violations_name_the_field() -> None:
    async with serving() as served:
        found = await refused(served.synthesis.SolveOnce(once_request(model="bare")))
    violation = found.details["BadRequest"].field_violations[0]
    assert violation.field == "spec.model"
    assert "models/NAME" in violation.description


async def test_an_unknown_error_says_nothing_of_itself() -> None:
    async with serving(ScriptedSolver(lambda spec: [ValueError("def secret(): ...")])) as served:
        found = await refused(served.synthesis.SolveOnce(once_request()))
    assert "secret" not in found.message
    assert "request_id" in found.message


async def test_a_long_message_still_fits_into_the_headers() -> None:
    async with serving(ScriptedSolver(lambda spec: [InvalidRequest("spec.x", "y" * 50_000)])) as served:
        found = await refused(served.synthesis.SolveOnce(once_request()))
    assert found.code is grpc.StatusCode.INVALID_ARGUMENT
    assert len(found.message) <= 1000


async def test_every_solve_error_has_a_row() -> None:
    import engine.solving.errors as errors

    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SolveError)}
    assert kinds - {errors.SolveError} == {type(row[0]) for row in TABLE if isinstance(row[0], errors.SolveError)}
    assert refusal_of(errors.SolveError("x")).code is grpc.StatusCode.INTERNAL
