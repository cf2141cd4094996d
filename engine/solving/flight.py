"""The decisions on one solve, for whoever records it: who decided what, when, and why, in words.

Events tell what a solve has brought. Decisions tell why: of the scheduler (a place, a width, pages), of the sandbox
(which program gives way) and of the solve itself (what has ended it). The recorder of a solve is in the context of its
task; where there is none, nothing is kept.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from engine.core.types import BranchRedrawn, BranchSetBack, CoreEvent, EndReason, SolveStarted, WidthChosen, WidthHeld


class DecisionKind(StrEnum):
    """What was decided."""

    ADMITTED = "admitted"
    WIDTH = "width"
    HELD = "held"
    """The width is held down, or no longer: programs wait for the sandbox."""
    SET_BACK = "set_back"
    """A branch has lost its pages."""
    REDRAWN = "redrawn"
    YIELDS = "yields"
    """A program that runs for long makes room for others, and runs again later."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision on a solve of `model`, with its reason; the numbers that it speaks of, as the events have them."""

    kind: DecisionKind
    model: str
    reason: str
    width: int | None = None
    branch: int | None = None
    candidate: int | None = None


Tell = Callable[[Decision], None]
"""Takes each decision as it is made."""

recording_to: ContextVar[Tell | None] = ContextVar("recording_to", default=None)
"""Who records what this task solves."""

_ENDS = {
    EndReason.COMPLETE: "all samples are drawn and judged",
    EndReason.CUT_OFF: "enough programs have passed: the rest is cut off",
    EndReason.CANCELLED: "the caller has left",
    EndReason.DEADLINE: "the deadline has come",
    EndReason.BUDGET_TIME: "its budget of time is spent",
    EndReason.BUDGET_TOKENS: "its budget of tokens is spent",
    EndReason.BUDGET_ROWS: "its budget of rows is spent",
    EndReason.BUDGET_EXECUTIONS: "its budget of executions is spent",
    EndReason.ERROR: "it has failed",
}


class Flight:
    """Puts decisions on one solve of one model into words, for the recorder of this task, if there is one."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._tell = recording_to.get()

    def core(self, event: CoreEvent) -> None:
        """What the scheduler says."""
        if self._tell is None:
            return
        match event:
            case SolveStarted():
                known = f"; {event.cached_tokens} of its {event.prompt_tokens} prompt tokens were known already"
                known = known if event.cached_tokens else f"; {event.prompt_tokens} prompt tokens are to be computed"
                self._decided(DecisionKind.ADMITTED, f"admitted after {_time(event.queued)} in the queue{known}")
            case WidthChosen():
                self._decided(DecisionKind.WIDTH, _why_so_wide(event), width=event.width)
            case WidthHeld() if event.rows:
                fewer = "a row" if event.rows == 1 else f"{event.rows} rows"
                reason = f"{fewer} less: {event.unjudged} programs have no verdict yet, and more would only wait"
                self._decided(DecisionKind.HELD, reason)
            case WidthHeld():
                self._decided(DecisionKind.HELD, "the sandbox has caught up: all rows again")
            case BranchSetBack():
                reason = f"its pages went to older branches; {event.tokens} tokens are kept, to be computed again"
                self._decided(DecisionKind.SET_BACK, reason, branch=event.branch)
            case BranchRedrawn():
                self._decided(DecisionKind.REDRAWN, "it has its pages again, and goes on", branch=event.branch)
            case _:
                pass

    def yields(self, candidate: int) -> None:
        """A program in the sandbox makes room."""
        if self._tell is not None:
            reason = "it runs for long while others wait: it ends, and runs again when none do"
            self._decided(DecisionKind.YIELDS, reason, candidate=candidate)

    def ended(self, reason: EndReason, detail: str = "") -> None:
        """What has decided the solve."""
        if self._tell is not None:
            self._decided(DecisionKind.ENDED, f"{_ENDS[reason]}{f' ({detail})' if detail else ''}")

    def _decided(
        self,
        kind: DecisionKind,
        reason: str,
        *,
        width: int | None = None,
        branch: int | None = None,
        candidate: int | None = None,
    ) -> None:
        assert self._tell is not None
        made = Decision(kind=kind, model=self._model, reason=reason, width=width, branch=branch, candidate=candidate)
        self._tell(made)


def _why_so_wide(event: WidthChosen) -> str:
    seen = f"{event.failed} samples have failed" if event.failed else "none has failed yet"
    waits = f", {event.unjudged} wait for verdicts" if event.unjudged else ""
    shared = f"; {event.sharing} solves share the steps" if event.sharing > 1 else ""
    return (
        f"{event.width} at once: {seen}{waits}; the next one passes with a chance of {event.pass_rate:.0%}, "
        f"and so it should be over soonest, in about {_time(event.seconds)}{shared}"
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
