"""A session of Refine, for asyncio. It says the same as `thresher.client.refine_sync`, in the same words."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import grpc
import grpc.aio

from thresher.client.dialogue import (
    PATIENCE,
    PAUSES,
    Asked,
    CandidateOf,
    Dialogue,
    Request,
    Response,
    Tests,
    added,
    broken,
    feedback,
    lost,
    named,
    resample,
)
from thresher.client.errors import ThresherError, from_rpc
from thresher.client.true_status import keep_true_status
from thresher.v1 import refine_pb2, solve_pb2


class AsyncTurnStream(Asked, AsyncIterator[Response]):
    """As `TurnStream`. Cancelling the task that iterates ends nothing: call the session's `stop`, or `end`."""

    def __init__(self, session: "AsyncRefineSession", number: int) -> None:
        super().__init__(number)
        self._session = session

    async def __anext__(self) -> Response:
        while not self.over:
            reply = await self._session.hear()
            if self._session.dialogue.belongs(self):
                self.take(reply)
                return reply
        raise StopAsyncIteration

    async def run(self) -> Self:
        """Read to the end, and return this. Raises ThresherError where the last turn failed."""
        async for _ in self:
            pass
        self.check()
        return self


class AsyncRefineSession:
    """As `RefineSession`. For one task at a time."""

    def __init__(
        self,
        call: Callable[[], Any],
        transcript: Callable[[str], Awaitable[refine_pb2.Transcript]],
        spec: solve_pb2.SolveSpec,
        rounds: int,
    ) -> None:
        self.dialogue = Dialogue(spec, rounds)
        self._start = call
        self._transcript = transcript
        self._call: Any = None

    @property
    def name(self) -> str:
        """`sessions/...`; empty before the start."""
        return self.dialogue.name

    async def start(self) -> AsyncTurnStream:
        """Begin: the first turn is a whole solve."""
        if self.dialogue.asked:
            raise ValueError("the session has begun; say something, or resample")
        await self._connect()
        return self._asked()

    async def say(
        self,
        words: str = "",
        *,
        candidate: CandidateOf | None = None,
        rounds: int = 1,
        sampling: solve_pb2.SamplingParams | None = None,
        budget: solve_pb2.Budget | None = None,
    ) -> AsyncTurnStream:
        """Draw again, the model having been told what failed, and your words, if any: of `candidate` (its turn and its
        index), or of the best program of the last turn."""
        if words.strip():
            await self._send(feedback=feedback(words, candidate))
        elif candidate is not None:
            raise ValueError("candidate: is given without words; say something of it, or leave it out")
        return await self._turn(resample(rounds, sampling, budget))

    async def add_tests(self, tests: Tests, *, words: str = "", rounds: int = 1) -> AsyncTurnStream:
        """Draw again with more tests. Programs that had passed are judged again first. Raises ProblemError."""
        await self._send(add_tests=added(tests))
        return await self.say(words, rounds=rounds)

    async def resample(
        self,
        *,
        rounds: int = 1,
        sampling: solve_pb2.SamplingParams | None = None,
        budget: solve_pb2.Budget | None = None,
    ) -> AsyncTurnStream:
        """Draw more from the prompt of the last turn: nothing is told of what failed."""
        return await self._turn(resample(rounds, sampling, budget, same_prompt=True))

    async def take_back(self, turn: int, index: int) -> None:
        """You do not want this program, whatever its tests say: it is not quoted any more, and passes no more."""
        await self._send(take_back=refine_pb2.TakeBack(candidate=named((turn, index))))

    async def stop(self) -> None:
        """End the turn in progress, and those that would follow by themselves. Its last messages still come."""
        await self._send(end_turn=refine_pb2.EndTurn())

    async def end(self) -> refine_pb2.Transcript:
        """End the session. Its whole conversation."""
        if self.dialogue.ended is None:
            await self._send(end_session=refine_pb2.EndSession())
            while self.dialogue.ended is None:
                await self.hear()
        self._hang_up()
        return self.dialogue.ended.transcript

    async def transcript(self) -> refine_pb2.Transcript:
        """The whole conversation up to now; `thresher.client.to_plain` makes JSON of it."""
        if self.dialogue.ended is not None:
            return self.dialogue.ended.transcript
        return await self._transcript(self.name)

    async def hear(self) -> Response:
        """The next message, over a new connection where the old one breaks. Raises ThresherError."""
        while True:
            reply = await self._read()
            if isinstance(reply, ThresherError):
                await self._again(reply)
                continue
            self.dialogue.take(reply)
            if (receipt := self.dialogue.receipt()) is not None:
                await self._write(receipt)
            return reply

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *exception: object) -> None:
        if kind is None and self.name and self.dialogue.ended is None:
            await self.end()
        self._hang_up()

    def _asked(self) -> AsyncTurnStream:
        return AsyncTurnStream(self, self.dialogue.ask().number)

    async def _turn(self, action: refine_pb2.Resample) -> AsyncTurnStream:
        await self._send(resample=action)
        return self._asked()

    async def _send(self, **action: Any) -> None:
        if not self.name:
            raise ValueError("the session has not begun; call start first")
        if self.dialogue.ended is not None:
            raise ValueError("the session has ended; start another one")
        if self.dialogue.stale:
            await self._connect()
        await self._write(self.dialogue.action(**action))

    async def _write(self, request: Request) -> None:
        # What broke, the next read says; then it is sent again.
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._call.write(request)

    async def _read(self) -> Response | ThresherError:
        try:
            reply: Any = await self._call.read()
            return lost(None) if reply is grpc.aio.EOF else reply
        except grpc.RpcError as error:
            return from_rpc(error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return ThresherError(grpc.StatusCode.CANCELLED, "", "the call was cancelled")

    async def _connect(self) -> None:
        """Make a call, and wait until the server has opened the session. Raises ThresherError."""
        self._hang_up()
        self._call = keep_true_status(self._start())
        await self._write(self.dialogue.first())
        reply = await self._read()
        if isinstance(reply, ThresherError):
            raise reply
        for request in self.dialogue.opened(reply.session_opened):
            await self._write(request)

    async def _again(self, error: ThresherError) -> None:
        """Take the session up again. Raises `error`, or the one that then stands in the way."""
        ends_at = time.monotonic() + PATIENCE
        tries = 0
        while True:
            if not broken(error) or time.monotonic() >= ends_at:
                self._hang_up()
                self.dialogue.stale = bool(self.name)
                raise error
            await asyncio.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1
            try:
                await self._connect()
            except ThresherError as failed:
                error = failed
            else:
                return

    def _hang_up(self) -> None:
        if self._call is not None:
            self._call.cancel()
