"""Both clients against a server that does what it is told."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from support.fake_server import PROGRAM, FakeServer, bad_request, queue_full, rich_error, unsolved_events
from support.served import until
from thresher.client import AsyncClient, Client, ThresherError
from thresher.v1 import execution_service_pb2, solve_pb2

SPEC = solve_pb2.SolveSpec(request_id="mine")
Call = Callable[[Any], Any]
UNARY: list[Call] = [
    lambda client: client.solve_once(SPEC),
    lambda client: client.execute(execution_service_pb2.Program(code="x = 1")),
    lambda client: client.server_info(),
    lambda client: client.load(),
    lambda client: client.models(),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(tmp_path / "s.sock") as fake:
        yield fake


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest, server: FakeServer) -> Callable[..., Any]:
    """Runs one method on a client of either kind."""

    def run_sync(action: Call, **options: Any) -> Any:
        with Client(server.address, **options) as client:
            return action(client)

    def run_async(action: Call, **options: Any) -> Any:
        async def inner() -> Any:
            async with AsyncClient(server.address, **options) as client:
                result: Awaitable[Any] = action(client)
                return await result

        return asyncio.run(inner())

    return run_sync if request.param == "sync" else run_async


def test_unary_calls(server: FakeServer, call: Callable[..., Any]) -> None:
    reply = call(lambda client: client.solve_once(SPEC))
    assert reply.summary.candidates[0].code == PROGRAM
    assert server.specs[0].request_id == "mine"
    report = call(lambda client: client.execute(execution_service_pb2.Program(code="x = 1")))
    assert report.tests_total == 1
    assert server.programs[0].code == "x = 1"
    assert call(lambda client: client.server_info()).version == "0.0.fake"
    assert [model.name for model in call(lambda client: client.models())] == ["models/one", "models/two"]
    assert call(lambda client: client.load()).solves_running == 3


def test_health(server: FakeServer, call: Callable[..., Any]) -> None:
    assert call(lambda client: client.health()) == "SERVING"
    assert call(lambda client: client.health("no.such.Service")) == "SERVICE_UNKNOWN"
    server.set_serving(False)
    assert call(lambda client: client.health()) == "NOT_SERVING"


def test_wait_ready_waits(server: FakeServer, call: Callable[..., Any]) -> None:
    server.set_serving(False)
    with pytest.raises(ThresherError, match="NOT_SERVING") as caught:
        call(lambda client: client.wait_ready(1.0))
    assert caught.value.reason == "NOT_READY"
    threading.Timer(0.3, lambda: server.set_serving(True)).start()
    call(lambda client: client.wait_ready(60))


def test_a_look_that_the_end_of_the_wait_cuts_short_hides_no_answer(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter(["NOT_SERVING"])

    def look(*_: Any, **__: Any) -> str:
        if (said := next(looks, None)) is None:
            raise ThresherError(grpc.StatusCode.DEADLINE_EXCEEDED, "", "too late")
        return said

    async def async_look(*_: Any, **__: Any) -> str:
        return look()

    monkeypatch.setattr(Client, "health", look)
    monkeypatch.setattr(AsyncClient, "health", async_look)
    with pytest.raises(ThresherError, match=r"within 0\.2 s \(NOT_SERVING\)"):
        call(lambda client: client.wait_ready(0.2))
    with pytest.raises(ThresherError, match=r"within 0 s \(.*too late"):
        call(lambda client: client.wait_ready(0))


def test_token_is_sent(server: FakeServer, call: Callable[..., Any]) -> None:
    server.token = "secret"
    with pytest.raises(ThresherError, match="THRESHER_TOKEN") as caught:
        call(lambda client: client.load())
    assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED
    assert call(lambda client: client.load(), token="secret").solves_running == 3
    server.error = rich_error(code_pb2.UNAUTHENTICATED, "TOKEN_WRONG", "the bearer token is not this server's")
    with pytest.raises(ThresherError, match="THRESHER_TOKEN"):
        call(lambda client: client.load(), token="secret")


def test_error_details_become_fields(server: FakeServer, call: Callable[..., Any]) -> None:
    server.error = bad_request()
    with pytest.raises(ThresherError) as caught:
        call(lambda client: client.solve_once(SPEC))
    error = caught.value
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
    assert error.details["violations"] == [{"field": "spec.sampling.k", "description": "0 is too small"}]
    server.error = queue_full(1.5)
    with pytest.raises(ThresherError, match=r"try again in 1\.5 s") as caught:
        call(lambda client: client.solve_once(SPEC))
    assert caught.value.retry_after == 1.5


@pytest.mark.parametrize("action", UNARY, ids=["solve_once", "execute", "server_info", "load", "models"])
def test_unavailable_is_retried(server: FakeServer, call: Callable[..., Any], action: Call) -> None:
    server.error = rich_error(code_pb2.UNAVAILABLE, "STARTING", "loading")
    server.errors_left = 2
    call(action)
    assert server.errors_left == 0


def test_no_server_at_the_address(tmp_path: Path) -> None:
    with Client(f"unix:{tmp_path}/none.sock") as client, pytest.raises(ThresherError, match="is the server running"):
        client.load(timeout=60)


def test_sync_stream(server: FakeServer) -> None:
    with Client(server.address) as client, client.solve(SPEC) as stream:
        events = list(stream)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert stream.summary == events[-1].summary


async def test_async_stream(server: FakeServer) -> None:
    async with AsyncClient(server.address) as client, client.solve(SPEC) as stream:
        events = [event async for event in stream]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert stream.summary == events[-1].summary


async def test_stream_errors(server: FakeServer) -> None:
    server.error = rich_error(code_pb2.UNAVAILABLE, "DRAINING", "going down")
    server.errors_left = 2
    with Client(server.address) as client, pytest.raises(ThresherError) as caught:
        list(client.solve(SPEC))
    assert caught.value.reason == "DRAINING"
    async with AsyncClient(server.address) as client:
        with pytest.raises(ThresherError) as caught:
            _ = [event async for event in client.solve(SPEC)]
    assert caught.value.reason == "DRAINING"
    assert server.calls == 2  # a stream is never retried


async def test_stream_without_a_summary_is_an_error(server: FakeServer) -> None:
    server.events = lambda: unsolved_events()[:1]
    with Client(server.address) as client, pytest.raises(ThresherError, match="without a summary"):
        list(client.solve(SPEC))
    async with AsyncClient(server.address) as client:
        with pytest.raises(ThresherError, match="without a summary"):
            _ = [event async for event in client.solve(SPEC)]


def test_sync_cancel_reaches_the_server_and_ends_the_iteration(server: FakeServer) -> None:
    server.hang = True
    with Client(server.address) as client:
        stream = client.solve(SPEC)
        next(stream)
        threading.Timer(0.1, stream.cancel).start()
        assert list(stream) == []
        assert server.cancelled.wait(60)


def test_leaving_the_loop_ends_the_solve(server: FakeServer) -> None:
    server.hang = True
    with Client(server.address) as client:
        for _ in client.solve(SPEC):
            break
        assert server.cancelled.wait(60)


async def test_async_cancel_ends_the_iteration_and_not_the_task(server: FakeServer) -> None:
    server.hang = True
    async with AsyncClient(server.address) as client:
        stream = client.solve(SPEC)
        await anext(stream)
        asyncio.get_running_loop().call_later(0.1, stream.cancel)
        assert [event async for event in stream] == []
        assert await asyncio.to_thread(server.cancelled.wait, 60)


async def test_cancelling_the_task_ends_the_solve(server: FakeServer) -> None:
    server.hang = True
    async with AsyncClient(server.address) as client:

        async def consume() -> None:
            async for _ in client.solve(SPEC):
                pass

        task = asyncio.create_task(consume())
        await until(lambda: bool(server.specs))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.cancelled.wait, 60)


async def test_deadline(server: FakeServer) -> None:
    server.hang = True
    with Client(server.address) as client, pytest.raises(ThresherError) as caught:
        list(client.solve(SPEC, timeout=0.3))
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_messages_over_four_mebibytes_pass(server: FakeServer) -> None:
    big = execution_service_pb2.Program(code="#" * (6 << 20))
    server.report.stdout = b"x" * (6 << 20)
    with Client(server.address) as client:
        assert len(client.execute(big).stdout) == 6 << 20
    assert len(server.programs[0].code) == 6 << 20


def test_balanced_target_avoids_a_server_that_drains() -> None:
    with FakeServer() as first, FakeServer() as second:
        first.set_serving(True)
        second.set_serving(True)
        with Client(f"ipv4:{first.address},{second.address}") as client:
            client.wait_ready(60)
            due = time.monotonic() + 60
            while not (first.calls and second.calls):  # it is ready with the first one
                assert time.monotonic() < due
                client.load(timeout=60)
            first.set_serving(False)
            before = -1
            while first.calls > before:  # until the news has reached the client
                assert time.monotonic() < due
                before = first.calls
                for _ in range(4):
                    client.load(timeout=60)
            served = second.calls
            for _ in range(20):
                client.load(timeout=60)
            assert (first.calls, second.calls) == (before, served + 20)
