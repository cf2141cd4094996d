"""A solve in the scheduler: a tree for each of its prompts, and what it has cost."""

from itertools import count

from engine.core.beam import Beam
from engine.core.branch import Branch
from engine.core.distinct import Distinct
from engine.core.independent import Independent
from engine.core.pages import PagePool
from engine.core.tree import Tree
from engine.core.types import CoreEvent, CoreRequest, Counts, Mode

_TREES: dict[Mode, type[Tree]] = {Mode.INDEPENDENT: Independent, Mode.DISTINCT: Distinct, Mode.BEAM: Beam}


class Solve:
    """`began` is None while it waits. Branches are numbered over all trees, in the order in which they start."""

    __slots__ = ("arrived", "began", "counts", "request", "trees")

    def __init__(self, request: CoreRequest, pool: PagePool, page_size: int, arrived: float) -> None:
        """Raises ValueError for a ladder or several prompts in a mode that takes one."""
        single = len(request.prompts) == len(request.filters) == 1
        if request.mode is not Mode.INDEPENDENT and not single:
            raise ValueError(f"mode {request.mode} takes one prompt and one set of filters")
        self.request = request
        self.counts = Counts()
        self.arrived = arrived
        self.began: float | None = None
        ids = count()
        self.trees = [
            _TREES[request.mode](request, place, counts=self.counts, ids=ids, pool=pool, page_size=page_size)
            for place in range(min(len(request.prompts), request.k))
        ]

    @property
    def ready(self) -> bool:
        """Whether branches can start."""
        return any(tree.ready for tree in self.trees)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to draw."""
        return all(tree.complete for tree in self.trees)

    @property
    def branches(self) -> int:
        """Number of running branches."""
        return sum(len(tree.branches) for tree in self.trees)

    @property
    def startable(self) -> int:
        """How many branches could be started now."""
        return sum(tree.startable for tree in self.trees)

    @property
    def wants_rows(self) -> list[Branch]:
        """The branches that can go on, oldest first."""
        if len(self.trees) == 1:
            return self.trees[0].wants_rows
        return sorted((branch for tree in self.trees for branch in tree.wants_rows), key=lambda branch: branch.id)

    @property
    def openings(self) -> list[int]:
        """The arms (engine.core.arms) of which a sample could be started now, in the order of those samples."""
        places = [
            (sample, tree.place + rung * len(self.request.prompts))
            for tree in self.trees
            for rung, sample in tree.openings.items()
        ]
        return [arm for _, arm in sorted(places)]

    def start(self, arm: int, now: float) -> list[CoreEvent]:
        """Start the next sample of an arm that has an opening."""
        rung, place = divmod(arm, len(self.request.prompts))
        tree = self.trees[place]
        tree.now = now
        return tree.start(rung)

    def check_invariants(self, held: dict[int, int]) -> None:
        """Prove that the trees are sound; see Tree.check_invariants."""
        samples = [sample for tree in self.trees for sample in tree.check_invariants(held)]
        if len(samples) != len(set(samples)) or len(samples) != self.counts.samples_started:
            raise AssertionError("a sample is lost or in two branches")
