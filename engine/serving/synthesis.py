"""SynthesisService: one solve a call, whose end is the solve's end, whoever caused it; and sessions of many."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, cast

import grpc.aio
from thresher.v1 import solve_pb2, synthesis_service_pb2, synthesis_service_pb2_grpc

from engine.config import Settings
from engine.logs import bind_call, get_logger
from engine.serving import fields
from engine.serving.backend import SolverLike
from engine.serving.callers import current_caller
from engine.serving.calls import LiveCalls
from engine.serving.limits import lowered_in
from engine.serving.once import SharedSolves
from engine.serving.recorder import Recorder
from engine.serving.refine import Refining, ServedSession
from engine.serving.solve_in import solve_in
from engine.serving.solve_out import EventWriter
from engine.solving.errors import EngineFailed, Unavailable, Unsupported
from engine.solving.events import SolveEvent
from engine.solving.executor_only import no_model
from engine.solving.sessions import Sessions
from engine.solving.spec import SolveSpec
from engine.solving.summary import Summary
from engine.solving.tiers import Cut

# Checking a large request parses its JSON; the event loop has other calls to serve meanwhile.
CHECK_IN_THREAD_BYTES = 64 << 10
_STARTING_RETRY = 1.0
CLIENT_KEY = "thresher-client"
"""Metadata in which a caller gives its name."""
_LONGEST_NAME = 128

_log = get_logger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]


class SynthesisService(synthesis_service_pb2_grpc.SynthesisServiceServicer):
    """Draws programs and tests them."""

    def __init__(
        self,
        settings: Settings,
        solver: SolverLike,
        calls: LiveCalls,
        shared: SharedSolves,
        sessions: Sessions[ServedSession],
        recorder: Recorder | None = None,
    ) -> None:
        self._settings = settings
        self._solver = solver
        self._calls = calls
        self._shared = shared
        self._recorder = recorder
        self._refining = Refining(settings, sessions, lambda spec, cut: self._events(spec, None, cut), calls.closing)

    # A coroutine that writes, not a generator: `LiveCalls` must see the cancel that hits a pending write.
    async def Solve(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request: synthesis_service_pb2.SolveRequest, context: _Context
    ) -> None:
        """Stream the events of one solve; the Summary is last, and present if and only if the status is OK."""
        async with self._calls.one():
            spec = await self._spec(request.spec, _client_of(context))
            writer = self._writer(request.spec, spec)
            async with aclosing(self._events(spec, _seconds_left(context))) as events:
                async for event in events:
                    await context.write(synthesis_service_pb2.SolveResponse(event=writer.event(event)))

    async def SolveOnce(
        self, request: synthesis_service_pb2.SolveOnceRequest, context: _Context
    ) -> synthesis_service_pb2.SolveOnceResponse:
        """The same with one reply. Events that it could never deliver are refused.

        Calls of one caller with one request id are one solve, which outlives a lost call by a few seconds.
        """
        for name in ("token_deltas", "delta_interval_ms", "test_results", "branches"):
            if getattr(request.spec.events, name):
                raise Unsupported(f"spec.events.{name}", "SolveOnce sends no events; use Solve, or leave it out")
        client, deadline = _client_of(context), _seconds_left(context)
        async with self._calls.one():
            if not request.spec.request_id:
                return await self._once(request, client, deadline)
            # The solve has a task of its own, which would keep the names to itself.
            request_id = fields.word(request.spec.request_id, "spec.request_id")
            problem_id = fields.label(request.spec.problem.problem_id, "spec.problem.problem_id")
            bind_call(request_id=request_id, problem_id=problem_id)
            key = (current_caller().key, request_id)
            digest = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
            return await self._shared.answer(key, digest, lambda: self._once(request, client, deadline))

    async def Refine(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request_iterator: AsyncIterator[synthesis_service_pb2.RefineRequest], context: _Context
    ) -> None:
        """A session, from its start or from where another call has left it. It outlives the call for a while."""
        client = _client_of(context)
        async with self._calls.one():
            await self._refining.serve(request_iterator, context, lambda message: self._spec(message, client))

    async def GetTranscript(
        self, request: synthesis_service_pb2.GetTranscriptRequest, context: _Context
    ) -> synthesis_service_pb2.GetTranscriptResponse:
        """The conversation of a session of the caller's own."""
        fields.refuse_unknown(request, "request")
        return synthesis_service_pb2.GetTranscriptResponse(transcript=self._refining.transcript(request.session))

    async def _once(
        self, request: synthesis_service_pb2.SolveOnceRequest, client: str, deadline: float | None
    ) -> synthesis_service_pb2.SolveOnceResponse:
        spec = await self._spec(request.spec, client)
        writer = self._writer(request.spec, spec)
        summary: solve_pb2.Summary | None = None
        async with aclosing(self._events(spec, deadline)) as events:
            async for event in events:
                if isinstance(event.body, Summary):
                    summary = writer.summary(event.body)
        return synthesis_service_pb2.SolveOnceResponse(request_id=spec.request_id, summary=summary)

    async def _spec(self, message: solve_pb2.SolveSpec, client: str) -> SolveSpec:
        if self._solver.status == "starting":
            raise starting(self._solver)
        if message.ByteSize() > CHECK_IN_THREAD_BYTES:
            spec = await asyncio.to_thread(solve_in, message, "spec", self._settings)
        else:
            spec = solve_in(message, "spec", self._settings)
        bind_call(request_id=spec.request_id, problem_id=spec.problem_id)
        current_caller().check_solve(spec, self._settings.limits.max_k)
        return replace(spec, client=client)

    def _writer(self, message: solve_pb2.SolveSpec, spec: SolveSpec) -> EventWriter:
        return EventWriter(spec, lowered_in(message.problem.limits, message.problem.tests, self._settings.executor))

    async def _events(
        self, spec: SolveSpec, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent]:
        """The solver's events up to its Summary. Raises EngineFailed if it ends without one."""
        with current_caller().solving(self._settings.limits.max_solves_per_caller):
            async with aclosing(self._solved(spec, deadline, cut)) as events:
                async for event in events:
                    yield event

    async def _solved(self, spec: SolveSpec, deadline: float | None, cut: Cut | None) -> AsyncGenerator[SolveEvent]:
        if self._recorder is None:
            events = self._solver.solve(spec, deadline=deadline, cut=cut)
        else:
            events = self._recorder.solve(self._solver, spec, deadline=deadline, cut=cut)
        ended_well = False
        try:
            async for event in events:
                ended_well = isinstance(event.body, Summary)
                yield event
                if ended_well:
                    return
        finally:
            try:
                await events.aclose()
            except Exception:
                if not ended_well:
                    raise
                # The caller has its answer, and a Summary never comes with an error.
                _log.exception("a solve did not close cleanly after its summary")
        raise EngineFailed("the solve ended without a summary")


