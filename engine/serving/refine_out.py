"""What a session says, and its transcript: from domain to proto."""

from collections.abc import Sequence
from dataclasses import replace

from thresher.v1 import problem_pb2, refine_pb2, synthesis_service_pb2

from engine.config import Settings
from engine.serving.limits import lowered_in
from engine.serving.solve_out import EventWriter, accounting_out, model_name
from engine.serving.status import refusal_of
from engine.solving.conversation import Conversation, Turn
from engine.solving.events import SolveEvent
from engine.solving.refine import (
    AddTests,
    CandidateName,
    Feedback,
    Noted,
    Reply,
    SessionEnded,
    TakeBack,
    TurnEnded,
    TurnFailure,
    TurnOutcome,
    TurnStarted,
)
from engine.solving.spec import ChatMessage, SolveSpec

OUTCOME = {
    TurnOutcome.SOLVED: refine_pb2.TURN_OUTCOME_SOLVED,
    TurnOutcome.UNSOLVED: refine_pb2.TURN_OUTCOME_UNSOLVED,
    TurnOutcome.CUT_OFF: refine_pb2.TURN_OUTCOME_CUT_OFF,
    TurnOutcome.FAILED: refine_pb2.TURN_OUTCOME_FAILED,
}


def session_name(name: str) -> str:
    """The resource name of a session."""
    return f"sessions/{name}"


def failure_of(error: Exception) -> TurnFailure:
    """What a call that fails so would have ended with."""
    refusal = refusal_of(error)
    return TurnFailure(refusal.code.name, refusal.reason, refusal.message)


class SessionWriter:
    """Writes what one session says. It keeps the tests as they came: names and weights are the client's."""

    def __init__(self, name: str, problem: problem_pb2.Problem, conversation: Conversation, settings: Settings) -> None:
        self._name = name
        self._limits = problem.limits
        self._tests = list(problem.tests)
        self._conversation = conversation
        self._maxima = settings.executor
        self._writer: EventWriter | None = None

    def add_tests(self, tests: Sequence[problem_pb2.Test]) -> None:
        """More tests, which the conversation has taken."""
        self._tests += tests

    def write(self, sequence: int, reply: Reply) -> bytes:
        """One message."""
        message = synthesis_service_pb2.RefineResponse(sequence=sequence)
        match reply:
            case TurnStarted():
                self._writer = self._event_writer(reply.spec)
                message.turn_started.CopyFrom(
                    refine_pb2.TurnStarted(
                        turn=reply.turn, automatic=reply.automatic, kept=reply.kept, added=_messages(reply.added)
                    )
                )
            case SolveEvent():
                if self._writer is None:
                    raise ValueError("reply: an event outside of a turn")
                message.event.CopyFrom(self._writer.event(reply))
            case TurnEnded():
                message.turn_ended.CopyFrom(
                    refine_pb2.TurnEnded(
                        turn=reply.turn,
                        outcome=OUTCOME[reply.outcome],
                        failure=_failure(reply.failure),
                        another_follows=reply.another_follows,
                        accounting=None if reply.accounting is None else accounting_out(reply.accounting),
                    )
                )
            case SessionEnded():
                message.session_ended.transcript.CopyFrom(self.transcript())
        return message.SerializeToString()

    def transcript(self) -> refine_pb2.Transcript:
        """The whole conversation."""
        talk = self._conversation
        tests = _Tests(self._tests, len(self._tests) - sum(map(_added, _actions(talk))))
        turns = [self._turn(turn, tests) for turn in talk.turns]
        model = next((turn.model for turn in talk.turns if turn.model), talk.spec.model)
        return refine_pb2.Transcript(
            session=session_name(self._name),
            model=model_name(model) if model else "",
            problem_id=talk.spec.problem_id,
            tests=map(_shown, self._tests),
            turns=turns,
            actions_since=[tests.action(action) for action in talk.since],
        )

    def _turn(self, turn: Turn, tests: "_Tests") -> refine_pb2.TranscriptTurn:
        # Events have the code where it was asked for; a transcript always has it.
        writer = self._event_writer(replace(turn.spec, events=replace(turn.spec.events, failing_code=True)))
        return refine_pb2.TranscriptTurn(
            turn=turn.number,
            automatic=turn.automatic,
            actions=[tests.action(action) for action in turn.actions],
            kept=turn.kept,
            added=_messages(turn.prompt[turn.kept :]),
            candidates=[writer.candidate(candidate) for candidate in turn.candidates.values()],
            candidates_left_out=turn.left_out,
            outcome=refine_pb2.TURN_OUTCOME_UNSPECIFIED if turn.outcome is None else OUTCOME[turn.outcome],
            failure=_failure(turn.failure),
            seed=turn.seed,
            accounting=None if turn.accounting is None else accounting_out(turn.accounting),
        )

    def _event_writer(self, spec: SolveSpec) -> EventWriter:
        return EventWriter(spec, lowered_in(self._limits, self._tests[: len(spec.tests)], self._maxima))


class _Tests:
    """The tests that actions have added, in the order in which they came."""

    def __init__(self, tests: Sequence[problem_pb2.Test], first: int) -> None:
        self._tests = tests
        self._next = first

    def action(self, action: Noted) -> refine_pb2.TranscriptAction:
        match action:
            case Feedback():
                said = refine_pb2.Feedback(comment=action.comment, candidate=_candidate(action.candidate))
                return refine_pb2.TranscriptAction(feedback=said)
            case AddTests():
                begin, self._next = self._next, self._next + len(action.tests)
                added = refine_pb2.AddTests(tests=map(_shown, self._tests[begin : self._next]))
                return refine_pb2.TranscriptAction(add_tests=added)
            case TakeBack():
                return refine_pb2.TranscriptAction(
                    take_back=refine_pb2.TakeBack(candidate=_candidate(action.candidate))
                )


def _shown(test: problem_pb2.Test) -> problem_pb2.Test:
    """A test as a transcript has it: it may be read to a model, so that a hidden test is there without its text."""
    if not test.hidden:
        return test
    bare = problem_pb2.Test(name=test.name, hidden=True)
    if test.HasField("weight"):
        bare.weight = test.weight
    return bare


def _actions(talk: Conversation) -> list[Noted]:
    return [*(action for turn in talk.turns for action in turn.actions), *talk.since]


def _added(action: Noted) -> int:
    return len(action.tests) if isinstance(action, AddTests) else 0


def _candidate(name: CandidateName | None) -> refine_pb2.CandidateName | None:
    return None if name is None else refine_pb2.CandidateName(turn=name.turn, index=name.index)


def _messages(messages: Sequence[ChatMessage]) -> list[problem_pb2.ChatMessage]:
    return [problem_pb2.ChatMessage(role=message.role, content=message.content) for message in messages]


def _failure(failure: TurnFailure | None) -> refine_pb2.TurnFailure | None:
    if failure is None:
        return None
    return refine_pb2.TurnFailure(code=failure.code, reason=failure.reason, message=failure.message)
