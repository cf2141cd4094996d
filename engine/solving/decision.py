"""What ended a solve, in the words of each that wants to know: branches, metrics, the summary."""

from engine.core.types import EndReason
from engine.solving.errors import SolveError, Unavailable
from engine.solving.events import BranchOutcome
from engine.solving.summary import SolveOutcome

_BRANCHES = {
    EndReason.CUT_OFF: BranchOutcome.CUT_OFF,
    EndReason.CANCELLED: BranchOutcome.CANCELLED,
    EndReason.DEADLINE: BranchOutcome.DEADLINE,
    EndReason.ERROR: BranchOutcome.ERROR,
}
_PHASES = {EndReason.CUT_OFF: "pass", EndReason.CANCELLED: "client", EndReason.DEADLINE: "deadline"}
_BUDGETS = {
    EndReason.BUDGET_TIME: SolveOutcome.BUDGET_TIME,
    EndReason.BUDGET_TOKENS: SolveOutcome.BUDGET_TOKENS,
    EndReason.BUDGET_ROWS: SolveOutcome.BUDGET_ROWS,
    EndReason.BUDGET_EXECUTIONS: SolveOutcome.BUDGET_EXECUTIONS,
}


class Decision:
    """The first reason to end a solve; it is final. `error` is what the caller is told instead of a summary."""

    __slots__ = ("error", "reason")

    def __init__(self) -> None:
        self.reason: EndReason | None = None
        self.error: SolveError | None = None

    @property
    def made(self) -> bool:
        """Whether the solve is decided."""
        return self.reason is not None

    def make(self, reason: EndReason, error: SolveError | None = None) -> bool:
        """Decide, unless it is decided already; returns whether this was the decision."""
        if self.made:
            return False
        self.reason, self.error = reason, error
        return True

    @property
    def branches(self) -> BranchOutcome:
        """How the branches that it cuts end. Without a decision it was a budget that the engine itself keeps."""
        return _BRANCHES.get(self.reason or EndReason.BUDGET_ROWS, BranchOutcome.BUDGET)

    @property
    def phase(self) -> str:
        """One of metrics.CANCEL_PHASES."""
        if self.reason is not EndReason.ERROR:
            return _PHASES.get(self.reason or EndReason.COMPLETE, "budget")
        return "drain" if isinstance(self.error, Unavailable) and self.error.reason == "DRAINING" else "error"

    @property
    def unsolved(self) -> SolveOutcome:
        """The outcome where not enough has passed."""
        return _BUDGETS.get(self.reason or EndReason.COMPLETE, SolveOutcome.EXHAUSTED)
