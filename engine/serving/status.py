"""Errors as gRPC status with google.rpc details: one table, and nothing else decides a code.

Every error carries ErrorInfo (reason, domain "thresher"); by kind also BadRequest, ResourceInfo or RetryInfo. The two
that invite another try carry the trailer `grpc-retry-pushback-ms` as well, which gRPC clients with a retry policy obey.
"""

from dataclasses import dataclass
from typing import Any, NoReturn, cast

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import (  # pyright: ignore[reportMissingTypeStubs]
    code_pb2,
    error_details_pb2,
    status_pb2,
)
from grpc_status import rpc_status

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
    SolveError,
    Unavailable,
    Unsupported,
)
from executor.errors import ExecutorBusy, ExecutorError, InvalidProgram, UnsupportedLanguage

DOMAIN = "thresher"
PUSHBACK_TRAILER = "grpc-retry-pushback-ms"
# Status travels in headers, which peers cut off at 8 KiB; message and details both hold this text.
_LONGEST_MESSAGE = 1000
_SANDBOX_RETRY = 1.0


class Unauthenticated(Exception):
    """A TCP call of nobody that this server knows."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # TOKEN_MISSING, TOKEN_WRONG, TOKEN_EXPIRED, TOKEN_REVOKED


class Forbidden(Exception):
    """A call that its caller has no right to."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # SCOPE_MISSING


class OverQuota(Exception):
    """More than this caller may take: of one field (`path`), which no wait mends, or at a time (`retry_after`, in
    seconds)."""

    reason = "QUOTA"

    def __init__(self, message: str, *, path: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.description = message
        self.path = path
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call ends that is not OK. `retry_after` is in seconds."""

    code: grpc.StatusCode
    reason: str
    message: str
    details: tuple[Message, ...] = ()
    metadata: tuple[tuple[str, str], ...] = ()
    retry_after: float | None = None


def refusal_of(error: Exception) -> Refusal:
    """The table. An error that is not in it is a fault of ours, and its text, which may quote a program, stays here."""
    match error:
        case InvalidRequest():
            details = (_violation(error.field, error.description, error.reason),)
            return Refusal(grpc.StatusCode.INVALID_ARGUMENT, error.reason, str(error), details)
        case Unsupported():
            return Refusal(grpc.StatusCode.UNIMPLEMENTED, error.reason, str(error), metadata=(("field", error.field),))
        case ModelNotFound():
            resource = error_details_pb2.ResourceInfo(
                resource_type="thresher.v1.Model", resource_name=f"models/{error.model}", description=str(error)
            )
            return Refusal(grpc.StatusCode.NOT_FOUND, error.reason, str(error), (resource,))
        case SessionNotFound():
            resource = error_details_pb2.ResourceInfo(
                resource_type="thresher.v1.Session", resource_name=error.session[:200], description=str(error)
            )
            return Refusal(grpc.StatusCode.NOT_FOUND, error.reason, str(error), (resource,))
        case SessionSuperseded():
            return Refusal(grpc.StatusCode.ABORTED, error.reason, str(error))
        case SessionEventsGone():
            metadata = (("oldest", str(error.oldest)),)
            return Refusal(grpc.StatusCode.OUT_OF_RANGE, error.reason, str(error), metadata=metadata)
        case SessionLimit():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return Refusal(code, error.reason, str(error), retry_after=error.retry_after)
        case QueueFull():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return Refusal(code, error.reason, str(error), retry_after=error.retry_after)
        case Unavailable():
            code = grpc.StatusCode.UNAVAILABLE
            metadata = (("model", error.model),) if error.model else ()
            return Refusal(code, error.reason, str(error), metadata=metadata, retry_after=error.retry_after)
        case UnsupportedLanguage():
            metadata = (("field", "program.language"),)
            return Refusal(grpc.StatusCode.UNIMPLEMENTED, "LANGUAGE_UNSUPPORTED", str(error), metadata=metadata)
        case InvalidProgram():
            details = (_violation("program", str(error), InvalidRequest.reason),)
            return Refusal(grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest.reason, str(error), details)
        case ExecutorBusy():
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return Refusal(code, QueueFull.reason, "the sandbox has a full queue", retry_after=_SANDBOX_RETRY)
        case ExecutorError():
            code = grpc.StatusCode.UNAVAILABLE
            return Refusal(code, "SANDBOX_UNAVAILABLE", str(error), retry_after=_SANDBOX_RETRY)
        case DeadlineExceeded():
            return Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, error.reason, str(error))
        case Unauthenticated():
            return Refusal(grpc.StatusCode.UNAUTHENTICATED, error.reason, str(error))
        case Forbidden():
            return Refusal(grpc.StatusCode.PERMISSION_DENIED, error.reason, str(error))
        case OverQuota():
            details = (_violation(error.path, error.description, error.reason),) if error.path else ()
            code = grpc.StatusCode.RESOURCE_EXHAUSTED
            return Refusal(code, error.reason, str(error), details, retry_after=error.retry_after)
        case EngineFailed() | SolveError():
            return Refusal(grpc.StatusCode.INTERNAL, error.reason, str(error))
        case _:
            message = "internal error; the server's log has more under this request_id"
            return Refusal(grpc.StatusCode.INTERNAL, EngineFailed.reason, message)


def _violation(path: str, description: str, reason: str) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field=path, description=description[:_LONGEST_MESSAGE], reason=reason
    )
    return error_details_pb2.BadRequest(field_violations=[violation])


async def abort(context: grpc.aio.ServicerContext[Any, Any], refusal: Refusal, request_id: str) -> NoReturn:
    """End the call as `refusal` says, with all details in the trailers."""
    message = refusal.message[:_LONGEST_MESSAGE]
    code: int = refusal.code.value[0]
    status = status_pb2.Status(code=code_pb2.Code.ValueType(code), message=message)
    info = error_details_pb2.ErrorInfo(reason=refusal.reason, domain=DOMAIN)
    info.metadata.update({"request_id": request_id, **dict(refusal.metadata)})
    details: list[Message] = [info, *refusal.details]
    trailers: list[tuple[str, str]] = []
    if refusal.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(max(1, round(refusal.retry_after * 1000)))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        trailers.append((PUSHBACK_TRAILER, str(delay.ToMilliseconds())))
    for detail in details:
        status.details.add().Pack(detail)
    # The aio context has no abort_with_status; to_status only encodes the details for the trailer.
    encoded = cast(Any, rpc_status).to_status(status).trailing_metadata
    await context.abort(refusal.code, message, trailing_metadata=(*encoded, *trailers))
