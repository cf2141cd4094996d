"""The front as a whole: gRPC server, health, reflection, metrics, token and runtime file, built and taken down."""

import asyncio
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import start_http_server
from thresher.client.runtime import RuntimeInfo, ensure_runtime_dir, remove_runtime_file, write_runtime_file
from thresher.v1 import (
    execution_service_pb2,
    execution_service_pb2_grpc,
    info_service_pb2,
    info_service_pb2_grpc,
    synthesis_service_pb2,
    synthesis_service_pb2_grpc,
)

from engine.config import Settings
from engine.config_base import ConfigError
from engine.logs import get_logger
from engine.metrics import Metrics
from engine.serving.auth import Access, read_token, write_new_token
from engine.serving.backend import SolverLike
from engine.serving.boundary import Boundary
from engine.serving.calls import LiveCalls, draining
from engine.serving.execution import ExecutionService
from engine.serving.info import InfoService
from engine.serving.listen import (
    Address,
    TcpAddress,
    UnixAddress,
    addresses,
    bind,
    parse_tcp,
    require_private,
    require_tcp,
    server_options,
)
from engine.serving.once import SharedSolves
from engine.serving.recorder import Recorder
from engine.serving.refine import ServedSession
from engine.serving.solve_out import model_name
from engine.serving.synthesis import NoSynthesisService, SynthesisService
from engine.serving.tls import ServerTls
from engine.solving.sessions import Sessions
from engine.tracing import start_tracing

SERVICES = tuple(
    file.DESCRIPTOR.services_by_name[name].full_name
    for file, name in (
        (synthesis_service_pb2, "SynthesisService"),
        (execution_service_pb2, "ExecutionService"),
        (info_service_pb2, "InfoService"),
    )
)
"""Full names of our services; each has its own health."""
SYNTHESIS, EXECUTION, _ = SERVICES

_LAG_PERIOD = 0.1
_RELOAD_PERIOD = 1.0
_log = get_logger(__name__)


