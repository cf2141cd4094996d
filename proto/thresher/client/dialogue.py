"""A session of Refine without its connection: what is to be sent, what has come, and what a resume has to say again.

Both clients read and write the same; this is the part of it that does neither.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from thresher.client.errors import ThresherError
from thresher.client.plain import enum_word
from thresher.client.problem_tests import read_tests
from thresher.v1 import problem_pb2, refine_pb2, solve_pb2, synthesis_service_pb2

Request = synthesis_service_pb2.RefineRequest
Response = synthesis_service_pb2.RefineResponse
CandidateOf = tuple[int, int]
"""A candidate: its turn, and its index there."""
Tests = Sequence[str | Mapping[str, Any] | problem_pb2.Test]
"""Tests as a problem document has them, or as messages."""

_UNSEEN = 64
"""After so many messages the server hears that they have come, and need not keep them."""
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
PATIENCE = 30.0
"""Seconds in which a client tries to take a session up again."""
PAUSES = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each try; the last one again and again."""


@dataclass(slots=True)
class Turn:
    """One turn of a session, as far as it has come. `outcome` is `solved`, `unsolved`, `cut_off` or `failed`, empty
    while it is under way; `failure` says why it failed. `accounting` is what it cost, with a summary or cut off."""

    number: int
    automatic: bool
    added: tuple[problem_pb2.ChatMessage, ...]
    candidates: list[solve_pb2.Candidate] = field(default_factory=list)
    summary: solve_pb2.Summary | None = None
    accounting: solve_pb2.Accounting | None = None
    outcome: str = ""
    failure: ThresherError | None = None

    @property
    def code(self) -> str | None:
        """The program that passed all visible tests; None without."""
        found = () if self.summary is None or self.outcome != "solved" else self.summary.candidates
        return found[0].code if found else None


class Asked:
    """What one question has come to: its turn, and those that followed by themselves."""

    def __init__(self, number: int) -> None:
        self.turns: list[Turn] = []
        self.over = False
        self.number = number  # of the questions of its session, from 1 on

    @property
    def solved(self) -> bool:
        """Whether a program passed."""
        return self.code is not None

    @property
    def code(self) -> str | None:
        """The program that passed; None without."""
        return self.turns[-1].code if self.turns else None

    @property
    def summary(self) -> solve_pb2.Summary | None:
        """The server's own account of the last turn."""
        return self.turns[-1].summary if self.turns else None

    def take(self, reply: Response) -> None:
        """One message of these turns."""
        match reply.WhichOneof("reply"):
            case "turn_started":
                started = reply.turn_started
                self.turns.append(Turn(started.turn, started.automatic, tuple(started.added)))
            case "event":
                turn = self.turns[-1]
                if reply.event.HasField("candidate_judged"):
                    turn.candidates.append(reply.event.candidate_judged.candidate)
                if reply.event.HasField("summary"):
                    turn.summary = reply.event.summary
                    turn.accounting = turn.summary.accounting
            case "turn_ended":
                ended, turn = reply.turn_ended, self.turns[-1]
                turn.outcome = enum_word(refine_pb2.TurnOutcome.DESCRIPTOR, ended.outcome)
                turn.failure = _failure(ended.failure) if ended.HasField("failure") else None
                if ended.HasField("accounting"):
                    turn.accounting = ended.accounting
                self.over = not ended.another_follows
            case _:
                self.over = True

    def check(self) -> None:
        """Raises ThresherError where the last turn failed."""
        if self.turns and self.turns[-1].failure is not None:
            raise self.turns[-1].failure


