"""k independent draws that share the rows of the tokens they have in common ("lazy fork").

Each sample draws with its own number at each position, so the result equals k separate draws; samples part only where
their draws differ. Every node keeps its distributions until the last sample has started, so a sample that starts late
walks down the tree for free and costs rows only from where it leaves it.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine.core.branch import Branch
from engine.core.distribution import Distribution
from engine.core.pages import PagePool
from engine.core.randomness import uniforms
from engine.core.segments import Segment
from engine.core.tree import Tree
from engine.core.types import Ask, CoreEvent, CoreRequest, Counts, Draw, SamplesFinished

Nodes = tuple[Distribution, ...]
"""The distributions of one node, one for each rung of the ladder."""


class Independent(Tree):
    """The samples of one prompt: every P-th of the solve's, where P is the number of its prompts."""

    def __init__(
        self, request: CoreRequest, place: int, *, counts: Counts, ids: Iterator[int], pool: PagePool, page_size: int
    ) -> None:
        self.rungs = len(request.filters)
        super().__init__(request, place, counts=counts, ids=ids, pool=pool, page_size=page_size)
        self._stride = len(request.prompts)
        self._samples = range(place, request.k, self._stride)
        self._started = 0
        self._next = list(range(self.rungs))  # by rung, the place in _samples of the one that starts next
        # The system gives memory to the rows that are written: those of samples that have started.
        self._numbers = np.empty((len(self._samples), request.max_new_tokens))

    @property
    def startable(self) -> int:
        """Samples that have not started yet and may."""
        if not self.ready:
            return 0
        most = self.request.at_once
        left = len(self._samples) - self._started
        if most is None:
            return left
        alive = sum(len(branch.samples) for branch in self.branches.values())
        return min(left, max(0, max(1, most // self._stride) - alive))

    @property
    def settled(self) -> bool:
        """Whether every sample has started."""
        return self._started == len(self._samples)

    @property
    def started(self) -> int:
        """Samples of this tree that have started."""
        return self._started

    @property
    def complete(self) -> bool:
        """Whether every sample has ended."""
        return self._started == len(self._samples) and not self.branches

    def root_asks(self, token: int) -> list[Ask]:
        """The first draws of all samples."""
        first = uniforms(self.request.seed, np.array(self._samples, np.uint64), 0)
        mask = self.prompt.stopper.mask
        return [
            Ask(token, filters, first[rung :: self.rungs], mask) for rung, filters in enumerate(self.request.filters)
        ]

    def take_root(self, distributions: list[Distribution]) -> list[CoreEvent]:
        """The samples can start now."""
        self.root.dists = [tuple(distributions)]
        self.ready = True
        return []

    # A sample that starts

    @property
    def openings(self) -> dict[int, int]:
        """By rung, the sample that is started next; empty where none is startable."""
        if not self.startable:
            return {}
        return {rung: self._samples[place] for rung, place in enumerate(self._next) if place < len(self._samples)}

    def start(self, rung: int = 0) -> list[CoreEvent]:
        """Start the next sample of a rung: it walks down the tree as far as its draws lead, then forks off or joins."""
        place = self._next[rung]
        sample = self._samples[place]
        numbers = uniforms(self.request.seed, sample, np.arange(self.request.max_new_tokens))
        self._numbers[place] = numbers
        self._next[rung] += self.rungs
        self._started += 1
        self.counts.samples_started += 1
        segment, depth = self.root, 0
        while True:
            last = len(segment.tokens) - 1
            if segment is not self.root:
                # The first token of this segment is drawn; follow the inner ones.
                inner = numbers[depth : depth + last]
                stays = (inner >= segment.low[rung]) & (inner < segment.high[rung])
                if not stays.all():
                    last = int(np.argmin(stays))
                depth += last
                if last == len(segment.tokens) - 1 and segment.tip is not None:
                    return self._join(segment.tip, sample)
            dists = segment.dists[0 if segment is self.root else last]
            if dists is None:
                raise AssertionError("an inner node has lost its distribution")
            index = int(self._find(dists[rung], [sample], numbers[depth : depth + 1])[0])
            if index < 0:
                return self._recompute(segment, last, depth, sample)
            token = int(dists[rung].ids[index])
            child = segment.children.get(token) if last == len(segment.tokens) - 1 else None
            if child is None:
                at = self.node(segment, last)
                logprob = self._path_logprob(at)
                branch, started = self.late_branch(at, token, depth, [sample], logprob)
                return [started, *self.take_token(branch, token, float(dists[rung].logprobs[index]))]
            depth += 1
            segment = child

    def _rung(self, sample: int) -> int:
        return sample // self._stride % self.rungs

    def _join(self, branch: Branch, sample: int) -> list[CoreEvent]:
        self.counts.generated_tokens += branch.generated
        branch.samples.append(sample)
        if not branch.finished:
            return []
        if branch.pruned:
            self.counts.samples_pruned += 1
            self.counts.wasted_tokens += branch.generated
            self.counts.pruned_tokens += branch.generated
            return []
        self.counts.samples_finished += 1
        return [SamplesFinished(self.request.solve, branch.id, (sample,))]

    def _recompute(self, segment: Segment, last: int, depth: int, sample: int) -> list[CoreEvent]:
        """The token this sample draws was not kept: the row of the node's own token is computed once more for it."""
        at = self.node(segment, last)
        _, started = self.late_branch(at, None, depth, [sample], self._path_logprob(at))
        return [started]

    def _path_logprob(self, at: Segment) -> float:
        """Sum of the log-probabilities of the tokens after the prompt up to the end of `at`."""
        total = 0.0
        for parent, segment in pairwise(at.path()):
            for dists, token in zip([parent.dists[-1], *segment.dists], segment.tokens, strict=False):
                if dists is None:
                    raise AssertionError("a node on a path has lost its distribution")
                total += _logprob(dists, token)
        return total

    # A row

    def asks(self, branch: Branch, token: int, drafted: list[int]) -> list[Ask]:
        """The draws of the branch's samples here and after each drafted token."""
        return self._asks(branch, token, len(drafted), branch.generated)

    def asks_after(self, branch: Branch) -> tuple[Draw, list[Ask]] | None:
        """See Tree. What a constraint allows next depends on the token that is not known yet."""
        if branch.stopper.mask is not None or branch.generated + 1 >= self.request.max_new_tokens:
            return None
        sample = branch.samples[0]
        number = None if self.request.greedy_first and sample == 0 else 0
        return (self._rung(sample), number), self._asks(branch, 0, 0, branch.generated + 1)

    def _asks(self, branch: Branch, token: int, drafted: int, first: int) -> list[Ask]:
        mask = branch.stopper.mask
        if len(branch.samples) == 1 and self.rungs == 1:
            mine = self._numbers[branch.samples[0] // self._stride, first:]
            filters = self.request.filters[0]
            places = range(drafted + 1)
            return [Ask(token + place, filters, mine[place : place + 1], mask) for place in places]
        rows = np.array(branch.samples) // self._stride
        asks: list[Ask] = []
        for place in range(drafted + 1):
            numbers = self._numbers[rows, first + place]
            for rung, filters in enumerate(self.request.filters):
                mine = numbers if self.rungs == 1 else numbers[rows % self.rungs == rung]
                asks.append(Ask(token + place, filters, mine, mask))
        return asks

    def take_row(self, branch: Branch, drafted: list[int], distributions: list[Distribution]) -> list[CoreEvent]:
        """The samples draw, agree or part; the draft holds as far as all of them draw it."""
        tip, events = branch.tip, list[CoreEvent]()
        for place in range(len(drafted) + 1):
            dists = tuple(distributions[place * self.rungs : (place + 1) * self.rungs])
            events += self._draw(branch, dists)
            right = branch.tip is tip and place < len(drafted) and tip.tokens[-1] == drafted[place]
            if not right or branch.finished:
                break
            tip.computed += 1
            branch.filled += 1
            self.counts.accepted_tokens += 1
        if drafted:
            self.counts.drafted_tokens += len(drafted)
            tip.trim(self.pool, self.page_size)
        return events

    def _draw(self, branch: Branch, dists: Nodes) -> list[CoreEvent]:
        tip = branch.tip
        # A node keeps its distributions for the samples that have yet to come this way.
        tip.dists.append(None if self.settled else dists)
        if len(branch.samples) == 1 and self.rungs == 1:
            return self._draw_alone(branch, dists[0])
        groups: dict[int, list[int]] = {}
        logprobs: dict[int, float] = {}
        for rung, distribution in enumerate(dists):
            samples = branch.samples if self.rungs == 1 else [s for s in branch.samples if self._rung(s) == rung]
            if not samples:
                continue
            rows = np.array(samples) // self._stride
            index = self._find(distribution, samples, self._numbers[rows, branch.generated])
            if (index < 0).any():
                raise AssertionError("the runner left a number of this step unresolved")
            for sample, token, drawn in zip(samples, distribution.ids[index].tolist(), index.tolist(), strict=True):
                groups.setdefault(token, []).append(sample)
                logprobs[token] = float(distribution.logprobs[drawn])
        if len(groups) > 1:
            in_order = sorted(groups.items(), key=lambda group: min(group[1]))
            return self.part(branch, dict(in_order), logprobs)
        (token,) = groups
        tip.tokens.append(token)
        for rung, distribution in enumerate(dists):
            low, high = distribution.interval(token)
            tip.low[rung].append(low)
            tip.high[rung].append(high)
        return self.take_token(branch, token, logprobs[token])

    def _draw_alone(self, branch: Branch, distribution: Distribution) -> list[CoreEvent]:
        """As `_draw`, for the branch of one sample that most of a step's rows are."""
        (sample,) = branch.samples
        number = self._numbers[sample // self._stride, branch.generated]
        index = distribution.place(number)
        if self.request.greedy_first and sample == 0:
            index = distribution.greedy
        if index < 0:
            raise AssertionError("the runner left a number of this step unresolved")
        token, tip = int(distribution.ids[index]), branch.tip
        tip.tokens.append(token)
        tip.low[0].append(float(distribution.low[index]))
        tip.high[0].append(float(distribution.high[index]))
        return self.take_token(branch, token, float(distribution.logprobs[index]))

    def _find(
        self, distribution: Distribution, samples: list[int], numbers: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        index = distribution.find(numbers)
        if self.request.greedy_first and samples[0] == 0:
            index[0] = distribution.greedy
        return index


def _logprob(dists: Nodes, token: int) -> float:
    for distribution in dists:
        index = int(np.searchsorted(distribution.ids, token))
        if index < len(distribution.ids) and distribution.ids[index] == token:
            return float(distribution.logprobs[index])
    raise AssertionError(f"token {token} is on the path of a sample and in no distribution of its node")
