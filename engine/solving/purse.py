"""What a request that goes through several tiers may still cost. No tier is granted more than is left."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.solving.spec import Budget
from engine.solving.summary import Accounting, SolveOutcome
from engine.solving.tiers import Terms

_LEAST_SECONDS = 1e-3


@dataclass(frozen=True, slots=True)
class _Counted:
    """A limit of Budget that counts something: its outcome, and what of an accounting it counts."""

    outcome: SolveOutcome
    spent: Callable[[Accounting], int]


_COUNTED = {
    "generated_tokens": _Counted(SolveOutcome.BUDGET_TOKENS, lambda cost: cost.generated_tokens),
    "executions": _Counted(SolveOutcome.BUDGET_EXECUTIONS, lambda cost: cost.candidates_executed),
    "rows": _Counted(SolveOutcome.BUDGET_ROWS, lambda cost: cost.rows_computed),
}


class Purse:
    """The request's budget, what has been spent of it, and what tiers that still work may spend."""

    def __init__(self, budget: Budget, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends = None if budget.wall_seconds is None else clock() + budget.wall_seconds
        self._left = {name: limit for name in _COUNTED if (limit := getattr(budget, name)) is not None}

    @property
    def seconds(self) -> float | None:
        """Until the budget of time is spent; None without one."""
        return None if self._ends is None else self._ends - self._clock()

    @property
    def spent(self) -> SolveOutcome | None:
        """The limit that has been reached, if any has."""
        if self.seconds is not None and self.seconds <= 0:
            return SolveOutcome.BUDGET_TIME
        return next((_COUNTED[name].outcome for name, left in self._left.items() if left <= 0), None)

    def grant(self, terms: Terms, tiers: int = 1) -> Budget:
        """What a tier may spend: no more than its terms say, and an equal part of what is left for so many tiers.

        It is taken off until `settle` says what was really spent. Nothing may be `spent` before.
        """
        own = {"rows": terms.rows, "generated_tokens": terms.most_tokens, "executions": None}
        granted: dict[str, int | None] = {}
        for name, limit in own.items():
            left = self._left.get(name)
            parts = [limit, None if left is None else -(-left // tiers)]
            granted[name] = min((part for part in parts if part is not None), default=None)
            if left is not None:
                self._left[name] = left - (granted[name] or 0)
        return Budget(
            wall_seconds=self.seconds_for(terms),
            generated_tokens=granted["generated_tokens"],
            executions=granted["executions"],
            rows=granted["rows"],
        )

    def seconds_for(self, terms: Terms) -> float | None:
        """How long a tier that begins now may take."""
        times = [limit for limit in (terms.seconds, self.seconds) if limit is not None]
        return max(_LEAST_SECONDS, min(times)) if times else None

    def settle(self, granted: Budget, cost: Accounting) -> None:
        """A tier has ended: what it has not spent is there again."""
        for name in self._left:
            self._left[name] += (getattr(granted, name) or 0) - _COUNTED[name].spent(cost)