class Dialogue:
    """The state of one session."""

    def __init__(self, spec: solve_pb2.SolveSpec, rounds: int) -> None:
        self.name = ""
        """`sessions/...`, once it is open."""
        self.asked = 0
        self.ended: refine_pb2.SessionEnded | None = None
        self._start = refine_pb2.StartSession(spec=spec, rounds=rounds)
        self._begun = 0  # questions whose first turn has started
        self._seen = 0
        self._told_seen = 0
        self._number = 0
        self._unsure: list[Request] = []  # actions that the server may not have taken
        self._questions: list[int] = []  # numbers of the actions that began a turn
        self.stale = False
        """An action was refused: which ones before it were taken says the next call."""

    def first(self) -> Request:
        """The first message of a call."""
        if not self.name:
            return Request(start=self._start)
        self._told_seen = self._seen
        return Request(resume=refine_pb2.ResumeSession(session=self.name), seen=self._seen)

    def opened(self, opened: refine_pb2.SessionOpened) -> list[Request]:
        """The session is open, or again: what is to be sent once more."""
        self.name, taken = opened.session, opened.actions_taken
        if self.stale:
            self.stale, self._number = False, taken
            self._questions = [number for number in self._questions if number <= taken]
            self.asked = 1 + len(self._questions)
            self._unsure.clear()
        self._unsure = [request for request in self._unsure if request.number > taken]
        return list(self._unsure)

    def action(self, **action: Any) -> Request:
        """The next action."""
        self._number += 1
        self._told_seen = self._seen
        request = Request(number=self._number, seen=self._seen, **action)
        self._unsure.append(request)
        if request.HasField("resample"):
            self._questions.append(self._number)
        return request

    def ask(self) -> Asked:
        """One more question, whose turns will come."""
        self.asked += 1
        return Asked(self.asked)

    def take(self, reply: Response) -> None:
        """One message has come, in the order of their numbers."""
        self._seen = reply.sequence
        match reply.WhichOneof("reply"):
            case "turn_started" if not reply.turn_started.automatic:
                self._begun += 1
            case "session_ended":
                self.ended = reply.session_ended
            case _:
                pass

    def belongs(self, asked: Asked) -> bool:
        """Whether the message that came last is of this question's turns."""
        return self.ended is not None or self._begun == asked.number

    def receipt(self) -> Request | None:
        """What is to be said of what has come, if it is time."""
        if self._seen - self._told_seen < _UNSEEN:
            return None
        self._told_seen = self._seen
        return Request(seen=self._seen)


def until(timeout: float | None) -> Callable[[], float | None]:
    """Says how many of `timeout` seconds from now are left."""
    ends_at = None if timeout is None else time.monotonic() + timeout
    return lambda: None if ends_at is None else max(0.0, ends_at - time.monotonic())


def broken(error: ThresherError) -> bool:
    """Whether a call that ended so may be taken up again: the connection broke, and not the session."""
    return error.code in _BROKEN and error.reason in ("", "ENGINE_FAILED", "STARTING")


def lost(error: ThresherError | None) -> ThresherError:
    """The error of a session that ended where it should not have."""
    if error is not None:
        return error
    return ThresherError(grpc.StatusCode.INTERNAL, "NO_SUMMARY", "the call ended well, in the middle of a turn")


def feedback(words: str, candidate: CandidateOf | None) -> refine_pb2.Feedback:
    """What is said of a candidate."""
    return refine_pb2.Feedback(comment=words, candidate=None if candidate is None else named(candidate))


def named(candidate: CandidateOf) -> refine_pb2.CandidateName:
    """A candidate by its turn and its index there."""
    return refine_pb2.CandidateName(turn=candidate[0], index=candidate[1])


def added(tests: Tests) -> refine_pb2.AddTests:
    """More tests. Raises ProblemError."""
    given = list(tests)
    if given and all(isinstance(test, problem_pb2.Test) for test in given):
        return refine_pb2.AddTests(tests=[test for test in given if isinstance(test, problem_pb2.Test)])
    return refine_pb2.AddTests(tests=read_tests([*given]))


def resample(
    rounds: int,
    sampling: solve_pb2.SamplingParams | None,
    budget: solve_pb2.Budget | None,
    *,
    same_prompt: bool = False,
) -> refine_pb2.Resample:
    """The beginning of a turn."""
    return refine_pb2.Resample(sampling=sampling, budget=budget, rounds=rounds, same_prompt=same_prompt)


def _failure(failure: refine_pb2.TurnFailure) -> ThresherError:
    code = getattr(grpc.StatusCode, failure.code, grpc.StatusCode.UNKNOWN)
    return ThresherError(code, failure.reason, failure.message)
