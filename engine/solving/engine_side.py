"""A solve at its engine: whether the engine has it, what the engine is told of it, and what a refusal means."""

from engine.core.types import EndReason
from engine.loop.client import EngineClient
from engine.loop.messages import Admitted, Refused
from engine.solving.candidates import Entry
from engine.solving.errors import DeadlineExceeded, EngineFailed, InvalidRequest, QueueFull, SolveError, Unsupported
from executor.verdict import Verdict

_CONSTRAINTS = ("sampling.regex", "sampling.ebnf", "sampling.json_schema")


class EngineSide:
    """The engine may draw from `submitted` until `done`. One that has not taken the solve is told nothing."""

    def __init__(self, engine: EngineClient) -> None:
        self.submitted = False
        self.admitted: Admitted | None = None  # what the engine said to it
        self.done = False  # the engine is done with it
        self._engine = engine
        self._told_to_end = False

    @property
    def drawing(self) -> bool:
        """Whether the engine has the solve."""
        return self.submitted and not self.done

    def end(self, reason: EndReason) -> None:
        """It is to draw no more; said once."""
        if self.admitted is not None and self.drawing and not self._told_to_end:
            self._told_to_end = True
            self._engine.end(self.admitted.solve, reason)

    def judged(self, branch: int, entry: Entry) -> None:
        """The program of a branch has its verdict, unless it was skipped. A sandbox that failed says nothing of it."""
        told = entry.report is not None and entry.report.verdict is not Verdict.SKIPPED
        if entry.report is not None and told and self.admitted is not None:
            judged = entry.report.verdict is not Verdict.SANDBOX_FAILURE
            self._engine.judged(self.admitted.solve, branch, passed=entry.passed if judged else None)

    def slow(self, entry: Entry) -> None:
        """A program runs for so long that no other waits for it any more."""
        if self.admitted is not None:
            for branch in entry.branches:
                self._engine.slow(self.admitted.solve, branch)


def refused(refusal: Refused, waiting: int) -> SolveError:
    """The error for a refusal of the engine; `waiting` solves have not begun."""
    match refusal.kind:
        case "prompt_too_long":
            return InvalidRequest(refusal.field, refusal.detail, reason="PROMPT_TOO_LONG")
        case "bad_field":
            return InvalidRequest(refusal.field, refusal.detail)
        case "unsupported" if refusal.field in _CONSTRAINTS:
            return Unsupported(refusal.field, refusal.detail, reason="CONSTRAINT_UNSUPPORTED")
        case "unsupported":
            return Unsupported(refusal.field, refusal.detail)
        case "deadline":
            return DeadlineExceeded(queued=True, detail=refusal.detail)
        case "queue_full":
            return QueueFull(waiting, retry_after=1.0)
        case _:
            return EngineFailed(f"the engine refused with {refusal.kind!r}: {refusal.detail}")
