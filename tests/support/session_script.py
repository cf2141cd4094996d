"""Sessions without gRPC: a scripted solve for each turn, and a client that sees, drops and comes back."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from engine.core.types import FinishReason
from engine.solving.conversation import Conversation
from engine.solving.errors import EngineFailed
from engine.solving.events import Accepted, CandidateJudged, EventBody, SolveEvent
from engine.solving.refine import Reply, Resample, SessionEnded, TurnEnded, TurnFailure, TurnStarted
from engine.solving.session import Connection, Session
from engine.solving.spec import ChatMessage, ChatPrompt, HeldTest, SolveSpec
from engine.solving.summary import Accounting, Candidate, Escalation, SolveOutcome, Summary
from engine.solving.tiers import Cut
from executor.types import SnippetTest
from executor.verdict import Evidence, Report, TestReport, Verdict


def chat_spec(*codes: str, **fields: Any) -> SolveSpec:
    """A chat of one message; `codes` are its tests."""
    held = tuple(HeldTest(SnippetTest(code=code)) for code in codes or ("assert f() == 1",))
    prompt = ChatPrompt((ChatMessage("user", "Write f()."),))
    return replace(SolveSpec(request_id="talk", prompt=prompt, tests=held), **fields)


def judged(index: int, code: str, passed: int, total: int = 1, stderr: bytes = b"") -> Candidate:
    """A candidate that passes `passed` of its tests, from the first one on."""
    tests = [TestReport(index=number, verdict=Verdict.PASSED, evidence=Evidence.VALUES) for number in range(passed)]
    if passed < total:
        tests.append(TestReport(index=passed, verdict=Verdict.WRONG_ANSWER, message="got 0", stderr=stderr))
    verdict = Verdict.PASSED if passed == total else Verdict.WRONG_ANSWER
    return Candidate(
        index=index,
        code=code,
        finish_reason=FinishReason.END_OF_PROGRAM,
        generated_tokens=5,
        samples=(index,),
        model="scripted",
        report=Report(verdict=verdict, tests=tuple(tests), tests_total=total),
    )


def summary(*passed: Candidate) -> Summary:
    """The end of a solve."""
    return Summary(
        outcome=SolveOutcome.SOLVED if passed else SolveOutcome.EXHAUSTED,
        candidates=passed,
        accounting=Accounting(),
        escalation=Escalation(recommended=False, confidence=0.0, reason=""),
        seed=3,
    )


def event(sequence: int, body: EventBody) -> SolveEvent:
    return SolveEvent(sequence, 0.0, body)


class Solves:
    """Each turn's solve waits for `let` before each event, and then ends as `ends` says, by turn."""

    def __init__(self) -> None:
        self.live = 0
        self.begun = 0
        self.passes = False
        self.fails = False
        self.pad = 0
        self._gate = asyncio.Semaphore(0)

    def let(self, events: int = 1) -> None:
        """Let so many events happen."""
        for _ in range(events):
            self._gate.release()

    async def run(self, spec: SolveSpec, cut: Cut) -> AsyncGenerator[SolveEvent]:
        self.live += 1
        self.begun += 1
        candidate = judged(0, f"x = {self.begun}\n" + "#" * self.pad, int(self.passes))
        bodies = [
            Accepted(request_id=spec.request_id, model="scripted", queue_depth=0, prompt_tokens=1, seed=3),
            CandidateJudged(candidate=candidate),
            summary(*((candidate,) if self.passes else ())),
        ]
        try:
            for number, body in enumerate(bodies, start=1):
                await self._next(cut)
                if cut.done():
                    yield event(number, summary())
                    return
                if self.fails and number == 2:
                    raise EngineFailed("scripted")
                yield event(number, body)
        finally:
            self.live -= 1

    async def _next(self, cut: Cut) -> None:
        gate = asyncio.ensure_future(self._gate.acquire())
        try:
            await asyncio.wait([gate, cut], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gate.cancel()


def told(sequence: int, reply: Reply) -> bytes:
    """A message as the tests keep it: its number, kind and turn, with as much padding as a candidate has code."""
    match reply:
        case TurnStarted():
            text = f"started {reply.turn} {int(reply.automatic)}"
        case TurnEnded():
            text = f"ended {reply.turn} {reply.outcome}"
        case SessionEnded():
            text = "over"
        case SolveEvent():
            body = reply.body
            code = body.candidate.code if isinstance(body, CandidateJudged) else ""
            text = f"event {type(body).__name__} {code}"
    return f"{sequence} {text}".encode()


def session(solves: Solves, *, log_bytes: int = 1 << 16, room: int = 1 << 16, most_turns: int = 64) -> Session:
    """A session that has not begun its first turn."""
    return Session(
        "talk",
        Conversation(chat_spec(), room=room, size=100),
        run=solves.run,
        write=told,
        failure_of=lambda error: TurnFailure("INTERNAL", "ENGINE_FAILED", str(error)),
        log_bytes=log_bytes,
        most_turns=most_turns,
    )


@dataclass
class Client:
    """Reads what a session says, and remembers all of it over its connections."""

    session: Session
    heard: list[str] = field(default_factory=list)
    error: Exception | None = None
    connection: Connection | None = None
    _reading: asyncio.Task[None] | None = None

    def connect(self) -> None:
        self.connection = self.session.connect(len(self.heard))
        self._reading = asyncio.create_task(self._read(self.connection))

    async def drop(self) -> None:
        if self._reading is not None and self.connection is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
            self.session.disconnect(self.connection)
            self._reading = self.connection = None

    async def _read(self, connection: Connection) -> None:
        try:
            async with aclosing(self.session.replies(connection)) as replies:
                async for data in replies:
                    number, _, text = data.decode().partition(" ")
                    assert int(number) == len(self.heard) + 1, "a message is lost, or told twice"
                    self.heard.append(text)
        except Exception as error:
            self.error = error


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(30):
        await asyncio.sleep(0)


def begin(one: Session, rounds: int = 1) -> None:
    """Its next turn."""
    one.start(Resample(rounds=rounds))
