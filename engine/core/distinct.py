"""Sampling without replacement from the tree of one prompt, best first.

Ancestral Gumbel top-k sampling (Kool, van Hoof, Welling: "Ancestral Gumbel-top-k sampling for sampling without
replacement", JMLR 2020), incremental as in Shi, Bieber, Sutton ("Incremental sampling without replacement for sequence
models", ICML 2020). Each sequence has a value: its log-probability plus Gumbel noise. The sequences in the order of
their values are draws without replacement. A node has the largest value below it; its children's values are drawn given
that one of them has it. So every node on the frontier stands for one sequence of just its value, and the k nodes of the
largest values stand for the next k sequences: computing those in parallel wastes nothing.

The noise is a function of (seed, path, token): the result does not depend on width or schedule.
"""

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import numpy.typing as npt

from engine.core.branch import Branch
from engine.core.distribution import Distribution
from engine.core.pages import PagePool
from engine.core.randomness import gumbels, path_key
from engine.core.segments import Segment
from engine.core.tree import Tree
from engine.core.types import Ask, CoreEvent, CoreRequest, Counts, FinishReason

_OTHERS = 0xFFFFFFFF
"""Stands for all tokens that a distribution has left out: a child of its own, taken apart when its turn comes."""

_NO_NUMBERS = np.empty(0)
_NONE = np.empty(0, np.int32)


@dataclass(slots=True)
class _Path:
    """A prefix of sequences. value: the largest below it. chance: its log-probability as it is sampled.

    known: if not empty, the tokens that do not belong to it: it stands for the others after its last token.
    """

    value: float
    chance: float
    key: int
    known: npt.NDArray[np.int32] = field(default_factory=lambda: _NONE)


@dataclass(slots=True)
class _Waiting:
    """A node on the frontier: `token` after position `at` of the path to `leaf`, `depth` tokens after the prompt.

    logprob: of the path with the token, at temperature 1; without it for the others.
    """

    leaf: Segment
    at: int
    depth: int
    token: int
    path: _Path
    logprob: float


@dataclass(slots=True)
class _Child:
    """What may follow a node."""

    token: int
    path: _Path
    logprob: float