class Front:
    """Binds and serves from `start` until `stop`. Calls are refused with UNAVAILABLE until the solver is ready."""

    def __init__(self, settings: Settings, solver: SolverLike, metrics: Metrics) -> None:
        self.calls = LiveCalls()
        self.bound: tuple[Address, ...] = ()
        self.metrics_port: int | None = None
        self._settings = settings
        self._solver = solver
        self._metrics = metrics
        # The stubs know the synchronous servicer only.
        self._health: Any = cast(Any, health).aio.HealthServicer()
        self._server: grpc.aio.Server | None = None
        self._status_changed = asyncio.Event()
        self._helpers: list[asyncio.Task[None]] = []
        self._undo: list[Callable[[], object]] = []
        self._shared = SharedSolves()
        self.sessions = Sessions[ServedSession](settings.sessions)
        self._access: Access | None = None
        self._tls: ServerTls | None = None
        self._recorder: Recorder | None = None
        self._models_seen: set[str] = set()

    async def start(self) -> None:
        """Bind all addresses and serve. Raises ConfigError, having undone what was done."""
        try:
            await self._start()
        except BaseException:
            await self.stop(0)
            raise

    async def _start(self) -> None:
        serving = self._settings.serving
        self._tls = ServerTls.of(serving)
        wanted = addresses(serving.listen, insecure=serving.insecure or self._tls is not None)
        require_tcp(wanted, serving)
        token_file = self._token_file(wanted)
        self._access = Access(
            None if token_file is None else read_token(token_file, "serving.token_file"),
            tokens_file=serving.tokens_file,
            certificates=serving.tls_client_ca is not None,
        )
        self._recorder = Recorder.of(self._settings.recorder)
        tracing = start_tracing()
        if tracing is not None:
            self._undo.append(tracing.close)
        server = grpc.aio.server(
            interceptors=[Boundary(self._metrics, self._access, tracing)],
            options=server_options(serving.max_request_bytes),
        )
        self._server = server
        synthesis = (
            NoSynthesisService()
            if serving.executor_only
            else SynthesisService(self._settings, self._solver, self.calls, self._shared, self.sessions, self._recorder)
        )
        synthesis_service_pb2_grpc.add_SynthesisServiceServicer_to_server(synthesis, server)
        execution_service_pb2_grpc.add_ExecutionServiceServicer_to_server(
            ExecutionService(self._settings, self._solver, self.calls, self._metrics, tracing), server
        )
        info_service_pb2_grpc.add_InfoServiceServicer_to_server(InfoService(self._settings, self._solver), server)
        cast(Any, health_pb2_grpc).add_HealthServicer_to_server(self._health, server)
        names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        credentials = None if self._tls is None else self._tls.credentials()
        self.bound = tuple(self._bind(server, address, credentials) for address in wanted)
        self._serve_metrics()
        await self._set_health()
        await server.start()
        self._solver.on_status(lambda _: self._status_changed.set())
        self._helpers = [
            asyncio.create_task(work) for work in (self._follow_status(), self._watch_lag(), self._watch_files())
        ]
        first = self.bound[0]
        tls = self._tls is not None and isinstance(first, TcpAddress)
        write_runtime_file(RuntimeInfo(str(first), os.getpid(), str(token_file) if token_file else None, tls))
        self._undo.append(lambda: remove_runtime_file(os.getpid()))
        _log.info("listening", addresses=[str(address) for address in self.bound], metrics_port=self.metrics_port)

    def reload(self, *, force: bool = True) -> None:
        """Read tokens and certificates again, and end the calls and sessions of callers who may call no longer."""
        if self._tls is not None:
            self._tls.refresh(force=force)
        if self._access is not None:
            gone = self._access.refresh(force=force)
            self.calls.end_those(gone)
            self.sessions.end_those(gone)

    async def refuse_new(self) -> None:
        """Begin to drain: health says NOT_SERVING for good, new calls are refused, and sessions begin no more turns."""
        await self._health.enter_graceful_shutdown()
        self.calls.closing.set()
        self.sessions.drain(draining())

    async def stop(self, grace: float) -> None:
        """Close all connections, `grace` seconds after having asked their peers to go, and remove the traces."""
        for task in self._helpers:
            task.cancel()
        await asyncio.gather(*self._helpers, return_exceptions=True)
        self._helpers.clear()
        if self._server is not None:
            await self._server.stop(grace)
        await self._shared.close()
        await self.sessions.close()
        while self._undo:
            self._undo.pop()()

    async def recorded(self) -> None:
        """Wait, after `stop`, until all solves are recorded, or for as long as the recorder does."""
        if self._recorder is not None:
            await self._recorder.close()

    def _token_file(self, wanted: tuple[Address, ...]) -> Path | None:
        if not any(isinstance(address, TcpAddress) for address in wanted):
            return None
        if self._settings.serving.token_file is not None:
            return self._settings.serving.token_file.absolute()
        if self._settings.serving.tokens_file is not None or self._settings.serving.tls_client_ca is not None:
            return None
        path = write_new_token(ensure_runtime_dir())
        self._undo.append(lambda: path.unlink(missing_ok=True))
        return path

    def _bind(self, server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials | None) -> Address:
        bound = bind(server, address, credentials)
        if isinstance(bound, UnixAddress):
            self._undo.append(lambda: bound.path.unlink(missing_ok=True))
        return bound

    def _serve_metrics(self) -> None:
        serving = self._settings.serving
        if serving.metrics_listen is None:
            return
        address = parse_tcp(serving.metrics_listen, "serving.metrics_listen")
        require_private(address, "serving.metrics_listen", insecure=serving.insecure or self._tls is not None)
        try:
            endpoint, thread = start_http_server(
                address.port,
                address.host,
                self._metrics.registry,
                **({} if self._tls is None else self._tls.of_metrics()),
            )
        except OSError as error:
            raise ConfigError(f"serving.metrics_listen: {address} cannot be bound: {error.strerror}") from None
        if self._tls is not None:
            self._tls.serve_metrics(cast(ssl.SSLSocket, endpoint.socket))
        self.metrics_port = endpoint.server_port

        def close() -> None:
            endpoint.shutdown()
            endpoint.server_close()
            thread.join()

        self._undo.append(close)

    async def _watch_files(self) -> None:
        while True:
            await asyncio.sleep(_RELOAD_PERIOD)
            self.reload(force=False)
            self._metrics.tasks(len(asyncio.all_tasks()))

    async def _follow_status(self) -> None:
        while True:
            await self._status_changed.wait()
            self._status_changed.clear()
            await self._set_health()

    async def _set_health(self) -> None:
        ready = self._solver.status == "ready"
        serving = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            unserved = (self._settings.serving.executor_only and name == SYNTHESIS) or (
                self._solver.executor is None and name == EXECUTION
            )
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING if unserved else serving)
        if self._solver.status == "starting":
            return
        up = {model_name(model.name) for model in self._solver.models()}
        self._models_seen |= up
        for name in self._models_seen:
            good = name in up and self._solver.status != "draining"
            health_of = health_pb2.HealthCheckResponse.SERVING if good else health_pb2.HealthCheckResponse.NOT_SERVING
            await self._health.set(name, health_of)

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_PERIOD
            await asyncio.sleep(_LAG_PERIOD)
            self._metrics.event_loop_lag(max(0.0, loop.time() - due))
