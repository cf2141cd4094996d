"""Beam search over the tree of one prompt: at each length the k prefixes of the largest log-probability go on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.core.branch import Branch
from engine.core.distribution import Distribution
from engine.core.pages import PagePool
from engine.core.tree import Tree
from engine.core.types import Ask, CoreEvent, CoreRequest, Counts, Filters, FinishReason

_NO_NUMBERS = np.empty(0)


@dataclass(slots=True)
class _Step:
    """A branch, or the root, that could go on with a token; `logprob`: of the whole text then."""

    branch: Branch | None
    token: int
    logprob: float


class Beam(Tree):
    """A beam of k branches.

    The usual search (Wu et al., "Google's neural machine translation system", 2016): of the 2k best continuations those
    that end a text become hypotheses if they are among the best k, and the k best of the others go on. It stops when k
    hypotheses are there and no branch has a better score at its present length than the worst of the k best. The score
    is log-probability / length ** length_penalty, at temperature 1. A row waits until all of its length are computed.
    """

    def __init__(
        self, request: CoreRequest, place: int, *, counts: Counts, ids: Iterator[int], pool: PagePool, page_size: int
    ) -> None:
        super().__init__(request, place, counts=counts, ids=ids, pool=pool, page_size=page_size)
        # 2k tokens of each branch are enough: no more than k of them can go on, no more than k can end it.
        self._filters = Filters(temperature=1.0, top_k=2 * request.k)
        self._answers: dict[int, Distribution] = {}
        self._scores: list[float] = []  # of the hypotheses

    @property
    def startable(self) -> int:
        """None: the whole beam starts at once."""
        return 0

    @property
    def settled(self) -> bool:
        """Always: only what is in the beam goes on."""
        return True

    @property
    def started(self) -> int:
        """Prefixes that were once in the beam under a name of their own."""
        return self.counts.samples_started

    @property
    def complete(self) -> bool:
        """Whether the search is over."""
        return self.ready and not self.branches

    def waits(self, branch: Branch) -> bool:
        """Until all of its length are computed."""
        return branch.id in self._answers

    @property
    def wants_rows(self) -> list[Branch]:
        """The branches of this length that are not computed yet."""
        return [branch for branch in self.branches.values() if branch.id not in self._answers]

    def root_asks(self, token: int) -> list[Ask]:
        """The best first tokens."""
        return [Ask(token, self._filters, _NO_NUMBERS, self.prompt.stopper.mask)]

    def take_root(self, distributions: list[Distribution]) -> list[CoreEvent]:
        """The beam starts with the best first tokens."""
        self.ready = True
        (distribution,) = distributions
        steps = [
            _Step(None, token, float(logprob))
            for token, logprob in zip(distribution.ids.tolist(), distribution.logprobs, strict=True)
        ]
        events: list[CoreEvent] = []
        for step in self._chosen(steps):
            branch, started = self.late_branch(self.root, step.token, 0, self._new_sample(), 0.0)
            events += [started, *self.take_token(branch, step.token, step.logprob)]
        return events + self._stop_if_over()

    def start(self, rung: int = 0) -> list[CoreEvent]:
        """Never called: nothing is startable."""
        raise AssertionError("a beam starts with its prompt")

    def asks(self, branch: Branch, token: int, drafted: list[int]) -> list[Ask]:
        """The best tokens to go on with."""
        if drafted:
            raise AssertionError("a beam takes no drafts")
        return [Ask(token, self._filters, _NO_NUMBERS, branch.stopper.mask)]

    def take_row(self, branch: Branch, drafted: list[int], distributions: list[Distribution]) -> list[CoreEvent]:
        """Keep the answer; with the last of this length choose who goes on."""
        self._answers[branch.id] = distributions[0]
        if len(self._answers) < len(self.branches):
            return []
        steps = [
            _Step(one, token, one.logprob + float(logprob))
            for one in self.branches.values()
            for token, logprob in zip(
                self._answers[one.id].ids.tolist(), self._answers[one.id].logprobs.tolist(), strict=True
            )
        ]
        self._answers.clear()
        chosen = self._chosen(steps)
        events: list[CoreEvent] = []
        for one in list(self.branches.values()):
            mine = [step for step in chosen if step.branch is one]
            events += self._go_on(one, mine) if mine else self.prune(one)
        return events + self._stop_if_over()

    def _chosen(self, steps: list[_Step]) -> list[_Step]:
        """The steps to take, the best first: those that go on, at most k, and the texts that end among the best k."""
        steps.sort(key=lambda step: (-step.logprob, -1 if step.branch is None else step.branch.id, step.token))
        chosen: list[_Step] = []
        going = 0
        for rank, step in enumerate(steps[: 2 * self.request.k]):
            stopper = (self.prompt.stopper if step.branch is None else step.branch.stopper).fork()
            reason = stopper.push(step.token)
            generated = 1 + (0 if step.branch is None else step.branch.generated)
            ends = reason is not None or generated >= self.request.max_new_tokens
            if reason is FinishReason.PRUNED or (ends and rank >= self.request.k):
                continue
            chosen.append(step)
            going += not ends
            if going == self.request.k:
                break
        return chosen

    def _go_on(self, branch: Branch, steps: list[_Step]) -> list[CoreEvent]:
        before = branch.logprob
        if len(steps) == 1:
            (step,) = steps
            branch.tip.tokens.append(step.token)
            branch.tip.dists.append(None)
            for low, high in zip(branch.tip.low, branch.tip.high, strict=True):
                low.append(0.0)
                high.append(0.0)
            return self.take_token(branch, step.token, step.logprob - before)
        groups = {step.token: branch.samples if place == 0 else self._new_sample() for place, step in enumerate(steps)}
        # What a new prefix has in common with the one that it left counts for each, as for samples that part.
        self.counts.generated_tokens += branch.generated * (len(steps) - 1)
        return self.part(branch, groups, {step.token: step.logprob - before for step in steps})

    def _new_sample(self) -> list[int]:
        sample = self.counts.samples_started
        self.counts.samples_started += 1
        return [sample]

    def ended(self, branch: Branch, reason: FinishReason) -> list[CoreEvent]:
        """A hypothesis."""
        self._scores.append(self._score(branch))
        return super().ended(branch, reason)

    def _score(self, branch: Branch) -> float:
        return branch.logprob / branch.generated**self.request.length_penalty

    def _stop_if_over(self) -> list[CoreEvent]:
        """Give the branches up when none of them can be among the k best."""
        if len(self._scores) < self.request.k:
            return []
        worst = sorted(self._scores, reverse=True)[self.request.k - 1]
        if any(self._score(branch) > worst for branch in self.branches.values()):
            return []
        return [event for branch in list(self.branches.values()) for event in self.prune(branch)]
