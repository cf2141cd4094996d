"""`execute_many` of both clients against a server that does what it is told."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import code_pb2
from support.fake_server import WORKERS, FakeServer, rich_error
from thresher.client import AsyncClient, Client, ThresherError
from thresher.v1 import execution_service_pb2


def program(code: str = "x = 1") -> execution_service_pb2.Program:
    return execution_service_pb2.Program(code=code)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeServer]:
    with FakeServer(tmp_path / "s.sock") as fake:
        yield fake


async def collect(server: FakeServer, kind: str, programs: Any, **options: Any) -> list[Any]:
    """All replies, by a client of either kind."""
    if kind == "async":
        async with AsyncClient(server.address) as client:
            return [reply async for reply in client.execute_many(programs, **options)]

    def run() -> list[Any]:
        with Client(server.address) as client:
            return list(client.execute_many(programs, **options))

    return await asyncio.to_thread(run)


KINDS = pytest.mark.parametrize("kind", ["sync", "async"])


@KINDS
async def test_every_program_has_one_reply(server: FakeServer, kind: str) -> None:
    codes = ["x = 1", "", *(f"x = {number}" for number in range(300))]
    replies = await collect(server, kind, (program(code) for code in codes))
    assert sorted(reply.id for reply in replies) == list(range(302))
    assert [reply.id for reply in replies if reply.WhichOneof("reply") == "refused"] == [1]
    assert [sent.code for sent in server.programs] == codes


@KINDS
async def test_results_of_tests_are_asked_for(server: FakeServer, kind: str) -> None:
    replies = await collect(server, kind, [program()], test_results=True)
    assert [reply.WhichOneof("reply") for reply in replies] == ["test", "report"]
    assert await collect(server, kind, []) == []


@KINDS
async def test_what_the_iterable_raises_comes_after_what_was_sent(server: FakeServer, kind: str) -> None:
    def programs() -> Iterator[execution_service_pb2.Program]:
        yield program()
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        await collect(server, kind, programs())
    assert len(server.programs) == 1


@KINDS
async def test_errors_of_the_call(server: FakeServer, kind: str) -> None:
    server.error = rich_error(code_pb2.UNAUTHENTICATED, "TOKEN_WRONG", "no")
    with pytest.raises(ThresherError) as caught:
        await collect(server, kind, [program()])
    assert caught.value.reason == "TOKEN_WRONG"
    server.error = None
    with pytest.raises(ThresherError) as caught:
        await collect(server, kind, [program("hold")], timeout=0.4)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_programs_may_come_from_an_async_iterable(server: FakeServer) -> None:
    async def programs() -> AsyncIterator[execution_service_pb2.Program]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield program()

    assert len(await collect(server, "async", programs())) == 3


async def test_async_cancels_one_and_keeps_within_the_share(server: FakeServer) -> None:
    async with AsyncClient(server.address) as client, client.execute_many([program("hold")] * 20) as stream:
        ended = []
        for number in range(20):
            stream.cancel_program(number)
            ended.append(await anext(stream))
        assert [reply.WhichOneof("reply") for reply in ended] == ["cancelled"] * 20
        assert [reply async for reply in stream] == []
    assert server.most_held <= 8


def test_sync_cancels_one_and_keeps_within_the_share(server: FakeServer) -> None:
    with Client(server.address) as client, client.execute_many([program("hold")] * 20) as stream:
        for number in range(20):
            stream.cancel_program(number)
            assert next(stream).WhichOneof("reply") == "cancelled"
        assert list(stream) == []
    assert server.most_held <= 8


async def test_async_cancel_ends_the_call_and_not_the_task(server: FakeServer) -> None:
    async with AsyncClient(server.address) as client:
        stream = client.execute_many([program("hold")])

        async def cancel() -> None:
            assert await asyncio.to_thread(server.called.wait, 60)
            stream.cancel()

        async with asyncio.TaskGroup() as group:
            group.create_task(cancel())
            assert [reply async for reply in stream] == []
        assert await asyncio.to_thread(server.cancelled.wait, 60)


async def test_cancelling_the_task_ends_the_call(server: FakeServer) -> None:
    async with AsyncClient(server.address) as client:

        async def consume() -> None:
            async for _ in client.execute_many([program("hold")]):
                pass

        task = asyncio.create_task(consume())
        await asyncio.to_thread(server.called.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.cancelled.wait, 60)


def test_sync_cancel_from_another_thread(server: FakeServer) -> None:
    with Client(server.address) as client:
        stream = client.execute_many([program("hold")])
        threading.Thread(target=lambda: server.called.wait(60) and stream.cancel()).start()
        assert list(stream) == []
        assert server.cancelled.wait(60)


def test_dropping_a_sync_stream_ends_the_call_and_its_thread(server: FakeServer) -> None:
    def clients_threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if not thread.name.startswith(WORKERS)}

    with Client(server.address) as client:
        before = clients_threads()
        stream = client.execute_many([program("hold"), program()])
        assert clients_threads() - before  # those of clients before may be ending
        for _ in stream:
            break
        del stream
        gc.collect()
        assert server.cancelled.wait(60)
        for _ in range(3_000):
            if clients_threads() <= before:
                break
            threading.Event().wait(0.01)
        assert clients_threads() <= before


class EndsEarly(FakeServer):
    """Ends each call after so many requests, whatever else is being sent."""

    after = 0
    ends_well = False

    def ExecuteMany(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for _, request in zip(range(self.after), requests, strict=False):
            yield execution_service_pb2.ExecuteManyResponse(id=request.id, report=self.report)
        if not self.ends_well:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")


@KINDS
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("ends_well", [True, False])
async def test_a_call_that_the_server_ends_while_programs_are_sent_keeps_its_status(
    tmp_path: Path, kind: str, after: int, ends_well: bool
) -> None:
    """grpc.aio says INTERNAL in most of these calls where it is let."""
    programs = [program("x = 1" * 20_000)] * 20
    with EndsEarly(tmp_path / "s.sock") as fake:
        fake.after, fake.ends_well = after, ends_well
        for _ in range(12):
            if ends_well:
                assert len(await collect(fake, kind, programs, within=20)) == after
                continue
            with pytest.raises(ThresherError) as ended:
                await collect(fake, kind, programs, within=20)
            assert (ended.value.code, ended.value.message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "no room")
