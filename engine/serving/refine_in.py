"""Actions of a session: from proto to domain, checked against what is known of it."""

from collections.abc import Sequence
from dataclasses import replace

from thresher.v1 import problem_pb2, refine_pb2, solve_pb2, synthesis_service_pb2

from engine.config import Settings
from engine.serving import fields
from engine.serving.callers import current_caller
from engine.serving.problem_in import held_tests_in
from engine.serving.sampling_in import check_reach, sampling_in
from engine.serving.solve_in import budget_in
from engine.solving.errors import InvalidRequest, Unsupported
from engine.solving.refine import (
    Action,
    AddTests,
    CandidateName,
    EndSession,
    EndTurn,
    Feedback,
    Resample,
    TakeBack,
)
from engine.solving.spec import ChatPrompt, SolveSpec

_PREFIX = "sessions/"


def session_in(name: str, path: str) -> str:
    """The name of a session without its prefix."""
    if not name.startswith(_PREFIX) or len(name) == len(_PREFIX):
        raise InvalidRequest(path, f"is {name[:80]!r}; it must be of the form sessions/NAME, as session_opened has it")
    return fields.label(name.removeprefix(_PREFIX), path)


def check_start(spec: SolveSpec, message: solve_pb2.SolveSpec) -> None:
    """Refuse what a session cannot do with a request that a solve could."""
    if not isinstance(spec.prompt, ChatPrompt):
        raise Unsupported("spec.problem", "only a chat has a next turn; send problem.chat, or use Solve")
    if spec.variants:
        raise Unsupported("spec.problem.variants", "a session is one conversation, with one prompt; leave them out")
    if message.cascade.attempts_in_prompt:
        raise Unsupported(
            "spec.cascade.attempts_in_prompt", "say it in the chat, or by feedback once they were judged; leave it out"
        )


def rounds_in(value: int, path: str, settings: Settings) -> int:
    """How many turns in a row; 0 stands for 1."""
    return fields.count(value, path, most=settings.sessions.max_turns, least=0) or 1


def action_in(request: synthesis_service_pb2.RefineRequest, spec: SolveSpec, settings: Settings) -> Action | None:
    """What a request of a session does whose next turn is like `spec`; None for one that does nothing.

    Raises InvalidRequest, Unsupported or OverQuota with the path of the first field that cannot be served.
    """
    match request.WhichOneof("action"):
        case "feedback":
            return _feedback_in(request.feedback, "feedback", settings)
        case "add_tests":
            return _add_tests_in(request.add_tests.tests, "add_tests.tests", spec, settings)
        case "take_back":
            if not request.take_back.HasField("candidate"):
                raise InvalidRequest("take_back.candidate", "is missing; say which program is taken back")
            return TakeBack(_candidate_in(request.take_back.candidate, "take_back.candidate"))
        case "resample":
            return _resample_in(request.resample, "resample", spec, settings)
        case "end_turn":
            return EndTurn()
        case "end_session":
            return EndSession()
        case "start" | "resume" as name:
            raise InvalidRequest(name, "belongs into the first message of a call; make another call")
        case None:
            if request.number:
                raise InvalidRequest("number", f"is {request.number}, and there is no action; leave it out")
            return None


def _candidate_in(message: refine_pb2.CandidateName, path: str) -> CandidateName:
    return CandidateName(fields.count(message.turn, f"{path}.turn"), message.index)


def _feedback_in(message: refine_pb2.Feedback, path: str, settings: Settings) -> Feedback:
    comment = fields.text(message.comment, f"{path}.comment", most_bytes=settings.limits.max_prompt_bytes)
    if not comment.strip():
        raise InvalidRequest(f"{path}.comment", "is blank; say something, or begin a turn without it")
    name = _candidate_in(message.candidate, f"{path}.candidate") if message.HasField("candidate") else None
    return Feedback(comment.strip(), name)


def _add_tests_in(tests: Sequence[problem_pb2.Test], path: str, spec: SolveSpec, settings: Settings) -> AddTests:
    if not tests:
        raise InvalidRequest(path, "is empty; add at least one test")
    added = held_tests_in(tests, path, spec.entry_point, spec.limits, settings.limits, settings.executor)
    count = len(spec.tests) + len(added)
    if count > settings.limits.max_tests:
        raise InvalidRequest(path, f"makes {count} tests together; this server allows {settings.limits.max_tests}")
    current_caller().check_solve(replace(spec, tests=(*spec.tests, *added)), settings.limits.max_k)
    return AddTests(added)


def _resample_in(message: refine_pb2.Resample, path: str, spec: SolveSpec, settings: Settings) -> Resample:
    sampling = budget = None
    if message.HasField("sampling"):
        sampling = sampling_in(message.sampling, f"{path}.sampling", settings.limits)
        spec = replace(spec, sampling=sampling)
    if message.HasField("budget"):
        budget = budget_in(message.budget, f"{path}.budget")
        spec = replace(spec, budget=budget)
    check_reach(spec, spec.samples(settings.limits.max_k), path)
    current_caller().check_solve(spec, settings.limits.max_k)
    return Resample(
        sampling=sampling,
        budget=budget,
        rounds=rounds_in(message.rounds, f"{path}.rounds", settings),
        same_prompt=message.same_prompt,
    )
