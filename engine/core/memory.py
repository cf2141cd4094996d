"""Making room when pages run out.

Prompts of earlier solves and idle nodes go first, then the youngest branches of the widest solve, last the prompts of
the youngest solves. A branch makes room only at the cost of younger ones, so the oldest branch of the oldest solve
always finishes; where forks have left its own pages half empty, it gives them back and is computed again in a row. A
branch that loses its pages keeps its tokens and is computed again later: no sample is lost and none changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.core.branch import Branch
from engine.core.pages import PagePool
from engine.core.prefixes import PrefixCache
from engine.core.segments import Segment
from engine.core.tree import Tree
from engine.core.types import BranchRedrawn, BranchSetBack, CoreEvent

if TYPE_CHECKING:
    from engine.core.solves import Solve

_PROMPT = -1
"""Stands for the prompt in the order of branches: older than any."""


class Memory:
    """Frees pages in the order above. `running` gives the solves that have begun, oldest first."""

    def __init__(self, pool: PagePool, prefixes: PrefixCache, running: Callable[[], list[Solve]]) -> None:
        self._pool = pool
        self._prefixes = prefixes
        self._running = running
        self._refused: tuple[int, int] | None = None
        self._back: set[tuple[int, int]] = set()  # solve and branch of those that have lost their pages
        self._told: list[CoreEvent] = []

    def told(self) -> list[CoreEvent]:
        """Who was set back and who goes on since the last call."""
        events, self._told = self._told, []
        return events

    def goes_on(self, solve: int, branch: Branch) -> None:
        """A branch has a row in the step that is being planned."""
        if (solve, branch.id) in self._back:
            self._back.remove((solve, branch.id))
            self._told.append(BranchRedrawn(solve, branch.id))

    def forget(self, solve: int) -> None:
        """A solve has ended."""
        self._back = {one for one in self._back if one[0] != solve}
        self._told = [event for event in self._told if event.solve != solve]

    def drop_idle(self, need: int) -> bool:
        """Drop idle nodes, those of the youngest solves first, then prompts that no solve has, until `need` pages are
        free. Whether that was enough."""
        for solve in reversed(self._running()):
            for tree in solve.trees:
                while self._pool.free < need and tree.drop_idle():
                    pass
        return self._prefixes.make_room(need)

    def begin_plan(self) -> None:
        """A new step is being planned: what was refused in the last one may be granted now."""
        self._refused = None

    def make_room(self, need: int, solve: Solve, branch: Branch | None) -> bool:
        """Free `need` pages for a branch of `solve` (None: its prompt). False if all else is older: it must wait."""
        if self.drop_idle(need):
            return True
        running = self._running()
        asking = (running.index(solve), _PROMPT if branch is None else branch.id)
        if self._refused is not None and asking >= self._refused:
            return False  # what is older than it has found nothing to drop in this plan, so neither can it
        while not self._prefixes.make_room(need):
            victims = self._victims(running, asking)
            if not victims:
                self._refused = asking
                first = min((wants.id for wants in solve.wants_rows), default=_PROMPT)
                if asking == (0, first):
                    for tree in solve.trees:
                        tree.drop_all()
                return False
            for owner, segment in victims:
                if self._prefixes.make_room(need):  # the victim's prompt may be in there
                    break
                owner.drop(segment)
                owner.counts.preemptions += 1
                if segment.tip is not None and not segment.tip.finished:
                    self._set_back(owner.request.solve, segment.tip)
        return True

    def _set_back(self, solve: int, branch: Branch) -> None:
        if (solve, branch.id) not in self._back:
            self._back.add((solve, branch.id))
            self._told.append(BranchSetBack(solve, branch.id, branch.generated))

    def _victims(self, running: list[Solve], asking: tuple[int, int]) -> list[tuple[Tree, Segment]]:
        """Segments to drop, the first first: nothing below them has pages, their oldest branch is younger than
        `asking`."""
        found: list[tuple[tuple[int, int, int], Tree, Segment]] = []
        for age, solve in enumerate(running):
            bottoms = [(tree, *bottom) for tree in solve.trees for bottom in _bottoms(tree)]
            width = len({owner for _, _, owner in bottoms})
            for tree, segment, oldest in bottoms:
                if (age, oldest) > asking:
                    found.append(((width if oldest != _PROMPT else -1, age, oldest), tree, segment))
        found.sort(key=lambda victim: victim[0], reverse=True)
        return [(tree, segment) for _, tree, segment in found]


def _bottoms(tree: Tree) -> list[tuple[Segment, int]]:
    """Segments with pages and none below them, each with its oldest running branch.

    The prompt itself is older than any branch. Nodes that no running branch needs count as the youngest, as do those of
    a branch that waits for others: their rows come first.
    """
    segments = tree.segments()
    oldest: dict[int, int] = {}
    above: set[int] = set()
    bottoms: list[tuple[Segment, int]] = []
    youngest = 1 << 62
    for segment in reversed(segments):
        tip = segment.tip
        mine = youngest if tip is None or tip.finished or tree.waits(tip) else tip.id
        mine = min([mine, *(oldest[id(below)] for below in segment.offspring())])
        oldest[id(segment)] = mine
        if segment.pages and id(segment) not in above:
            bottoms.append((segment, _PROMPT if segment is tree.root else mine))
        if segment.parent is not None and (segment.pages or id(segment) in above):
            above.add(id(segment.parent))
    return bottoms
