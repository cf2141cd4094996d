"""The replies of one blocking ExecuteMany call."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self

import grpc

from thresher.client.errors import from_rpc
from thresher.v1 import execution_service_pb2

Request = execution_service_pb2.ExecuteManyRequest
Response = execution_service_pb2.ExecuteManyResponse
Item = execution_service_pb2.Program | execution_service_pb2.RunProgram
"""A RunProgram says for itself whether its tests' results are wanted."""


class _Feed:
    """What is sent, by gRPC's own thread. Apart from the stream, so that a dropped stream ends it."""

    def __init__(self, programs: Iterable[Item], most: int, test_results: bool) -> None:
        self.fault: Exception | None = None
        self._programs = iter(programs)
        self._most = most
        self._test_results = test_results
        self._changed = threading.Condition()
        self._cancels: deque[int] = deque()
        self._early: set[int] = set()
        self._sent = 0
        self._live = 0
        self._exhausted = False
        self._over = False

    def requests(self) -> Iterator[Request]:
        """Programs while there is room, cancels at once; open until the last program has ended, for its cancel."""
        while True:
            with self._changed:
                self._changed.wait_for(self._due)
                if self._over:
                    return
                if self._cancels:
                    request = Request(id=self._cancels.popleft(), cancel=execution_service_pb2.CancelProgram())
                elif self._exhausted:
                    return
                else:
                    request = None
                    self._live += 1
            if request is None and (request := self._next()) is None:
                self._exhausted = True
                self.ended()
                continue
            yield request

    def _due(self) -> bool:
        if self._over or self._cancels:
            return True
        return not self._live if self._exhausted else self._live < self._most

    def _next(self) -> Request | None:
        try:
            run = next(self._programs)
        except StopIteration:
            return None
        except Exception as error:  # raised again where the caller iterates, once what is running has ended
            self.fault = error
            return None
        with self._changed:
            number = self._sent
            self._sent += 1
            if number in self._early:
                self._cancels.append(number)
        if isinstance(run, execution_service_pb2.Program):
            run = execution_service_pb2.RunProgram(program=run, test_results=self._test_results)
        return Request(id=number, run=run)

    def cancel(self, number: int) -> None:
        """Sent at once, or right after its program."""
        with self._changed:
            if number < self._sent:
                self._cancels.append(number)
            else:
                self._early.add(number)
            self._changed.notify_all()

    def ended(self) -> None:
        """One program has ended."""
        with self._changed:
            self._live -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """The call is over."""
        with self._changed:
            self._over = True
            self._changed.notify_all()


class ExecuteStream(Iterator[Response]):
    """Replies as programs end; `id` is a program's position among those given, `reply` says what came of it.

    Each program ends with exactly one of report, refused and cancelled. Programs are taken from their iterable, by a
    thread of gRPC's, only as fast as the server has room and these replies are read. Leaving the stream before its end
    (`cancel`, `with`, or by dropping it) kills what runs. Iterating raises ThresherError where the call fails, and what
    the iterable of programs raised, once what was sent before has ended.
    """

    def __init__(
        self,
        start: Callable[[Iterator[Request]], Any],
        programs: Iterable[Item],
        most: int,
        test_results: bool,
    ) -> None:
        self._feed = _Feed(programs, most, test_results)
        self._cancelled = False
        self._call = start(self._feed.requests())
        self._call.add_callback(self._feed.close)

    def __next__(self) -> Response:
        try:
            reply: Response = next(self._call)
        except StopIteration:
            if self._feed.fault is not None:
                raise self._feed.fault from None
            raise
        except grpc.RpcError as error:
            if self._cancelled:
                raise StopIteration from None
            raise from_rpc(error) from error
        if reply.WhichOneof("reply") != "test":
            self._feed.ended()
        return reply

    def cancel_program(self, number: int) -> None:
        """Ends one program by its id, also before it is sent; its last reply says whether that was in time.

        Safe from any thread.
        """
        self._feed.cancel(number)

    def cancel(self) -> None:
        """Ends the call and kills every program of it. Safe from any thread, and twice."""
        self._cancelled = True
        self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        self._call.cancel()
