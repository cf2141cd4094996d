"""What the boundary makes of calls, where a real server cannot be made to show it."""

import asyncio
from typing import Any, NoReturn

import grpc
import pytest
import structlog
from prometheus_client import generate_latest
from thresher.v1 import info_service_pb2

from engine.exposition import read, total
from engine.metrics import Metrics
from engine.serving.auth import Access
from engine.serving.boundary import Boundary
from engine.solving.errors import InvalidRequest

METHOD = "/thresher.v1.InfoService/GetLoad"


class Details:
    method = METHOD
    invocation_metadata = ()


class Ended:
    """The context of a call that ended, without a peer before its handler began. sends: whether a status goes out."""

    def __init__(self, remaining: float | None, *, sends: bool = True, peer: str = "") -> None:
        self.remaining = remaining
        self.sends = sends
        self.known_peer = peer
        self.set: grpc.StatusCode | None = None

    def peer(self) -> str:
        return self.known_peer

    def auth_context(self) -> dict[str, Any]:
        return {}

    def time_remaining(self) -> float | None:
        return self.remaining

    def code(self) -> grpc.StatusCode | None:
        return self.set

    async def abort(self, code: grpc.StatusCode, *_: Any, **__: Any) -> NoReturn:
        self.set = code
        # What cannot be sent is an ExecuteBatchError, an internal one.
        raise grpc.aio.AbortError if self.sends else grpc.aio.InternalError


@pytest.mark.parametrize(("remaining", "code"), [(None, "CANCELLED"), (9.0, "CANCELLED"), (0.0, "DEADLINE_EXCEEDED")])
async def test_a_call_that_ended_before_its_turn_is_no_stranger(remaining: float | None, code: str) -> None:
    begun = False

    async def handle(_: Any, __: Any) -> Any:
        nonlocal begun
        begun = True

    handler = grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=info_service_pb2.GetLoadRequest.FromString, response_serializer=None
    )

    async def go_on(_: Any) -> Any:
        return handler

    metrics = Metrics()
    wrapped: Any = await Boundary(metrics, Access("a-token-of-sixteen-or-more")).intercept_service(
        go_on,
        Details(),  # type: ignore[arg-type]
    )
    with pytest.raises(grpc.aio.AbortError):
        await wrapped.unary_unary(b"", Ended(remaining))
    counted = read(generate_latest(metrics.registry).decode())
    assert total(counted, "thresher_grpc_requests_total", code=code) == 1
    assert total(counted, "thresher_grpc_requests_total") == 1
    assert not begun


@pytest.mark.parametrize("peer", ["", "ipv4:127.0.0.1:9"])
async def test_whoever_has_gone_is_told_nothing_and_no_traceback_is_logged(peer: str) -> None:
    """A second abort would be a UsageError, which gRPC logs with its traceback; a cancel it takes as one."""

    async def handle(_: Any, __: Any) -> Any:
        raise InvalidRequest("k", "0 is not in 1..64")

    handler = grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=info_service_pb2.GetLoadRequest.FromString, response_serializer=None
    )

    async def go_on(_: Any) -> Any:
        return handler

    metrics = Metrics()
    wrapped: Any = await Boundary(metrics, Access(None)).intercept_service(go_on, Details())  # type: ignore[arg-type]
    with structlog.testing.capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await wrapped.unary_unary(b"", Ended(None, sends=False, peer=peer))
    assert not [line for line in logs if line["log_level"] in ("error", "warning")]
    counted = read(generate_latest(metrics.registry).decode())
    assert total(counted, "thresher_grpc_requests_total") == 1
