"""The blocking client."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from thresher.client.channel import Endpoint, find_server
from thresher.client.dialogue import until
from thresher.client.errors import ThresherError, from_rpc, no_summary, not_ready
from thresher.client.execute_sync import ExecuteStream, Item
from thresher.client.refine_sync import RefineSession
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


class SolveStream(Iterator[solve_pb2.SolveEvent]):
    """The events of one solve. Leaving it before its end (`cancel`, `with`, or by dropping it) ends the solve.

    Iterating raises ThresherError where the call fails. After `cancel` the iteration just stops.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._cancelled = False
        self.summary: solve_pb2.Summary | None = None

    def __next__(self) -> solve_pb2.SolveEvent:
        try:
            response: synthesis_service_pb2.SolveResponse = next(self._call)
        except StopIteration:
            if self.summary is None and not self._cancelled:
                raise no_summary() from None
            raise
        except grpc.RpcError as error:
            if self._cancelled:
                raise StopIteration from None
            raise from_rpc(error) from error
        if response.event.HasField("summary"):
            self.summary = response.event.summary
        return response.event

    def cancel(self) -> None:
        """Ends the solve on the server: rows, queued candidates and sandboxes. Safe from any thread, and twice."""
        self._cancelled = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        self._call.cancel()


class Client:
    """A connection to a server; safe to share between threads. Close it, or use it in a `with` statement.

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
        self._channel: grpc.Channel = found.open(grpc)
        self._synthesis = synthesis_service_pb2_grpc.SynthesisServiceStub(self._channel)
        self._execution = execution_service_pb2_grpc.ExecutionServiceStub(self._channel)
        self._info = info_service_pb2_grpc.InfoServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    def solve(
        self,
        spec: solve_pb2.SolveSpec,
        *,
        timeout: float | None = None,
        name: str | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> SolveStream:
        """Starts a solve and returns its events, which come as the server makes them.

        `name`: whom the server divides its time by, for this solve, instead of the client's own name. `metadata` goes
        along with the call, as a W3C trace context does.
        """
        request = synthesis_service_pb2.SolveRequest(spec=spec)
        endpoint = self.endpoint if name is None else replace(self.endpoint, name=name)
        return SolveStream(self._synthesis.Solve(request, timeout=timeout, metadata=(*endpoint.metadata, *metadata)))

    def solve_once(
        self, spec: solve_pb2.SolveSpec, *, timeout: float | None = None
    ) -> synthesis_service_pb2.SolveOnceResponse:
        """Runs a solve to its end and returns its summary; retried while the server is not reachable."""
        return self._call(self._synthesis.SolveOnce, synthesis_service_pb2.SolveOnceRequest(spec=spec), timeout)

    def refine(self, spec: solve_pb2.SolveSpec, *, rounds: int = 1, timeout: float | None = None) -> RefineSession:
        """A session that begins with this solve, whose prompt is a chat: a conversation about its programs.

        `rounds` turns begin by themselves while none passes, the first one included. `timeout` is for all of it.
        """
        left = until(timeout)

        def transcript(session: str) -> refine_pb2.Transcript:
            request = synthesis_service_pb2.GetTranscriptRequest(session=session)
            return self._call(self._synthesis.GetTranscript, request, left()).transcript

        return RefineSession(
            lambda requests: self._synthesis.Refine(requests, timeout=left(), metadata=self.endpoint.metadata),
            transcript,
            spec,
            rounds,
        )

    def execute(
        self, program: execution_service_pb2.Program, *, timeout: float | None = None
    ) -> verdict_pb2.ExecutionReport:
        """Runs one program against its tests in the server's sandbox."""
        request = execution_service_pb2.ExecuteRequest(program=program)
        return self._call(self._execution.Execute, request, timeout).report

    def execute_many(
        self,
        programs: Iterable[Item],
        *,
        test_results: bool = False,
        within: int = 0,
        timeout: float | None = None,
    ) -> ExecuteStream:
        """Runs many programs, several at a time; the replies come as they end.

        `test_results` asks for a reply for each test too. `within` programs are in flight at most; 0 stands for as many
        as the server takes from one call.
        """
        most = within or max(1, self.server_info(timeout=timeout).max_programs_in_flight)
        return ExecuteStream(
            lambda requests: self._execution.ExecuteMany(requests, timeout=timeout, metadata=self.endpoint.metadata),
            programs,
            most,
            test_results,
        )

    def server_info(self, *, timeout: float | None = None) -> info_service_pb2.GetServerInfoResponse:
        """Version, limits, features and sandbox of the server."""
        return self._call(self._info.GetServerInfo, info_service_pb2.GetServerInfoRequest(), timeout)

    def models(self, *, timeout: float | None = None) -> list[info_service_pb2.Model]:
        """All models that a spec may name."""
        found: list[info_service_pb2.Model] = []
        request = info_service_pb2.ListModelsRequest()
        while True:
            page = self._call(self._info.ListModels, request, timeout)
            found.extend(page.models)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def load(self, *, timeout: float | None = None) -> info_service_pb2.GetLoadResponse:
        """How busy the server is."""
        return self._call(self._info.GetLoad, info_service_pb2.GetLoadRequest(), timeout)

    def health(self, service: str = "", *, timeout: float | None = None) -> str:
        """SERVING, NOT_SERVING or SERVICE_UNKNOWN, for the whole server or for one full service name."""
        try:
            reply = self._call(self._health.Check, health_pb2.HealthCheckRequest(service=service), timeout)
        except ThresherError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            raise
        return health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)

    def wait_ready(self, timeout: float, *, between: Callable[[], None] | None = None) -> None:
        """Waits until the server serves. `between` runs after each look and may raise to give up.

        Raises ThresherError where it does not within `timeout` seconds.
        """
        end, told = time.monotonic() + timeout, ""
        while True:
            status = ""
            try:
                status = told = self.health(timeout=max(0.1, min(2.0, end - time.monotonic())))
            except ThresherError as error:
                if error.code not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                    raise
                # The end of the wait may cut a look short: what was said before tells more than that.
                if not told or error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    told = str(error)
            if status == "SERVING":
                return
            if between is not None:
                between()
            if time.monotonic() >= end:
                raise not_ready(self.endpoint.target, timeout, told)
            time.sleep(0.1)

    def close(self) -> None:
        """Closes the connection; live solves end."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _call(self, method: Any, request: Any, timeout: float | None) -> Any:
        try:
            return method(request, timeout=timeout, metadata=self.endpoint.metadata)
        except grpc.RpcError as error:
            raise from_rpc(error) from error
