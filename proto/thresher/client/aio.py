"""The asyncio client. It says the same as `thresher.client.sync`, in the same words."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Self

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from thresher.client.channel import Endpoint, find_server
from thresher.client.dialogue import until
from thresher.client.errors import ThresherError, from_rpc, no_summary, not_ready
from thresher.client.execute_aio import AsyncExecuteStream, Programs
from thresher.client.refine_aio import AsyncRefineSession
from thresher.client.tls import Tls
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


class AsyncSolveStream(AsyncIterator[solve_pb2.SolveEvent]):
    """The events of one solve. Leaving it before its end (`cancel`, `async with`, or by dropping it) ends the solve.

    Iterating raises ThresherError where the call fails. After `cancel` the iteration just stops; cancelling the task
    that iterates raises CancelledError there as usual, and ends the solve too.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._responses = aiter(call)
        self._cancelled = False
        self.summary: solve_pb2.Summary | None = None

    async def __anext__(self) -> solve_pb2.SolveEvent:
        try:
            response: synthesis_service_pb2.SolveResponse = await anext(self._responses)
        except StopAsyncIteration:
            if self.summary is None and not self._cancelled:
                raise no_summary() from None
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._cancelled and (task is None or not task.cancelling()):
                # gRPC raises this for its own cancelled call too; let out, it would look like a cancelled task.
                raise StopAsyncIteration from None
            self.cancel()
            raise
        except grpc.RpcError as error:
            if self._cancelled:
                raise StopAsyncIteration from None
            raise from_rpc(error) from error
        if response.event.HasField("summary"):
            self.summary = response.event.summary
        return response.event

    def cancel(self) -> None:
        """Ends the solve on the server: rows, queued candidates and sandboxes. May be called twice."""
        self._cancelled = True
        self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.cancel()


class AsyncClient:
    """A connection to a server, for one event loop. Close it, or use it in an `async with` statement.

    `address`, `token` and `tls` are found as `thresher.client.channel.find_server` says. `name` is whom the server
    divides its time by (docs/scheduling.md), by default this process: one that asks for several users has a client for
    each. Every method takes `timeout`, the call's deadline in seconds, and raises ThresherError.
    """

    def __init__(
        self,
        address: str | Endpoint | None = None,
        *,
        token: str | None = None,
        tls: Tls | None = None,
        name: str | None = None,
    ) -> None:
        found = address if isinstance(address, Endpoint) else replace(find_server(address, token, tls), name=name)
        self.endpoint = found
        self._channel: grpc.aio.Channel = found.open(grpc.aio)
        # The stubs' types are those of the sync channel.
        channel: Any = self._channel
        self._synthesis: Any = synthesis_service_pb2_grpc.SynthesisServiceStub(channel)
        self._execution: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        self._info: Any = info_service_pb2_grpc.InfoServiceStub(channel)
        self._health: Any = health_pb2_grpc.HealthStub(channel)

    def solve(
        self,
        spec: solve_pb2.SolveSpec,
        *,
        timeout: float | None = None,
        name: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> AsyncSolveStream:
        """Starts a solve and returns its events, which come as the server makes them.

        `name`: whom the server divides its time by, for this solve, instead of the client's own name. `metadata` goes
        along with the call, as a W3C trace context does.
        """
        request = synthesis_service_pb2.SolveRequest(spec=spec)
        endpoint = self.endpoint if name is None else replace(self.endpoint, name=name)
        return AsyncSolveStream(
            self._synthesis.Solve(request, timeout=timeout, metadata=(*endpoint.metadata, *metadata))
        )

    async def solve_once(
        self, spec: solve_pb2.SolveSpec, *, timeout: float | None = None
    ) -> synthesis_service_pb2.SolveOnceResponse:
        """Runs a solve to its end and returns its summary; retried while the server is not reachable."""
        return await self._call(self._synthesis.SolveOnce, synthesis_service_pb2.SolveOnceRequest(spec=spec), timeout)

    def refine(self, spec: solve_pb2.SolveSpec, *, rounds: int = 1, timeout: float | None = None) -> AsyncRefineSession:
        """A session that begins with this solve, whose prompt is a chat: a conversation about its programs.

        `rounds` turns begin by themselves while none passes, the first one included. `timeout` is for all of it.
        """
        left = until(timeout)

        async def transcript(session: str) -> refine_pb2.Transcript:
            request = synthesis_service_pb2.GetTranscriptRequest(session=session)
            return (await self._call(self._synthesis.GetTranscript, request, left())).transcript

        return AsyncRefineSession(
            lambda: self._synthesis.Refine(timeout=left(), metadata=self.endpoint.metadata), transcript, spec, rounds
        )

    async def execute(
        self, program: execution_service_pb2.Program, *, timeout: float | None = None
    ) -> verdict_pb2.ExecutionReport:
        """Runs one program against its tests in the server's sandbox."""
        request = execution_service_pb2.ExecuteRequest(program=program)
        return (await self._call(self._execution.Execute, request, timeout)).report

    def execute_many(
        self, programs: Programs, *, test_results: bool = False, within: int = 0, timeout: float | None = None
    ) -> AsyncExecuteStream:
        """Runs many programs, several at a time; the replies come as they end.

        `test_results` asks for a reply for each test too. `within` programs are in flight at most; 0 stands for as many
        as the server takes from one call.
        """

        async def most() -> int:
            return within or max(1, (await self.server_info(timeout=timeout)).max_programs_in_flight)

        return AsyncExecuteStream(
            lambda: self._execution.ExecuteMany(timeout=timeout, metadata=self.endpoint.metadata),
            most,
            programs,
            test_results,
        )

    async def server_info(self, *, timeout: float | None = None) -> info_service_pb2.GetServerInfoResponse:
        """Version, limits, features and sandbox of the server."""
        return await self._call(self._info.GetServerInfo, info_service_pb2.GetServerInfoRequest(), timeout)

    async def models(self, *, timeout: float | None = None) -> list[info_service_pb2.Model]:
        """All models that a spec may name."""
        found: list[info_service_pb2.Model] = []
        request = info_service_pb2.ListModelsRequest()
        while True:
            page = await self._call(self._info.ListModels, request, timeout)
            found.extend(page.models)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    async def load(self, *, timeout: float | None = None) -> info_service_pb2.GetLoadResponse:
        """How busy the server is."""
        return await self._call(self._info.GetLoad, info_service_pb2.GetLoadRequest(), timeout)

    async def health(self, service: str = "", *, timeout: float | None = None) -> str:
        """SERVING, NOT_SERVING or SERVICE_UNKNOWN, for the whole server or for one full service name."""
        try:
            reply = await self._call(self._health.Check, health_pb2.HealthCheckRequest(service=service), timeout)
        except ThresherError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            raise
        return health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)

    async def wait_ready(self, timeout: float) -> None:
        """Waits until the server serves. Raises ThresherError where it does not within `timeout` seconds."""
        end, told = time.monotonic() + timeout, ""
        while True:
            status = ""
            try:
                status = told = await self.health(timeout=max(0.1, min(2.0, end - time.monotonic())))
            except ThresherError as error:
                if error.code not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
                # The end of the wait may cut a look short: what was said before tells more than that.
                if not told or error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    told = str(error)
            if status == "SERVING":
                return
            if time.monotonic() >= end:
                raise not_ready(self.endpoint.target, timeout, told)
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Closes the connection; live solves end."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def _call(self, method: Any, request: Any, timeout: float | None) -> Any:
        try:
            return await method(request, timeout=timeout, metadata=self.endpoint.metadata)
        except grpc.RpcError as error:
            raise from_rpc(error) from error