class Distinct(Tree):
    """Sequences without replacement: `k` of them, or as many as there are."""

    def __init__(
        self, request: CoreRequest, place: int, *, counts: Counts, ids: Iterator[int], pool: PagePool, page_size: int
    ) -> None:
        super().__init__(request, place, counts=counts, ids=ids, pool=pool, page_size=page_size)
        self._order = count()
        self._waiting: list[tuple[float, int, _Waiting]] = []  # by value, the largest last
        self._paths: dict[int, _Path] = {}  # of the running branches
        self._held: dict[int, tuple[Branch, FinishReason]] = {}  # finished, but not their turn yet
        self._told = 0
        key = path_key(0, 0)
        self._origin = _Path(float(gumbels(request.seed, key, 0)), 0.0, key)

    @property
    def startable(self) -> int:
        """Nodes that stand for one of the sequences still wanted and are not being computed."""
        most = self._left if self.request.at_once is None else min(self._left, self.request.at_once)
        return min(len(self._waiting), max(0, most - len(self._paths)))

    @property
    def settled(self) -> bool:
        """Whether nothing waits on the frontier."""
        return self.ready and not self._waiting

    @property
    def started(self) -> int:
        """Sequences begun, also those that turned out not to be wanted."""
        return self.counts.samples_started

    @property
    def complete(self) -> bool:
        """Whether k sequences are told, or there are no more."""
        return self.ready and (self._told == self.request.k or not (self._waiting or self._paths))

    @property
    def _left(self) -> int:
        return self.request.k - self._told

    def root_asks(self, token: int) -> list[Ask]:
        """The distribution after the prompt."""
        return [Ask(token, self.request.filters[0], _NO_NUMBERS, self.prompt.stopper.mask)]

    def take_root(self, distributions: list[Distribution]) -> list[CoreEvent]:
        """The first nodes of the frontier."""
        self.ready = True
        self._wait(self.root, 0, self._children(self._origin, distributions[0], 0.0))
        return []

    def start(self, rung: int = 0) -> list[CoreEvent]:
        """Start the sequence of the largest value."""
        _, _, waiting = self._waiting.pop()
        segment = waiting.leaf
        while segment.start > waiting.at:
            if segment.parent is None:
                raise AssertionError("a position before the root")
            segment = segment.parent
        at = self.node(segment, waiting.at - segment.start)
        sample = [self.counts.samples_started]
        self.counts.samples_started += 1
        others = waiting.token == _OTHERS
        branch, started = self.late_branch(
            at, None if others else waiting.token, waiting.depth, sample, waiting.logprob
        )
        self._paths[branch.id] = waiting.path
        if others:
            return [started]
        # The token's own log-probability is in `logprob` already.
        return [started, *self.take_token(branch, waiting.token, 0.0), *self._tell()]

    def asks(self, branch: Branch, token: int, drafted: list[int]) -> list[Ask]:
        """The distribution at the branch's end: all of it where the tokens left out are to be told apart."""
        if drafted:
            raise AssertionError("distinct sequences take no drafts")
        whole = len(self._paths[branch.id].known) > 0
        return [Ask(token, self.request.filters[0], _NO_NUMBERS, branch.stopper.mask, whole)]

    def take_row(self, branch: Branch, drafted: list[int], distributions: list[Distribution]) -> list[CoreEvent]:
        """The branch goes on with the child that has its value; the others wait."""
        path, tip = self._paths[branch.id], branch.tip
        children = self._children(path, distributions[0], branch.logprob)
        if not children:
            # What a distribution has left out was no more than its rounding.
            return [*self.prune(branch), *self._tell()]
        first = children.pop(0)
        self._wait(tip, branch.generated, children)
        self._paths[branch.id] = first.path
        if first.token == _OTHERS:
            self.to_shadow(branch)
            return self._tell()
        events: list[CoreEvent] = []
        tip.tokens.append(first.token)
        for low, high in zip(tip.low, tip.high, strict=True):
            low.append(0.0)
            high.append(0.0)
        tip.dists.append(None)
        events += self.take_token(branch, first.token, first.logprob - branch.logprob)
        return [*events, *self._tell()]

    def _children(self, path: _Path, distribution: Distribution, logprob: float) -> list[_Child]:
        """The children of a node that may yet be wanted, the largest value first."""
        ids, chances, logprobs = distribution.ids, distribution.high - distribution.low, distribution.logprobs
        others = distribution.missing
        if len(path.known):
            kept = ~np.isin(ids, path.known)
            ids, chances, logprobs, others = ids[kept], chances[kept], logprobs[kept], 0.0
            if not chances.sum() > 0:
                return []
            chances = chances / chances.sum()
        with np.errstate(divide="ignore"):
            own = np.log(chances)
        tokens = ids.astype(np.uint64)
        if others > 1e-12:
            own, tokens = np.append(own, np.log(others)), np.append(tokens, np.uint64(_OTHERS))
        noisy = path.chance + own + gumbels(self.request.seed, path.key, tokens)
        values = _given_largest(noisy, path.value)
        wanted = np.argsort(-values, kind="stable")[: self._left + 1]
        least = self._waiting[-self._left][0] if len(self._waiting) >= self._left > 0 else -np.inf
        children: list[_Child] = []
        for index in wanted.tolist():
            token = int(tokens[index])
            value, chance = float(values[index]), path.chance + float(own[index])
            if value == -np.inf or (children and value < least):
                break
            if token == _OTHERS:
                # The same node again: its children take their noise from the same key.
                children.append(_Child(token, _Path(value, chance, path.key, ids), logprob))
            else:
                below = _Path(value, chance, path_key(path.key, token))
                children.append(_Child(token, below, logprob + float(logprobs[index])))
        return children

    def _wait(self, leaf: Segment, depth: int, children: list[_Child]) -> None:
        for child in children:
            waiting = _Waiting(leaf, leaf.end - 1, depth, child.token, child.path, child.logprob)
            insort(self._waiting, (child.path.value, next(self._order), waiting))
        if len(self._waiting) > 2 * self._left + 64:
            del self._waiting[: -self._left or None]

    # Ends

    def ended(self, branch: Branch, reason: FinishReason) -> list[CoreEvent]:
        """A sequence is told in its turn: when none of a larger value can come any more."""
        self._held[branch.id] = (branch, reason)
        return []

    def prune(self, branch: Branch) -> list[CoreEvent]:
        """Give a sequence up."""
        del self._paths[branch.id]
        self._held.pop(branch.id, None)
        return super().prune(branch)

    def _tell(self) -> list[CoreEvent]:
        """The finished sequences whose turn it is; give up those that others have outdone."""
        events: list[CoreEvent] = []
        while self._held and self._left:
            largest = max(self._held, key=lambda name: self._paths[name].value)
            value = self._paths[largest].value
            if self._waiting and self._waiting[-1][0] > value:
                break
            if any(path.value > value for name, path in self._paths.items() if name not in self._held):
                break
            branch, reason = self._held.pop(largest)
            del self._paths[largest]
            self._told += 1
            events += super().ended(branch, reason)
        return events + self._give_up()

    def _give_up(self) -> list[CoreEvent]:
        """End what does not belong to the sequences still wanted: there are enough of larger values."""
        events: list[CoreEvent] = []
        while self._paths:
            least = min(self._paths, key=lambda name: self._paths[name].value)
            value = self._paths[least].value
            waiting = len(self._waiting) - bisect_right(self._waiting, value, key=lambda entry: entry[0])
            if len(self._paths) - 1 + waiting < self._left:
                break
            held = self._held.get(least)
            events += self.prune(self.branches[least] if held is None else held[0])
        return events

    def cut(self) -> list[CoreEvent]:
        """End every running sequence, and those that finished before their turn."""
        held = [branch for branch, _ in self._held.values()]
        for branch in held:
            self.counts.samples_finished -= len(branch.samples)
            self.branches[branch.id] = branch
        self._held.clear()
        return super().cut()


def _given_largest(noisy: npt.NDArray[np.float64], largest: float) -> npt.NDArray[np.float64]:
    """Gumbel values given that the largest of them is `largest`: appendix B.3 of Kool et al., numerically stable."""
    top = int(np.argmax(noisy))
    with np.errstate(divide="ignore", invalid="ignore"):
        below = noisy - noisy[top]
        gap = largest - noisy + np.where(below > -0.7, np.log(-np.expm1(below)), np.log1p(-np.exp(below)))
        values = largest - np.maximum(gap, 0.0) - np.log1p(np.exp(-np.abs(gap)))
    values[top] = largest
    values[~np.isfinite(noisy)] = -np.inf
    return values