class NoSynthesisService(synthesis_service_pb2_grpc.SynthesisServiceServicer):
    """The same on a server without a model: refused with a reason, which a missing service would not give."""

    async def Solve(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request: synthesis_service_pb2.SolveRequest, context: _Context
    ) -> None:
        """Refused."""
        raise no_model()

    async def SolveOnce(
        self, request: synthesis_service_pb2.SolveOnceRequest, context: _Context
    ) -> synthesis_service_pb2.SolveOnceResponse:
        """Refused."""
        raise no_model()

    async def Refine(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request_iterator: AsyncIterator[synthesis_service_pb2.RefineRequest], context: _Context
    ) -> None:
        """Refused."""
        raise no_model()

    async def GetTranscript(
        self, request: synthesis_service_pb2.GetTranscriptRequest, context: _Context
    ) -> synthesis_service_pb2.GetTranscriptResponse:
        """Refused."""
        raise no_model()


def _client_of(context: _Context) -> str:
    """Whom the engine's time is shared between: the caller, or what a caller who may speak for several names itself.

    A client of `thresher.client` gives itself a name for each process; one without a name is its address.
    """
    caller = current_caller()
    if not caller.names_clients:
        return caller.key
    metadata = cast("Iterable[tuple[str, str | bytes]] | None", context.invocation_metadata())
    names = [value for key, value in metadata or () if key == CLIENT_KEY and isinstance(value, str)]
    peer = context.peer()
    return names[0][:_LONGEST_NAME] if names and names[0] else peer.rpartition(":")[0] or peer


def _seconds_left(context: _Context) -> float | None:
    return cast("float | None", context.time_remaining())


def starting(solver: SolverLike) -> Unavailable:
    """The error of a server whose models or sandbox are not there yet."""
    model = "" if solver.executor is None else solver.default_model  # a front without a sandbox loads none
    doing = f"loading {model}" if model else "starting"
    return Unavailable("STARTING", f"this server is still {doing}", _STARTING_RETRY, model)
