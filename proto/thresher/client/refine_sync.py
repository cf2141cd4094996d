"""A session of Refine, blocking."""

import queue
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import grpc

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
from thresher.v1 import refine_pb2, solve_pb2


class TurnStream(Asked, Iterator[Response]):
    """The messages of one question, up to the end of its turn, or of the last one that follows by itself.

    `turns` are those that have begun, `summary` and `code` are the last one's. Iterating raises ThresherError where the
    session is lost; that a turn failed says `turns[-1].failure`.
    """

    def __init__(self, session: "RefineSession", number: int) -> None:
        super().__init__(number)
        self._session = session

    def __next__(self) -> Response:
        while not self.over:
            reply = self._session.hear()
            if self._session.dialogue.belongs(self):
                self.take(reply)
                return reply
        raise StopIteration

    def run(self) -> Self:
        """Read to the end, and return this. Raises ThresherError where the last turn failed."""
        for _ in self:
            pass
        self.check()
        return self


class RefineSession:
    """A conversation with a server: `start`, then `say`, `add_tests`, `resample` as often as need be, and `end`.

    Each of these begins a turn, ends the one before if it is under way, and returns its messages. A dropped connection
    is taken up again where it broke, for half a minute. For one thread at a time. Leaving the `with` block ends the
    session on the server.
    """

    def __init__(
        self,
        call: Callable[[Iterator[Request]], Any],
        transcript: Callable[[str], refine_pb2.Transcript],
        spec: solve_pb2.SolveSpec,
        rounds: int,
    ) -> None:
        self.dialogue = Dialogue(spec, rounds)
        self._start = call
        self._transcript = transcript
        self._call: Any = None
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()

    @property
    def name(self) -> str:
        """`sessions/...`; empty before the start."""
        return self.dialogue.name

    def start(self) -> TurnStream:
        """Begin: the first turn is a whole solve."""
        if self.dialogue.asked:
            raise ValueError("the session has begun; say something, or resample")
        self._connect()
        return self._asked()

    def say(
        self,
        words: str = "",
        *,
        candidate: CandidateOf | None = None,
        rounds: int = 1,
        sampling: solve_pb2.SamplingParams | None = None,
        budget: solve_pb2.Budget | None = None,
    ) -> TurnStream:
        """Draw again, the model having been told what failed, and your words, if any: of `candidate` (its turn and its
        index), or of the best program of the last turn."""
        if words.strip():
            self._send(feedback=feedback(words, candidate))
        elif candidate is not None:
            raise ValueError("candidate: is given without words; say something of it, or leave it out")
        return self._turn(resample(rounds, sampling, budget))

    def add_tests(self, tests: Tests, *, words: str = "", rounds: int = 1) -> TurnStream:
        """Draw again with more tests. Programs that had passed are judged again first. Raises ProblemError."""
        self._send(add_tests=added(tests))
        return self.say(words, rounds=rounds)

    def resample(
        self,
        *,
        rounds: int = 1,
        sampling: solve_pb2.SamplingParams | None = None,
        budget: solve_pb2.Budget | None = None,
    ) -> TurnStream:
        """Draw more from the prompt of the last turn: nothing is told of what failed."""
        return self._turn(resample(rounds, sampling, budget, same_prompt=True))

    def take_back(self, turn: int, index: int) -> None:
        """You do not want this program, whatever its tests say: it is not quoted any more, and passes no more."""
        self._send(take_back=refine_pb2.TakeBack(candidate=named((turn, index))))

    def stop(self) -> None:
        """End the turn in progress, and those that would follow by themselves. Its last messages still come."""
        self._send(end_turn=refine_pb2.EndTurn())

    def end(self) -> refine_pb2.Transcript:
        """End the session. Its whole conversation."""
        if self.dialogue.ended is None:
            self._send(end_session=refine_pb2.EndSession())
            while self.dialogue.ended is None:
                self.hear()
        self._hang_up()
        return self.dialogue.ended.transcript

    def transcript(self) -> refine_pb2.Transcript:
        """The whole conversation up to now; `thresher.client.to_plain` makes JSON of it."""
        if self.dialogue.ended is not None:
            return self.dialogue.ended.transcript
        return self._transcript(self.name)

    def hear(self) -> Response:
        """The next message, over a new connection where the old one breaks. Raises ThresherError."""
        while True:
            try:
                reply: Response = next(self._call)
            except StopIteration:
                self._again(lost(None))
                continue
            except grpc.RpcError as error:
                self._again(from_rpc(error))
                continue
            self.dialogue.take(reply)
            if (receipt := self.dialogue.receipt()) is not None:
                self._requests.put(receipt)
            return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is None and self.name and self.dialogue.ended is None:
            self.end()
        self._hang_up()

    def __del__(self) -> None:
        self._hang_up()

    def _asked(self) -> TurnStream:
        return TurnStream(self, self.dialogue.ask().number)

    def _turn(self, action: refine_pb2.Resample) -> TurnStream:
        self._send(resample=action)
        return self._asked()

    def _send(self, **action: Any) -> None:
        if not self.name:
            raise ValueError("the session has not begun; call start first")
        if self.dialogue.ended is not None:
            raise ValueError("the session has ended; start another one")
        if self.dialogue.stale:
            self._connect()
        self._requests.put(self.dialogue.action(**action))

    def _connect(self) -> None:
        """Make a call, and wait until the server has opened the session. Raises ThresherError."""
        requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        requests.put(self.dialogue.first())
        self._hang_up()
        self._requests = requests
        self._call = self._start(iter(requests.get, None))
        try:
            reply: Response = next(self._call)
        except StopIteration:
            raise lost(None) from None
        except grpc.RpcError as error:
            raise from_rpc(error) from error
        for request in self.dialogue.opened(reply.session_opened):
            requests.put(request)

    def _again(self, error: ThresherError) -> None:
        """Take the session up again. Raises `error`, or the one that then stands in the way."""
        ends_at = time.monotonic() + PATIENCE
        tries = 0
        while True:
            if not broken(error) or time.monotonic() >= ends_at:
                self._hang_up()
                self.dialogue.stale = bool(self.name)
                raise error
            time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
            tries += 1
            try:
                self._connect()
            except ThresherError as failed:
                error = failed
            else:
                return

    def _hang_up(self) -> None:
        self._requests.put(None)
        if self._call is not None:
            self._call.cancel()
