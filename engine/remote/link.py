"""An executor on another server: one lasting ExecuteMany call, opened again whenever it ends."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator

from google.rpc import code_pb2  # pyright: ignore[reportMissingTypeStubs]
from thresher.client import AsyncClient, AsyncExecuteStream, ThresherError
from thresher.client.channel import MAX_MESSAGE_BYTES, Endpoint
from thresher.v1 import execution_service_pb2

from engine.logs import get_logger
from engine.remote.member import Balance, Member
from engine.remote.runs import Run
from engine.serving.problem_out import program_out
from engine.serving.program_stream import EXECUTE_MANY
from engine.serving.report_in import report_in, test_report_in
from engine.tracing import Span, calling
from executor import InvalidProgram, SandboxInfo
from executor.errors import ExecutorError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_CALM_SECONDS = 30.0
_ASK_SECONDS = 5.0
_METHOD = "ExecutionService.ExecuteMany"
_TRACES = "RunProgram.trace_context"
_LANGUAGE = "LANGUAGE_"
_ENVELOPE_BYTES = 64

_log = get_logger(__name__)


class _Trouble(Exception):
    """The other server cannot be used now; the text says why."""


class RemoteMember(Member):
    """The executor behind `endpoint`. Whatever is wrong with it is tried again, with growing pauses."""

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        super().__init__(name)
        self._endpoint = endpoint
        self._keeper: asyncio.Task[None] | None = None
        self._client: AsyncClient | None = None
        self._balance: Balance | None = None
        self._stream: AsyncExecuteStream | None = None
        self._outgoing: asyncio.Queue[Run] = asyncio.Queue()
        self._sent: dict[int, Run] = {}
        self._numbers: dict[Run, int] = {}
        self._spans: dict[Run, Span] = {}
        self._draining = False
        self._most_bytes = 0
        self._takes_traces = False

    async def start(self, balance: Balance) -> None:
        """Begin to look for it."""
        self._balance = balance
        self._client = AsyncClient(self._endpoint)
        self._keeper = asyncio.create_task(self._keep(balance, self._client))

    async def close(self) -> None:
        """Hang up, which kills what still runs there."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        if self._client is not None:
            await self._client.close()

    def post(self, run: Run) -> None:
        """Send it. What cannot be sent is refused."""
        self.runs.add(run)
        self._outgoing.put_nowait(run)

    def cancel(self, run: Run) -> None:
        """Ask for its end; a run that has not been sent is simply dropped."""
        number = self._numbers.get(run)
        if number is not None and self._stream is not None:
            self._stream.cancel_program(number)
        elif number is None:
            self._end(run)
            self._tell.cancelled(self, run)

    @property
    def _tell(self) -> Balance:
        assert self._balance is not None
        return self._balance

    def _end(self, run: Run) -> None:
        """Nothing more is to be said of it here."""
        self.runs.discard(run)
        number = self._numbers.pop(run, None)
        if number is not None:
            del self._sent[number]
        if (span := self._spans.pop(run, None)) is not None:
            span.end()

    async def _keep(self, balance: Balance, client: AsyncClient) -> None:
        pause = _FIRST_PAUSE
        while True:
            began, before = time.monotonic(), self.starts
            try:
                await self._serve(client)
            except (ThresherError, _Trouble) as error:
                self.trouble = str(error)
            except Exception as error:
                self.trouble = f"{type(error).__name__}: {error}"
                _log.exception("a remote executor's link failed", executor=self.name)
            finally:
                outstanding = len(self.runs)
                self._down(balance)
            served = self.starts > before
            if served or pause == _FIRST_PAUSE:
                _log.warning("executor lost", executor=self.name, reason=self.trouble, outstanding=outstanding)
            if served and time.monotonic() - began > _CALM_SECONDS:
                pause = _FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _down(self, balance: Balance) -> None:
        was_up, self.up = self.up, False
        if was_up:
            balance.changed(self)
        blame = not self._draining
        for run in list(self.runs):
            sent = run in self._numbers
            if (span := self._spans.get(run)) is not None:
                span.fail("executor_lost")
            self._end(run)
            balance.lost(self, run, blame=blame and sent)
        self._stream = None
        self._outgoing = asyncio.Queue()

    async def _serve(self, client: AsyncClient) -> None:
        """Be up until the call ends. Raises ThresherError or _Trouble."""
        info = await client.server_info(timeout=_ASK_SECONDS)
        if _METHOD not in info.features:
            raise _Trouble(f"it runs thresher {info.version} without {_METHOD}; update it")
        slots = (await client.load(timeout=_ASK_SECONDS)).executor_slots
        if not info.max_programs_in_flight or not info.HasField("sandbox") or not slots:
            raise _Trouble("it is still starting, or has no sandbox")
        languages = (name for name in info.features if name.startswith(_LANGUAGE))
        self.info = SandboxInfo(
            backend=info.sandbox.backend,
            version=info.sandbox.version,
            weaknesses=tuple(info.sandbox.weaknesses),
            runtimes=tuple(name.removeprefix(_LANGUAGE).lower() for name in languages),
        )
        self.slots, self.most = slots, info.max_programs_in_flight
        self._most_bytes = min(info.max_request_bytes, MAX_MESSAGE_BYTES)
        self._draining = False
        self._takes_traces = _TRACES in info.features
        async with client.execute_many(self._requests(), within=self.most) as stream:
            self._stream = stream
            self.up = True
            self.starts += 1
            _log.info("executor found", executor=self.name, slots=slots, weaknesses=list(self.info.weaknesses))
            self._tell.changed(self)
            async for reply in stream:
                self._handle(reply)
        raise _Trouble("it ended the call")

    async def _requests(self) -> AsyncGenerator[execution_service_pb2.RunProgram]:
        """Programs as they are posted. Their numbers are their positions, as the stream counts them."""
        number = 0
        outgoing = self._outgoing
        while True:
            run = await outgoing.get()
            if run not in self.runs:
                continue
            try:
                request = self._request(run)
            except InvalidProgram as error:
                self._end(run)
                self._tell.refused(self, run, error)
                continue
            self._sent[number] = run
            self._numbers[run] = number
            number += 1
            yield request

    def _request(self, run: Run) -> execution_service_pb2.RunProgram:
        """Raises InvalidProgram for what would end the call, and with it the other programs."""
        wanted = run.on_test is not None
        request = execution_service_pb2.RunProgram(program=program_out(run.program), test_results=wanted)
        # One call carries the programs of many solves, so that a program's trace cannot be in the call's metadata.
        span, context = run.context.run(calling, EXECUTE_MANY)
        if span is not None:
            span.add({"thresher.executor": self.name})
            self._spans[run] = span
        if context and self._takes_traces:
            request.trace_context.CopyFrom(execution_service_pb2.TraceContext(**dict(context)))
        if (size := request.ByteSize() + _ENVELOPE_BYTES) > self._most_bytes:
            raise InvalidProgram(f"program: has {size} bytes with its tests; {self.name} takes {self._most_bytes}")
        return request

    def _handle(self, reply: execution_service_pb2.ExecuteManyResponse) -> None:
        run = self._sent.get(reply.id)
        if run is None:
            raise _Trouble(f"it answered for {reply.id}, which it was not asked")
        match reply.WhichOneof("reply"):
            case "test":
                run.tell(test_report_in(reply.test, run.program, range(len(run.program.tests))))
            case "report":
                report = report_in(reply.report, run.program, range(len(run.program.tests)))
                self._end(run)
                self._tell.judged(self, run, report)
            case "cancelled":
                self._end(run)
                if run.cancelling:
                    self._tell.cancelled(self, run)
                else:
                    self._tell.lost(self, run, blame=True)
            case "refused":
                self._end(run)
                self._refused(run, reply.refused)
            case None:
                raise _Trouble("it sent a reply that this version does not know")

    def _refused(self, run: Run, refused: execution_service_pb2.ProgramRefused) -> None:
        if refused.code == code_pb2.UNAVAILABLE:
            # One that drains still finishes what it has taken; one without its sandbox is of no use at all.
            self._draining = refused.reason == "DRAINING"
            if self._draining and self.up:
                self.up = False
                self._tell.changed(self)
            self._tell.lost(self, run, blame=not self._draining)
            if not self._draining:
                raise _Trouble(refused.message)
        elif refused.code in (code_pb2.INVALID_ARGUMENT, code_pb2.UNIMPLEMENTED):
            self._tell.refused(self, run, InvalidProgram(f"{self.name} refused it: {refused.message}"))
        else:
            self._tell.refused(self, run, ExecutorError(f"{self.name} refused it: {refused.message}"))
