"""The outermost wrapper of every call: errors become status, calls are counted and logged, and none is left hanging.

A handler that ends with an `asyncio.CancelledError` of its own making (it awaited a cancelled child, say) sends no
status at all, and its client waits for its own deadline (grpc/grpc #29248). A call that gRPC itself cancelled has a
task with `cancelling() > 0`; `context.cancelled()` does not tell them apart (grpc/grpc #36193).
"""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from structlog.contextvars import get_contextvars

from engine.logs import bind_call, get_logger
from engine.metrics import Metrics
from engine.serving.auth import Access
from engine.serving.callers import set_caller
from engine.serving.status import abort, refusal_of
from engine.serving.tls import names_in_certificate
from engine.solving.errors import EngineFailed, InvalidRequest
from engine.tracing import Span, Tracing, within

UNKNOWN_METHOD = "unknown"
# A deadline reaches the server as a cancel, a few milliseconds to either side of the server's own clock.
_DEADLINE_SLACK = 0.05

# Not ExecuteMany: each of its programs has a span of its own, and the call itself may last as long as its server.
_TRACED = "/thresher.v1.SynthesisService/"
_TRACED_TOO = "/thresher.v1.ExecutionService/Execute"
# Of a server, by OpenTelemetry's conventions: the others are what the caller has asked for.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)

_log = get_logger(__name__)
type _Handler = grpc.RpcMethodHandler[Any, Any]
_Context = grpc.aio.ServicerContext[Any, Any]
_Body = Callable[[], Awaitable[Any]]


class Boundary(grpc.aio.ServerInterceptor):
    """Wraps each handler. It must be the first interceptor of the server.

    Requests come as bytes and are parsed in here, after the caller was admitted: nothing is computed for a stranger,
    and what cannot be parsed is the caller's fault, where gRPC's own parsing would end as INTERNAL.
    """

    def __init__(self, metrics: Metrics, access: Access, tracing: Tracing | None = None) -> None:
        self._metrics = metrics
        self._access = access
        self._tracing = tracing

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wrap the handler of one call."""
        method = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None:
            # gRPC answers UNIMPLEMENTED itself. The name is the client's text, so it is no label.
            self._metrics.grpc_request(UNKNOWN_METHOD, grpc.StatusCode.UNIMPLEMENTED.name, 0.0)
            return None
        metadata = handler_call_details.invocation_metadata
        return _wrapped(handler, lambda context, body: self._guard(method, metadata, context, body))

    async def _guard(self, method: str, metadata: Any, context: _Context, body: _Body) -> Any:
        started = time.monotonic()
        bind_call(request_id=uuid.uuid4().hex)
        code, name = grpc.StatusCode.INTERNAL, ""
        span: Span | None = None
        try:
            peer: str = context.peer()
            if ":" not in peer:
                raise _EndedBefore
            caller = self._access.admit(method, peer, metadata, names_in_certificate(context.auth_context()))
            set_caller(caller)
            name = caller.name
            if self._tracing is not None and (method.startswith(_TRACED) or method == _TRACED_TOO):
                span = self._tracing.called(method, _text_of(metadata))
            with within(span):
                answer = await body()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                code = _code_of_cancel(context)
                raise
            _log.exception("a handler leaked a cancellation", method=method)
            await self._refuse(context, EngineFailed("internal error; a part of the server was cancelled"))
        except _EndedBefore:
            code = _code_of_cancel(context)
            await _told(context.abort(code, "the call ended before it began"))
        except grpc.aio.AbortError:
            code = _code(context)
            raise
        except Exception as error:
            code = refusal_of(error).code
            if code is grpc.StatusCode.INTERNAL:
                _log.exception("call failed", method=method)
            await self._refuse(context, error)
        else:
            code = _code(context)
            return answer
        finally:
            seconds = time.monotonic() - started
            self._metrics.grpc_request(method, code.name, seconds)
            if span is not None:
                _end(span, code)
            level = _log.info if method.startswith("/thresher.") else _log.debug
            level("call", method=method, caller=name, status=code.name, seconds=round(seconds, 4))

    async def _refuse(self, context: _Context, error: Exception) -> None:
        await _told(abort(context, refusal_of(error), str(get_contextvars().get("request_id", ""))))


class _EndedBefore(Exception):
    """The call ended before its turn came, and gRPC has forgotten whose it was: nobody is to be refused."""


async def _told(ending: Awaitable[None]) -> None:
    """Await an abort. Raises AbortError, or CancelledError where the caller has gone meanwhile.

    gRPC cannot send the status then and raises another error of its own, which it would log with its traceback; of a
    cancel it makes no fuss.
    """
    try:
        await ending
    except grpc.aio.AbortError:
        raise
    except grpc.aio.BaseError:
        _log.debug("the caller has gone before it could be told")
        raise asyncio.CancelledError from None


def _text_of(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}


def _end(span: Span, code: grpc.StatusCode) -> None:
    span.add({"rpc.response.status_code": code.name})
    if code in _FAULTS:
        span.fail(code.name)
    span.end()


def _code(context: _Context) -> grpc.StatusCode:
    """The code a handler has set itself; none means OK."""
    code: Any = context.code()
    if isinstance(code, int):
        return next((known for known in grpc.StatusCode if known.value[0] == code), grpc.StatusCode.UNKNOWN)
    return code or grpc.StatusCode.OK


def _code_of_cancel(context: _Context) -> grpc.StatusCode:
    remaining = cast("float | None", context.time_remaining())
    if remaining is not None and remaining < _DEADLINE_SLACK:
        return grpc.StatusCode.DEADLINE_EXCEEDED
    return grpc.StatusCode.CANCELLED


def _wrapped(handler: _Handler, guard: Callable[[_Context, _Body], Awaitable[Any]]) -> _Handler:
    kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
    inner: Any = getattr(handler, kind)
    parse = cast("Callable[[bytes], Any]", handler.request_deserializer)

    def parsed(request: Any) -> Any:
        return _parsed_all(parse, request) if handler.request_streaming else _parsed(parse, request)

    async def unary(request: Any, context: _Context) -> Any:
        return await guard(context, lambda: inner(parsed(request), context))

    async def stream(request: Any, context: _Context) -> None:
        await guard(context, lambda: _pump(inner(parsed(request), context), context))

    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(
        stream if handler.response_streaming else unary,
        request_deserializer=None,
        response_serializer=handler.response_serializer,
    )


def _parsed(parse: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return parse(request)
    except DecodeError:
        message = "cannot be parsed: it is no message of this method, or a text in it is not UTF-8"
        raise InvalidRequest("request", message) from None


async def _parsed_all(parse: Callable[[bytes], Any], requests: AsyncIterable[bytes]) -> AsyncGenerator[Any]:
    async for request in requests:
        yield _parsed(parse, request)


async def _pump(answers: Any, context: _Context) -> None:
    """Streaming handlers are generators, or coroutines that write by themselves."""
    if not isinstance(answers, AsyncIterable):
        await answers
        return
    async with aclosing(cast(Any, answers)) as closing:
        async for answer in closing:
            await context.write(answer)
