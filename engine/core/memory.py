"""Making room when pages run out.

Idle nodes go first, then the youngest branches of the widest solve, then the prompts of the youngest solves that have
no branch left with pages. The oldest branch of the oldest solve is never touched, so something always finishes. A
branch that loses its pages keeps its tokens and is computed again later: no sample is lost and none changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.core.pages import PagePool
from engine.core.tree import Branch

if TYPE_CHECKING:
    from engine.core.scheduler import Solve


class Memory:
    """Frees pages in the order above. `running` gives the solves that have begun, oldest first."""

    def __init__(self, pool: PagePool, running: Callable[[], list[Solve]]) -> None:
        self._pool = pool
        self._running = running

    def drop_idle(self, need: int) -> bool:
        """Drop idle nodes until `need` pages are free, oldest solves last. Whether that was enough."""
        for solve in reversed(self._running()):
            while self._pool.free < need and solve.tree.drop_idle():
                pass
        return self._pool.free >= need

    def make_room(self, need: int, solve: Solve, branch: Branch | None) -> bool:
        """Free `need` pages for a branch of `solve` (None: its prompt). False if all others are older: it must wait."""
        if self.drop_idle(need):
            return True
        running = self._running()
        while self._pool.free < need:
            victim = self._victim(running, solve, branch)
            if victim is None:
                return False
            owner, chosen = victim
            if chosen is None:
                owner.tree.drop_all()
            else:
                owner.tree.drop_branch(chosen)
                owner.tree.counts.preemptions += 1
        return True

    def _victim(self, running: list[Solve], solve: Solve, branch: Branch | None) -> tuple[Solve, Branch | None] | None:
        """What to drop next for `branch` of `solve`; None if everything left is older than it."""
        place = running.index(solve)
        oldest = running[0]
        protected = next(iter(oldest.tree.branches.values()), None)
        best: tuple[int, int, int, Solve, Branch] | None = None
        for age, other in enumerate(running):
            holders = [b for b in other.tree.branches.values() if b.tip.pages or self._holds(b)]
            for held in holders[::-1]:
                if held is branch or held is protected:
                    continue
                # A branch makes room for older ones only: that rules out two that drop each other for ever.
                if (age, held.id) < (place, -1 if branch is None else branch.id):
                    continue
                rank = (len(holders), age, held.id)
                if best is None or rank > best[:3]:
                    best = (*rank, other, held)
        if best is not None:
            return best[3], best[4]
        for other in reversed(running[place + 1 :]):
            if other.tree.root.pages:
                return other, None
        return None

    def _holds(self, branch: Branch) -> bool:
        """Whether dropping the branch would free a page."""
        segment = branch.tip
        while segment.parent is not None and segment.live == 1:
            if segment.pages:
                return True
            segment = segment.parent
        return False
