"""A tier elsewhere: one or more servers that serve the same model, of which each solve goes to one."""

import asyncio
import hashlib
import math
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager

import grpc
from thresher.client import AsyncSolveStream, ThresherError
from thresher.v1 import solve_pb2

from engine.remote.replica import Replica
from engine.serving.event_in import EventReader
from engine.serving.solve_spec_out import solve_spec_out
from engine.solving.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    SolveError,
    Unavailable,
    Unsupported,
)
from engine.solving.events import SolveEvent
from engine.solving.served import ModelInfo
from engine.solving.spec import ChatPrompt, CompletionPrompt, InfillPrompt, SolveSpec
from engine.solving.tiers import Cut
from engine.tracing import Span, calling
from executor.errors import InvalidProgram

_METHOD = "/thresher.v1.SynthesisService/Solve"
_MOST_TRIES = 3
_BEGINNING = 256
"""Characters of a prompt that decide where it goes: some pages of keys and values."""
_SLACK = 1.25
"""How much more than its equal part a replica may have of the solves before others get them."""


class RemoteTier:
    """Solves on `replicas`; fits `engine.solving.tiers.Tier`.

    A prompt goes to the replica that its beginning prefers (rendezvous hashing: Thaler, Ravishankar, 1998), where the
    keys and values of that beginning may still lie, unless that one has many more solves than the others (bounded
    loads: Mirrokni, Thorup, Zadimoghaddam, 2018). A solve that is silent for `silence` seconds is lost where its server
    does not answer either.
    """

    def __init__(self, name: str, model: str, replicas: Sequence[Replica], *, silence: float = 20.0) -> None:
        self.name = name
        self.model = model
        self.addresses = tuple(replica.name for replica in replicas)
        self.tries = min(_MOST_TRIES, len(replicas))
        self._replicas = tuple(replicas)
        self._silence = silence

    @property
    def up(self) -> bool:
        """Whether any replica takes solves."""
        return any(replica.up for replica in self._replicas)

    @property
    def trouble(self) -> str:
        """Why those that are down are down."""
        return "; ".join(f"{replica.name}: {replica.trouble}" for replica in self._replicas if not replica.up)

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to look for the replicas; `changed` is called when one comes up or goes down."""
        for replica in self._replicas:
            replica.start(changed)

    async def asked(self) -> None:
        """Until it is known of every replica whether it is up."""
        for replica in self._replicas:
            await replica.asked.wait()

    async def close(self) -> None:
        """Hang up."""
        await asyncio.gather(*(replica.close() for replica in self._replicas))

    def info(self) -> ModelInfo | None:
        """Its model, once a replica has answered."""
        return next((replica.info for replica in self._replicas if replica.info is not None), None)

    def loads(self) -> list[tuple[int, int, int]]:
        """Of each replica that is up: solves that run and wait, and slots of its sandbox."""
        loads = [replica.load for replica in self._replicas if replica.up]
        return [(load.solves_running, load.solves_waiting, load.executor_slots) for load in loads]

    async def solve(self, spec: SolveSpec, *, deadline: float | None, cut: Cut) -> AsyncGenerator[SolveEvent, None]:
        """As Tier says. Once it is cut it ends without a summary: the call is cancelled."""
        try:
            message = solve_spec_out(spec)
        except InvalidProgram as error:
            raise Unsupported("problem.tests", str(error)) from error
        message.model = f"models/{self.model}" if self.model else ""
        reader = EventReader(spec)
        with self._taken(spec) as replica:
            span, context = calling(_METHOD)
            name = _sendable(spec.client)
            stream = replica.client.solve(message, timeout=deadline, name=name, metadata=context)
            cut.add_done_callback(lambda _: stream.cancel())
            async with _recorded(span, stream), aclosing(self._listened(replica, stream)) as events:
                async for event in events:
                    try:
                        yield reader.event(event)
                    except ValueError as error:
                        replica.lost(f"it does not keep the protocol: {error}")
                        raise Unavailable("TIER_LOST", f"{replica.name} does not keep the protocol: {error}") from error

    @contextmanager
    def _taken(self, spec: SolveSpec) -> Generator[Replica]:
        replica = self._choose(spec)
        replica.mine += 1
        try:
            yield replica
        finally:
            replica.mine -= 1

    def _choose(self, spec: SolveSpec) -> Replica:
        """Raises Unavailable where no replica is up."""
        up = [replica for replica in self._replicas if replica.up]
        if not up:
            raise Unavailable("TIER_DOWN", f"no server of tier {self.name} can be used ({self.trouble})")
        most = math.ceil(_SLACK * (sum(replica.busy for replica in up) + 1) / len(up))
        beginning = _beginning(spec)
        in_order = sorted(up, key=lambda replica: _preference(beginning, replica.name), reverse=True)
        return next((replica for replica in in_order if replica.busy < most), in_order[0])

    async def _listened(self, replica: Replica, stream: AsyncSolveStream) -> AsyncGenerator[solve_pb2.SolveEvent, None]:
        """The events of a call. Raises SolveError, also where the server has fallen silent."""
        pending: asyncio.Future[solve_pb2.SolveEvent] | None = None
        try:
            while True:
                pending = asyncio.ensure_future(anext(stream))
                while not (await asyncio.wait({pending}, timeout=self._silence))[0]:
                    if not await replica.answers():
                        raise Unavailable("TIER_LOST", f"{replica.name} has fallen silent: {replica.trouble}")
                try:
                    event = pending.result()
                except StopAsyncIteration:
                    return
                except ThresherError as error:
                    raise _solve_error(error, replica) from error
                yield event
        finally:
            if pending is not None:
                pending.cancel()


@asynccontextmanager
async def _recorded(span: Span | None, stream: AsyncSolveStream) -> AsyncGenerator[None]:
    """The call of `stream`, with its span, which ends as the call does."""
    try:
        async with stream:
            yield
    except SolveError as error:
        if span is not None:
            span.fail(type(error).__name__)
        raise
    finally:
        if span is not None:
            span.end()


def _beginning(spec: SolveSpec) -> bytes:
    match spec.prompt:
        case CompletionPrompt(text=text):
            start = text
        case ChatPrompt(messages=messages):
            # What a session adds to its chat leaves its beginning, and so its replica, as it was.
            asked = next((n for n, message in enumerate(messages, start=1) if message.role == "user"), len(messages))
            start = "\0".join(f"{message.role}\0{message.content}" for message in messages[:asked])
        case InfillPrompt(prefix=prefix):
            start = prefix
    return hashlib.blake2b(start[:_BEGINNING].encode("utf-8", "replace")).digest()


def _preference(beginning: bytes, name: str) -> bytes:
    return hashlib.blake2b(beginning + name.encode(), digest_size=16).digest()


def _sendable(name: str) -> str | None:
    """A client's name that can go into the metadata of a call."""
    return name if name and name.isascii() and name.isprintable() else None


def _solve_error(error: ThresherError, replica: Replica) -> SolveError:
    """What a failed call is here. What says that the replica itself is of no use now takes it down."""
    metadata: dict[str, str] = error.details.get("metadata", {})
    match error.code:
        case grpc.StatusCode.INVALID_ARGUMENT:
            violations = error.details.get("violations") or [{"field": "spec", "description": error.message}]
            return InvalidRequest(violations[0]["field"], violations[0]["description"], reason=error.reason)
        case grpc.StatusCode.UNIMPLEMENTED:
            field = metadata.get("field", "spec")
            return Unsupported(field, error.message.removeprefix(f"{field}: "), reason=error.reason)
        case grpc.StatusCode.NOT_FOUND:
            return ModelNotFound(error.message, ())
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(queued=error.reason == "DEADLINE_IN_QUEUE", detail=error.message)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Unavailable(error.reason or "QUEUE_FULL", f"{replica.name}: {error}", error.retry_after or 1.0)
        case _:
            replica.lost(str(error))
            return Unavailable(error.reason or "TIER_LOST", f"{replica.name}: {error}", error.retry_after or 1.0)
