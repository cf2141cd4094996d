"""Conversations as sessions of the server (Refine): it keeps the prompt, which only grows, and begins the rounds."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from thresher.client.plain import enum_word
from thresher.client.refine_aio import AsyncRefineSession, AsyncTurnStream
from thresher.v1 import refine_pb2, solve_pb2

from benchmarks.experiments.errors import RunFailed
from benchmarks.experiments.experiment import Draw, Task
from benchmarks.experiments.repair_rounds import Dialog, Turn, turn_of
from benchmarks.experiments.served import ServerSource, TokensBySample

_ENDED_WELL = (refine_pb2.TURN_OUTCOME_SOLVED, refine_pb2.TURN_OUTCOME_UNSOLVED)


class Sessions:
    """Each conversation is a session, whose first turn is the first draws. Words are feedback on the last program; the
    server quotes that program and its failing test beside them."""

    name = "refine"

    def __init__(self, source: ServerSource) -> None:
        self._source = source

    @asynccontextmanager
    async def open(self, task: Task, draw: Draw, automatic: int) -> AsyncGenerator[Dialog]:
        """See Way."""
        async with self._source.client.refine(self._source.spec(task, draw), rounds=1 + automatic) as session:
            yield _Session(session, task, draw)


class _Session:
    def __init__(self, session: AsyncRefineSession, task: Task, draw: Draw) -> None:
        self._session = session
        self._task = task
        self._draw = draw
        self._replies: AsyncTurnStream | None = None

    async def begin(self) -> Turn:
        self._replies = await self._session.start()
        return await self._turn(self._replies)

    async def again(self, words: str) -> Turn:
        if words or self._replies is None:
            self._replies = await self._session.say(words)
        return await self._turn(self._replies)

    async def _turn(self, replies: AsyncTurnStream) -> Turn:
        """The next turn; those that begin by themselves follow each other in one stream."""
        tokens, began = TokensBySample(), time.monotonic()
        summary: solve_pb2.Summary | None = None
        async for reply in replies:
            match reply.WhichOneof("reply"):
                case "event":
                    tokens.take(reply.event)
                    if reply.event.HasField("summary"):
                        summary = reply.event.summary
                case "turn_ended":
                    ended = reply.turn_ended
                    if ended.outcome not in _ENDED_WELL or summary is None:
                        how = enum_word(refine_pb2.TurnOutcome.DESCRIPTOR, ended.outcome)
                        raise RunFailed(f"{self._task.id}: a turn ended as {how}: {ended.failure.message}")
                    return turn_of(self._task, self._draw, summary, tokens, time.monotonic() - began)
                case _:
                    pass
        raise RunFailed(f"{self._task.id}: no round follows in the middle of a conversation")
