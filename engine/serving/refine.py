"""Refine: a session over calls that come and go. What a session is, `engine.solving.session` says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc.aio
from thresher.v1 import refine_pb2, solve_pb2, synthesis_service_pb2

from engine.config import Settings
from engine.serving.callers import current_caller
from engine.serving.calls import draining
from engine.serving.fields import refuse_unknown
from engine.serving.refine_in import action_in, check_start, rounds_in, session_in
from engine.serving.refine_out import SessionWriter, failure_of, session_name
from engine.solving.conversation import Conversation
from engine.solving.errors import InvalidRequest, SessionSuperseded
from engine.solving.refine import AddTests, Resample
from engine.solving.session import Connection, Run, Session
from engine.solving.sessions import Sessions
from engine.solving.spec import SolveSpec

Request = synthesis_service_pb2.RefineRequest
Response = synthesis_service_pb2.RefineResponse
_Context = grpc.aio.ServicerContext[Any, Any]
SpecOf = Callable[[solve_pb2.SolveSpec], Awaitable[SolveSpec]]


class ServedSession(Session):
    """A session whose messages are RefineResponse."""

    def __init__(self, name: str, spec: SolveSpec, message: solve_pb2.SolveSpec, settings: Settings, run: Run) -> None:
        """Raises SessionLimit for a request that has no room."""
        room = settings.sessions.max_bytes // 2
        conversation = Conversation(spec, room=room, size=message.ByteSize())
        self.writer = SessionWriter(name, message.problem, conversation, settings)
        super().__init__(
            name,
            conversation,
            run=run,
            write=self.writer.write,
            failure_of=failure_of,
            log_bytes=room,
            most_turns=settings.sessions.max_turns,
        )


class Refining:
    """Serves the calls of sessions. `run` solves a turn, for whoever calls then; `closing` is set when the server
    drains."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions[ServedSession],
        run: Run,
        closing: asyncio.Event,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._run = run
        self._closing = closing

    async def serve(self, requests: AsyncIterator[Request], context: _Context, spec_of: SpecOf) -> None:
        """One call: start or resume, then actions one way and messages the other."""
        first = await self._first(requests)
        if first is None:
            raise InvalidRequest("action", "is missing; the first message of a call has start or resume")
        refuse_unknown(first, "request")
        session = await self._session(first, spec_of)
        connection = self._sessions.connect(session, first.seen)
        reading: asyncio.Task[None] | None = None
        try:
            opened = refine_pb2.SessionOpened(session=session_name(session.name), actions_taken=session.actions_taken)
            async with asyncio.timeout(None) as connection.call:
                await context.write(Response(session_opened=opened))
                reading = asyncio.create_task(self._read(requests, session, connection))
                async with aclosing(session.replies(connection)) as replies:
                    async for data in replies:
                        await context.write(Response.FromString(data))
        except TimeoutError:
            if session.current(connection):
                raise
            raise SessionSuperseded(session.name) from None
        finally:
            self._sessions.disconnect(session, connection)
            if reading is not None:
                reading.cancel()
                await asyncio.wait([reading])

    def transcript(self, name: str) -> refine_pb2.Transcript:
        """The conversation of a session of the caller's."""
        return self._sessions.find(current_caller().key, session_in(name, "session")).writer.transcript()

    async def _first(self, requests: AsyncIterator[Request]) -> Request | None:
        """The first message; None without. Raises Unavailable where the server drains before it comes."""
        reading, closing = asyncio.create_task(_next(requests)), asyncio.create_task(self._closing.wait())
        try:
            await asyncio.wait([reading, closing], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise draining()
            return reading.result()
        finally:
            closing.cancel()
            reading.cancel()

    async def _session(self, first: Request, spec_of: SpecOf) -> ServedSession:
        if first.number:
            raise InvalidRequest("number", f"is {first.number}; start and resume have none, leave it out")
        owner = current_caller().key
        match first.WhichOneof("action"):
            case "start":
                if first.seen:
                    raise InvalidRequest("seen", f"is {first.seen}, and the session has not said anything yet")
                message = first.start.spec
                spec = await spec_of(message)
                check_start(spec, message)
                rounds = rounds_in(first.start.rounds, "start.rounds", self._settings)
                session = self._sessions.open(
                    owner, lambda name: ServedSession(name, spec, message, self._settings, self._run)
                )
                session.start(Resample(rounds=rounds))
                return session
            case "resume":
                return self._sessions.find(owner, session_in(first.resume.session, "resume.session"))
            case name:
                told = f"is {name}" if name else "is missing"
                raise InvalidRequest("action", f"{told}; the first message of a call has start or resume")

    async def _read(self, requests: AsyncIterator[Request], session: ServedSession, connection: Connection) -> None:
        failure: Exception | None = None
        try:
            async for request in requests:
                if not session.current(connection):
                    return
                self._take(request, session)
        except Exception as error:  # whatever it is, the call ends with it
            failure = error
        session.note_connection(connection, failure=failure)

    def _take(self, request: Request, session: ServedSession) -> None:
        refuse_unknown(request, "request")
        if request.seen:
            session.seen(request.seen)
        if session.taken(request.number):
            return
        action = action_in(request, session.conversation.spec, self._settings)
        if action is None:
            return
        if isinstance(action, Resample):
            current_caller().take_request()
        session.act(action, number=request.number, size=request.ByteSize())
        if isinstance(action, AddTests):
            session.writer.add_tests(request.add_tests.tests)


async def _next(requests: AsyncIterator[Request]) -> Request | None:
    return await anext(requests, None)
