"""Calls of Refine to a front with a scripted solver: what is asked, what is drawn, what was heard."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from thresher.client.true_status import keep_true_status
from thresher.v1 import problem_pb2, refine_pb2, solve_pb2, synthesis_service_pb2

from engine.core.types import FinishReason
from engine.solving.events import CandidateFinished, CandidateJudged
from engine.solving.spec import ChatPrompt, SolveSpec
from engine.solving.summary import Accounting, Candidate, Escalation, SolveOutcome, Summary
from executor.verdict import Report, TestReport, Verdict
from tests.support.scripted_solver import Step, accepted, passed_report
from tests.support.served import Served

Request = synthesis_service_pb2.RefineRequest
Response = synthesis_service_pb2.RefineResponse
Metadata = tuple[tuple[str, str], ...]
RIGHT = "def add(a, b):\n    return a + b\n"
WRONG = "def add(a, b):\n    return a - b  # turn {}\n"


def task(**fields: Any) -> solve_pb2.SolveSpec:
    problem = problem_pb2.Problem(
        chat=problem_pb2.ChatPrompt(messages=[problem_pb2.ChatMessage(role="user", content="Write add(a, b).")]),
        entry_point="add",
        tests=[problem_pb2.Test(name="sum", snippet=problem_pb2.SnippetTest(code="assert add(1, 2) == 3"))],
    )
    return solve_pb2.SolveSpec(**{"problem": problem, **fields})


def start(rounds: int = 0, **fields: Any) -> Request:
    return Request(start=refine_pb2.StartSession(spec=task(**fields), rounds=rounds))


def resume(session: str, seen: int = 0) -> Request:
    return Request(resume=refine_pb2.ResumeSession(session=session), seen=seen)


def drawn(spec: SolveSpec, code: str, *, passes: bool = False) -> list[Step]:
    """A solve of one sample."""
    visible = sum(not held.hidden for held in spec.tests)
    report = passed_report(visible)
    if not passes:
        failing = TestReport(
            index=visible - 1,
            verdict=Verdict.WRONG_ANSWER,
            message="got -1, expected 3",
            stderr=b"Traceback (most recent call last):\nAssertionError: add(1, 2) == -1",
        )
        report = Report(
            verdict=Verdict.WRONG_ANSWER, tests=(*passed_report(visible - 1).tests, failing), tests_total=visible
        )
    candidate = Candidate(
        index=0,
        code=code,
        finish_reason=FinishReason.END_OF_PROGRAM,
        generated_tokens=9,
        samples=(0,),
        sample_logprobs=(-2.25,),
        model="scripted",
        report=report,
    )
    return [
        accepted(spec),
        CandidateFinished(
            index=0, branch=None, finish_reason=FinishReason.END_OF_PROGRAM, generated_tokens=9, samples=(0,)
        ),
        CandidateJudged(candidate=candidate),
        Summary(
            outcome=SolveOutcome.SOLVED if passes else SolveOutcome.EXHAUSTED,
            candidates=(candidate,) if passes else (),
            accounting=Accounting(samples_requested=1, samples_started=1, samples_finished=1),
            escalation=Escalation(recommended=not passes, confidence=0.5, reason=""),
            seed=7,
        ),
    ]


def failing_until(turn: int) -> Callable[[SolveSpec], list[Step]]:
    """The program of that turn passes, each one before is wrong in its own way."""

    def script(spec: SolveSpec) -> list[Step]:
        number = int(spec.request_id.rpartition("/")[2])
        return drawn(spec, RIGHT, passes=True) if number >= turn else drawn(spec, WRONG.format(number))

    return script


class Talk:
    """A call of Refine, with what it has said so far."""

    def __init__(self, served: Served, first: Request, metadata: Metadata = ()) -> None:
        self.call: Any = keep_true_status(served.synthesis.Refine(metadata=metadata))
        self.first = first
        self.heard: list[Response] = []
        self.session = ""
        self.actions_taken = 0

    async def open(self) -> "Talk":
        await self.call.write(self.first)
        opened = await self.call.read()
        assert opened.HasField("session_opened"), opened
        assert opened.sequence == 0
        self.session, self.actions_taken = opened.session_opened.session, opened.session_opened.actions_taken
        return self

    async def say(self, **action: Any) -> None:
        await self.call.write(Request(**action))

    async def hear(self) -> Response:
        response = await asyncio.wait_for(self.call.read(), 30)
        assert response is not grpc.aio.EOF, "the call has ended"
        self.heard.append(response)
        return response

    async def turn(self) -> refine_pb2.TurnEnded:
        """Up to the end of a turn."""
        while not (response := await self.hear()).HasField("turn_ended"):
            pass
        return response.turn_ended

    @property
    def seen(self) -> int:
        return self.heard[-1].sequence if self.heard else 0


@asynccontextmanager
async def talking(served: Served, first: Request, metadata: Metadata = ()) -> AsyncGenerator[Talk]:
    talk = Talk(served, first, metadata)
    try:
        yield await talk.open()
    finally:
        talk.call.cancel()


def prompt(served: Served, turn: int = -1) -> list[tuple[str, str]]:
    asked = served.solver.specs[turn].prompt
    assert isinstance(asked, ChatPrompt)
    return [(message.role, message.content) for message in asked.messages]
