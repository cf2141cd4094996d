"""The sampling tree of one solve: k samples, one row for all that have drawn the same tokens.

Each sample draws with its own number at each position, so the result equals k separate draws; samples part only where
their draws differ ("lazy fork"). Every node keeps its distribution until the solve ends, so a sample that starts late
walks down the tree for free and costs rows only from where it leaves it.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from engine.core.distribution import Distribution
from engine.core.pages import PagePool
from engine.core.randomness import uniforms
from engine.core.segments import Segment
from engine.core.types import (
    BranchCut,
    BranchFinished,
    BranchStarted,
    CoreEvent,
    CoreRequest,
    Counts,
    FinishReason,
    SamplesFinished,
    Slots,
    Stopper,
)


@dataclass(slots=True, eq=False)
class Branch:
    """Samples that have drawn the same tokens so far. `generated` counts the tokens after the prompt."""

    id: int
    tip: Segment
    samples: list[int]
    stopper: Stopper
    generated: int = 0
    logprob: float = 0.0
    finished: bool = False
    reported: int = 0  # characters of the text already sent
    suffix: Slots = field(default_factory=lambda: np.empty(0, np.int32))
    filled: int = 0
    layout: int = -1  # layout of the tree that `suffix` was made for
    whole: bool = False  # `suffix` holds the prompt's slots too


class SampleTree:
    """Root, branches and samples of one solve. Pages belong to the segments; the scheduler allocates them."""

    def __init__(self, request: CoreRequest, pool: PagePool, page_size: int) -> None:
        self.request = request
        self.pool = pool
        self.page_size = page_size
        self.root = Segment(None, 0, list(request.prompt))
        self.prefix: Slots = np.empty(0, np.int32)
        self.branches: dict[int, Branch] = {}
        self.counts = Counts(prompt_tokens=len(request.prompt))
        self.layout = 0
        self._next_branch = 0
        self._finished_leaves: list[Segment] = []

    # Samples

    @property
    def ready(self) -> bool:
        """Whether the root's distribution is known, so that samples can start."""
        return bool(self.root.dists)

    @property
    def unstarted(self) -> int:
        """Samples that have not started yet."""
        return self.request.k - self.counts.samples_started

    @property
    def complete(self) -> bool:
        """Whether every sample has finished."""
        return self.ready and not self.branches and self.unstarted == 0

    def first_numbers(self) -> npt.NDArray[np.float64]:
        """The first draw of each of the k samples, [k]."""
        return uniforms(self.request.seed, np.arange(self.request.k), 0)

    def set_root(self, distribution: Distribution) -> None:
        """The distribution after the prompt's last token."""
        self.root.dists = [distribution]

    def start_sample(self) -> list[CoreEvent]:
        """Start the next sample: it walks down the tree as far as its draws lead, then forks off or joins."""
        sample = self.counts.samples_started
        self.counts.samples_started += 1
        numbers = uniforms(self.request.seed, sample, np.arange(self.request.max_new_tokens))
        segment, depth = self.root, 0
        while True:
            last = len(segment.tokens) - 1
            if segment is not self.root:
                # The first token of this segment is drawn; follow the inner ones.
                inner = numbers[depth : depth + last]
                stays = (inner >= segment.low) & (inner < segment.high)
                if not stays.all():
                    last = int(np.argmin(stays))
                depth += last
                if last == len(segment.tokens) - 1 and segment.tip is not None:
                    return self._join(segment.tip, sample)
            distribution = segment.dists[0 if segment is self.root else last]
            if distribution is None:
                raise AssertionError("an inner node has lost its distribution")
            index = self._find(distribution, [sample], numbers[depth : depth + 1])[0]
            if index < 0:
                return self._shadow(segment, last, depth, sample)
            token = int(distribution.ids[index])
            child = segment.children.get(token) if last == len(segment.tokens) - 1 else None
            if child is None:
                at = self._node(segment, last)
                return self._fork_off(at, depth, sample, distribution, int(index))
            depth += 1
            segment = child

    def _find(
        self, distribution: Distribution, samples: list[int], numbers: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        index = distribution.find(numbers)
        if self.request.greedy_first and samples[0] == 0:
            index[0] = distribution.greedy
        return index

    def _node(self, segment: Segment, last: int) -> Segment:
        """The segment that ends with token `last` of `segment`, split off if need be."""
        if last == len(segment.tokens) - 1:
            return segment
        self.layout += 1
        return segment.split(last + 1, self.pool, self.page_size)

    def _join(self, branch: Branch, sample: int) -> list[CoreEvent]:
        self.counts.generated_tokens += branch.generated
        branch.samples.append(sample)
        if not branch.finished:
            return []
        self.counts.samples_finished += 1
        return [SamplesFinished(self.request.solve, branch.id, (sample,))]

    def _fork_off(
        self, at: Segment, depth: int, sample: int, distribution: Distribution, index: int
    ) -> list[CoreEvent]:
        """A new branch for one late sample, leaving the tree at the end of `at` after `depth` generated tokens."""
        parent = self._parent_branch(at)
        branch = self._late_branch(self._child(at, int(distribution.ids[index])), at, depth, sample)
        started = BranchStarted(self.request.solve, branch.id, parent, depth, (sample,))
        return [started, *self._take_token(branch, distribution, index)]

    def _shadow(self, segment: Segment, last: int, depth: int, sample: int) -> list[CoreEvent]:
        """The token this sample draws was not kept: the row of the node's own token is computed once more for it."""
        at = self._node(segment, last)
        parent = self._parent_branch(at)
        shadow = Segment(at, at.end - 1, [at.tokens[-1]])
        at.shadows.append(shadow)
        branch = self._late_branch(shadow, at, depth, sample)
        return [BranchStarted(self.request.solve, branch.id, parent, depth, (sample,))]

    def _late_branch(self, tip: Segment, at: Segment, depth: int, sample: int) -> Branch:
        """A branch for one late sample that has drawn the `depth` tokens up to the end of `at`."""
        branch = self._new_branch(tip, [sample])
        branch.stopper = self.request.stopper.fork()
        for token in self.generated_tokens(branch)[:depth]:
            branch.stopper.push(token)
        branch.generated = depth
        branch.logprob = self._path_logprob(at)
        self.counts.generated_tokens += depth
        return branch

    def _parent_branch(self, at: Segment) -> int | None:
        """Some branch that runs through `at`; None at the root."""
        if at is self.root:
            return None
        segment = at
        while segment.tip is None:
            segment = segment.offspring()[0]
        return segment.tip.id

    def _path_logprob(self, at: Segment) -> float:
        """Sum of the log-probabilities of the tokens after the prompt up to the end of `at`."""
        total = 0.0
        path = at.path()
        for parent, segment in pairwise(path):
            node = parent.dists[-1]
            tokens = [segment.tokens[0]] if segment.start == parent.end else []
            for distribution, token in [
                *((node, token) for token in tokens),
                *zip(segment.dists, segment.tokens[1:], strict=False),
            ]:
                if distribution is None:
                    raise AssertionError("a node on a path has lost its distribution")
                total += float(distribution.logprobs[int(np.searchsorted(distribution.ids, token))])
        return total

    # Branches

    def generated_tokens(self, branch: Branch) -> list[int]:
        """Token ids after the prompt."""
        tokens: list[int] = []
        path = branch.tip.path()
        for segment, child in zip(path, [*path[1:], None], strict=True):
            first = max(0, self.root.end - segment.start)
            tokens.extend(segment.tokens[first : None if child is None else child.start - segment.start])
        return tokens

    def advance(self, branch: Branch, distribution: Distribution, numbers: npt.NDArray[np.float64]) -> list[CoreEvent]:
        """The row of a branch was computed: its samples draw ([n] numbers, one each), agree or part."""
        tip = branch.tip
        # A node keeps its distribution for the samples that have yet to come this way.
        tip.dists.append(distribution if self.unstarted else None)
        index = self._find(distribution, branch.samples, numbers)
        groups: dict[int, list[int]] = {}
        for sample, drawn in zip(branch.samples, index.tolist(), strict=True):
            groups.setdefault(drawn, []).append(sample)
        if -1 in groups:
            raise AssertionError("the runner left a number of this step unresolved")
        # The largest group keeps the branch's name; a dict is in the order of the lowest sample.
        stays = max(groups, key=lambda drawn: len(groups[drawn]))
        if len(groups) == 1:
            branch.tip = self._extend(tip, distribution, stays)
            return self._take_token(branch, distribution, stays)
        events: list[CoreEvent] = []
        tip.tip = None
        parted: list[tuple[Branch, int]] = []
        for drawn, samples in groups.items():
            child = self._child(tip, int(distribution.ids[drawn]))
            if drawn == stays:
                branch.tip, branch.samples = child, samples
                child.tip = branch
                child.live = 1
                continue
            fork = self._new_branch(child, samples)
            fork.stopper = branch.stopper.fork()
            fork.generated = branch.generated
            fork.logprob = branch.logprob
            if branch.layout == self.layout:
                fork.suffix = branch.suffix.copy()
                fork.filled = branch.filled
                fork.whole = branch.whole
                fork.layout = branch.layout
            parted.append((fork, drawn))
            events.append(
                BranchStarted(self.request.solve, fork.id, branch.id, fork.generated, tuple(samples)),
            )
        for moved, drawn in [(branch, stays), *parted]:
            events += self._take_token(moved, distribution, drawn)
        return events

    def _extend(self, tip: Segment, distribution: Distribution, index: int) -> Segment:
        tip.tokens.append(int(distribution.ids[index]))
        tip.low.append(float(distribution.low[index]))
        tip.high.append(float(distribution.high[index]))
        return tip

    def _child(self, parent: Segment, token: int) -> Segment:
        child = Segment(parent, parent.end, [token])
        if token in parent.children:
            raise AssertionError(f"token {token} leads to a child already")
        parent.children[token] = child
        return child

    def _new_branch(self, tip: Segment, samples: list[int]) -> Branch:
        branch = Branch(self._next_branch, tip, samples, self.request.stopper)
        self._next_branch += 1
        self.counts.branches += 1
        self.branches[branch.id] = branch
        tip.tip = branch
        self._add_live(tip, 1)
        return branch

    def _add_live(self, segment: Segment | None, change: int) -> None:
        while segment is not None:
            segment.live += change
            segment = segment.parent

    def _take_token(self, branch: Branch, distribution: Distribution, index: int) -> list[CoreEvent]:
        """The branch's samples have drawn one more token, which is the last of its tip."""
        branch.generated += 1
        branch.logprob += float(distribution.logprobs[index])
        self.counts.generated_tokens += len(branch.samples)
        reason = branch.stopper.push(int(distribution.ids[index]))
        if reason is None and branch.generated >= self.request.max_new_tokens:
            reason = FinishReason.LENGTH
        if reason is None:
            return []
        branch.finished = True
        del self.branches[branch.id]
        self._add_live(branch.tip, -1)
        self._finished_leaves.append(branch.tip)
        self.counts.samples_finished += len(branch.samples)
        return [
            BranchFinished(
                self.request.solve,
                branch.id,
                reason,
                branch.stopper.text,
                branch.generated,
                branch.logprob,
                tuple(branch.samples),
            )
        ]

    # Pages

    def segments(self) -> list[Segment]:
        """All segments, parents first."""
        found = [self.root]
        for segment in found:
            found.extend(segment.offspring())
        return found

    def drop_idle(self) -> int:
        """Give back the pages that no running branch needs, one finished leaf at a time. Returns the pages dropped."""
        while self._finished_leaves:
            dropped = 0
            segment: Segment | None = self._finished_leaves.pop(0)
            while segment is not None and segment is not self.root and segment.live == 0:
                if any(below.pages for below in segment.offspring()):
                    break
                dropped += segment.drop_pages(self.pool)
                segment = segment.parent
            if dropped:
                self.layout += 1
                return dropped
        return 0

    def drop(self, segment: Segment) -> None:
        """Give back the pages of one segment; none of its offspring may have any."""
        segment.drop_pages(self.pool)
        self.layout += 1

    def drop_all(self) -> int:
        """Give back every page, the root's too. Returns the pages dropped."""
        dropped = sum(segment.drop_pages(self.pool) for segment in self.segments())
        self.layout += 1
        return dropped

    def cut(self) -> list[CoreEvent]:
        """End every running branch; the solve is over. Its pages are given back."""
        events: list[CoreEvent] = []
        for branch in self.branches.values():
            branch.finished = True
            self.counts.samples_cut += len(branch.samples)
            self.counts.wasted_tokens += branch.generated * len(branch.samples)
            events.append(BranchCut(self.request.solve, branch.id, branch.generated, tuple(branch.samples)))
        self.branches.clear()
        self.drop_all()
        return events

    def check_invariants(self, held: dict[int, int]) -> None:
        """Prove that the tree is sound, adding the references its segments hold to `held` (page -> count)."""
        samples: list[int] = []
        for segment in self.segments():
            for page in segment.pages:
                held[page] = held.get(page, 0) + 1
            if segment.computed > len(segment.tokens):
                raise AssertionError("more tokens computed than there are")
            if segment.computed and segment.pages_needed(segment.computed, self.page_size) > 0:
                raise AssertionError("computed tokens without slots")
            if segment.pages and segment.offset != segment.start % self.page_size:
                raise AssertionError("a token's place in its page is not that of its position")
            below = sum(child.live for child in segment.offspring())
            own = 1 if segment.tip is not None and segment.tip.id in self.branches else 0
            if segment.live != below + own:
                raise AssertionError(f"segment counts {segment.live} running branches, there are {below + own}")
            if segment.tip is not None:
                samples.extend(segment.tip.samples)
        if sorted(samples) != list(range(self.counts.samples_started)):
            raise AssertionError("a sample is lost or in two branches")
