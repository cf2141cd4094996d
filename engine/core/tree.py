"""The sampling tree of one prompt: one row for all samples that have drawn the same tokens.

What is common to every mode: segments and branches, how they part, end and give back their pages. Which branches there
are, and what they draw, is up to the mode: independent.py, distinct.py, beam.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from engine.core.branch import Branch
from engine.core.distribution import Distribution
from engine.core.pages import PagePool
from engine.core.segments import LooseTails, Segment
from engine.core.types import (
    Ask,
    BranchCut,
    BranchFinished,
    BranchPruned,
    BranchStarted,
    CoreEvent,
    CoreRequest,
    Counts,
    Draw,
    FinishReason,
    Prompt,
    Slots,
)


class Tree(ABC):
    """Root and branches over one prompt. Pages belong to the segments; the scheduler allocates them.

    A solve with several prompts has a tree for each: `counts` and `ids` are the solve's, `place` is the prompt's.
    """

    rungs = 1
    """How many distributions are asked for at each node."""
    now = 0.0
    """The step boundary, on the scheduler's clock, which sets it."""

    def __init__(
        self, request: CoreRequest, place: int, *, counts: Counts, ids: Iterator[int], pool: PagePool, page_size: int
    ) -> None:
        self.request = request
        self.prompt: Prompt = request.prompts[place]
        self.place = place
        self.counts = counts
        self.pool = pool
        self.page_size = page_size
        self.root = Segment(None, 0, list(self.prompt.tokens), self.rungs)
        self.prefix: Slots = np.empty(0, np.int32)
        self.branches: dict[int, Branch] = {}
        self.layout = 0
        self.ready = False
        """Whether what follows the prompt is known, so that branches can start."""
        self._ids = ids
        self._finished_leaves: list[Segment] = []
        self.loose = LooseTails(page_size)
        counts.prompt_tokens += len(self.prompt.tokens)

    # What a mode decides

    @property
    @abstractmethod
    def startable(self) -> int:
        """How many branches could be started now."""

    @property
    @abstractmethod
    def settled(self) -> bool:
        """Whether no branch will leave the tree above a running one any more, so that idle pages are of no use."""

    @property
    @abstractmethod
    def started(self) -> int:
        """Samples of this tree that have started."""

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether there is nothing left to draw."""

    @property
    def openings(self) -> dict[int, int]:
        """By rung, the sample that is started next; empty where none is startable."""
        return {0: self.started} if self.startable else {}

    @abstractmethod
    def start(self, rung: int = 0) -> list[CoreEvent]:
        """Start the next branch, with the next sample of a rung that has an opening."""

    @abstractmethod
    def root_asks(self, token: int) -> list[Ask]:
        """What to ask for at the prompt's last token, which is number `token` of its chunk."""

    @abstractmethod
    def take_root(self, distributions: list[Distribution]) -> list[CoreEvent]:
        """The answers to `root_asks`."""

    @abstractmethod
    def asks(self, branch: Branch, token: int, drafted: list[int]) -> list[Ask]:
        """What to ask for at a branch's last token, number `token` of its chunk, and at each drafted one after it.

        A branch whose stopper has a mask takes no draft.
        """

    def asks_after(self, branch: Branch) -> tuple[Draw, list[Ask]] | None:
        """What a branch draws first by the asks of its row, which is in flight, and what to ask for after that token.

        None where the branch ends with that token, or more must be known of it first.
        """
        return None

    @abstractmethod
    def take_row(self, branch: Branch, drafted: list[int], distributions: list[Distribution]) -> list[CoreEvent]:
        """The answers to `asks`: the branch goes on, parts or ends.

        The tip's `computed` covers its last token already, and grows by the drafted tokens that turn out right.
        """

    def waits(self, branch: Branch) -> bool:
        """Whether a running branch has its answer and waits for those of others before it goes on."""
        return False

    @property
    def wants_rows(self) -> list[Branch]:
        """The branches that can go on, oldest first."""
        return list(self.branches.values())

    def ended(self, branch: Branch, reason: FinishReason) -> list[CoreEvent]:
        """A branch's text is complete: what to report now."""
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

    # Nodes

    def node(self, segment: Segment, last: int) -> Segment:
        """The segment that ends with token `last` of `segment`, split off if need be."""
        if last == len(segment.tokens) - 1:
            return segment
        self.layout += 1
        return segment.split(last + 1, self.pool, self.page_size)

    def child(self, parent: Segment, token: int) -> Segment:
        """A new child of a segment."""
        child = Segment(parent, parent.end, [token], self.rungs)
        if token in parent.children:
            raise AssertionError(f"token {token} leads to a child already")
        parent.children[token] = child
        return child

    def shadow(self, at: Segment) -> Segment:
        """A place where the row of the last token of `at` is computed once more: a sibling of that token.

        Beside the root, which has none, it begins with the prompt's last token.
        """
        if at is self.root:
            shadow = Segment(at, at.end - 1, [at.tokens[-1]], self.rungs)
            at.shadows.append(shadow)
            return shadow
        if len(at.tokens) > 1:
            self.node(at, len(at.tokens) - 2)  # `at` keeps the last token
        if at.parent is None:
            raise AssertionError("only the root has no parent")
        shadow = Segment(at.parent, at.start, list(at.tokens), self.rungs)
        at.parent.shadows.append(shadow)
        return shadow

    def segments(self) -> list[Segment]:
        """All segments, parents first."""
        found = [self.root]
        for segment in found:
            found.extend(segment.offspring())
        return found

    def generated_tokens(self, branch: Branch) -> list[int]:
        """Token ids after the prompt."""
        tokens: list[int] = []
        path = branch.tip.path()
        for segment, child in zip(path, [*path[1:], None], strict=True):
            first = max(0, self.root.end - segment.start)
            tokens.extend(segment.tokens[first : None if child is None else child.start - segment.start])
        return tokens

    def last_tokens(self, branch: Branch, count: int) -> list[int]:
        """The last so many tokens of a branch's path, prompt included; all if there are fewer."""
        tokens: list[int] = []
        segment, end = branch.tip, len(branch.tip.tokens)
        while True:
            tokens[:0] = segment.tokens[max(0, end - count + len(tokens)) : end]
            if len(tokens) >= count or segment.parent is None:
                return tokens
            end = segment.start - segment.parent.start
            segment = segment.parent

    # Branches

    def late_branch(
        self, at: Segment, token: int | None, depth: int, samples: list[int], logprob: float
    ) -> tuple[Branch, BranchStarted]:
        """A branch for samples that come late to the end of `at`, `depth` tokens of that log-probability.

        It leaves the tree there by `token`, which it has yet to take; None: the row of the last token is computed once
        more for it.
        """
        parent = self._some_branch(at)
        branch = self._new_branch(self.shadow(at) if token is None else self.child(at, token), samples)
        branch.stopper = self.prompt.stopper.fork()
        for drawn in self.generated_tokens(branch)[:depth]:
            branch.stopper.push(drawn)
        branch.generated = depth
        branch.logprob = logprob
        self.counts.generated_tokens += depth * len(samples)
        return branch, BranchStarted(self.request.solve, branch.id, parent, depth, tuple(samples))

    def _some_branch(self, at: Segment) -> int | None:
        """Some branch that runs through `at`, or through a shadow of it; None at the root."""
        if at is self.root or at.parent is None:
            return None
        shadows = [one for one in at.parent.shadows if one.start == at.start and one.tokens[0] == at.tokens[0]]
        search = [*shadows, at] if len(at.tokens) == 1 else [at]
        while search:
            segment = search.pop()
            if segment.tip is not None:
                return segment.tip.id
            search.extend(segment.offspring())
        raise AssertionError("a node of the tree that no branch has gone through")

    def part(self, branch: Branch, groups: dict[int, list[int]], logprobs: dict[int, float]) -> list[CoreEvent]:
        """The branch's samples have drawn several tokens (token -> its samples): the largest group keeps the branch."""
        tip = branch.tip
        # A dict is in the order of the lowest sample, which decides among equals.
        stays = max(groups, key=lambda token: len(groups[token]))
        tip.tip = None
        events: list[CoreEvent] = []
        parted: list[tuple[Branch, int]] = []
        for token, samples in groups.items():
            child = self.child(tip, token)
            if token == stays:
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
            parted.append((fork, token))
            events.append(BranchStarted(self.request.solve, fork.id, branch.id, fork.generated, tuple(samples)))
        for moved, token in [(branch, stays), *parted]:
            events += self.take_token(moved, token, logprobs[token])
        return events

    def take_token(self, branch: Branch, token: int, logprob: float) -> list[CoreEvent]:
        """The branch's samples have drawn one more token, which is the last of its tip."""
        branch.generated += 1
        branch.logprob += logprob
        self.counts.generated_tokens += len(branch.samples)
        reason = branch.stopper.push(token)
        if reason is None and branch.generated >= self.request.max_new_tokens:
            reason = FinishReason.LENGTH
        if reason is None:
            return []
        if reason is FinishReason.PRUNED:
            return self.prune(branch)
        self._leave(branch)
        self.counts.samples_finished += len(branch.samples)
        return self.ended(branch, reason)

    def trim(self, segment: Segment) -> None:
        """Give back the page of a row that was computed in vain, after the last token that counts."""
        pages = len(segment.pages)
        segment.trim(self.pool, self.page_size)
        if len(segment.pages) < pages and segment.tip is not None and segment.tip.finished:
            self.loose.add(segment)

    def prune(self, branch: Branch) -> list[CoreEvent]:
        """Give a branch up while the solve goes on, a running one or one whose end was not reported."""
        if branch.finished:
            self.counts.samples_finished -= len(branch.samples)
        else:
            self._leave(branch)
        branch.pruned = True
        self.counts.samples_pruned += len(branch.samples)
        self.counts.wasted_tokens += branch.generated * len(branch.samples)
        self.counts.pruned_tokens += branch.generated * len(branch.samples)
        return [BranchPruned(self.request.solve, branch.id, branch.generated, tuple(branch.samples))]

    def _new_branch(self, tip: Segment, samples: list[int]) -> Branch:
        branch = Branch(next(self._ids), self, tip, samples, self.prompt.stopper, self.now)
        self.counts.branches += 1
        self.branches[branch.id] = branch
        tip.tip = branch
        self._add_live(tip, 1)
        return branch

    def to_shadow(self, branch: Branch) -> None:
        """Have the row of the branch's last token computed once more."""
        tip = branch.tip
        branch.tip, tip.tip = self.shadow(tip), None
        branch.tip.tip = branch
        branch.layout = -1
        self._add_live(branch.tip, 1)
        self._add_live(tip, -1)
        self._finished_leaves.append(tip)

    def _leave(self, branch: Branch) -> None:
        branch.finished = True
        del self.branches[branch.id]
        self._add_live(branch.tip, -1)
        self._finished_leaves.append(branch.tip)
        self.loose.add(branch.tip)

    def _add_live(self, segment: Segment | None, change: int) -> None:
        """Count running branches at and above a segment."""
        while segment is not None:
            segment.live += change
            segment = segment.parent

    # Pages

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

    def drop_all(self) -> None:
        """Give back every page, the root's too."""
        for segment in self.segments():
            segment.drop_pages(self.pool)
        self.layout += 1

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

    def check_invariants(self, held: dict[int, int]) -> list[int]:
        """Prove that the tree is sound, adding the references its segments hold to `held` (page -> count).

        Returns the samples it holds.
        """
        samples: list[int] = []
        used: set[int] = set()
        for segment in self.segments():
            slots = segment.slots(segment.computed, self.page_size).tolist()
            if not used.isdisjoint(slots):
                raise AssertionError("a slot belongs to two tokens")
            used.update(slots)
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
        if len(samples) != self.started:
            raise AssertionError(f"{self.started} samples have started, {len(samples)} are in branches")
        return samples
