"""One tier's part of a solve: its own numbers, what they are in the merged stream, and what its events have told.

A tier elsewhere is not believed blindly: events that no solve could have are a fault of the tier (`TierBroke`), and it
is then treated like one that cannot be reached.
"""

import asyncio
from dataclasses import dataclass, field, replace

from engine.core.passrate import Verdicts
from engine.core.types import EndReason, Mode
from engine.solving.events import BranchDelta, BranchEnded, BranchOutcome, BranchStarted, CandidateFinished
from engine.solving.spec import Budget, PriorAttempt, SolveSpec
from engine.solving.summary import Accounting, Summary, TierCost, TierOutcome
from engine.solving.tiers import Cut, Terms

_ROOM = 1 << 20
"""Numbers kept for the samples of a leg that may start more than k."""


class TierBroke(Exception):
    """A tier has sent what no solve could have; the text says what."""


@dataclass(slots=True)
class Given:
    """A program that the tier was given. `index` is its number in the merged stream, None while it has none there."""

    attempt: PriorAttempt
    index: int | None = None


@dataclass(slots=True)
class _Branch:
    """A branch of the leg: its number in the merged stream, the samples that are known to be on it, its length."""

    number: int
    samples: set[int]
    tokens: int
    ended: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Leg:
    """`spec` is what the tier was asked, `granted` what it may spend, `given` the programs it was given, each once.

    `first_sample`: what its sample 0 is in the merged stream. `held_back`: it may draw fewer samples than its terms
    allow, since more were not worth it.
    """

    position: int
    tier: int
    name: str
    spec: SolveSpec
    granted: Budget
    given: list[Given]
    first_sample: int
    held_back: bool = False
    cut: Cut = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    accepted: bool = False
    summary: Summary | None = None
    outcome: TierOutcome | None = None
    detail: str = ""
    model: str = ""
    candidates: dict[int, int] = field(default_factory=dict[int, int])
    """Its own number of a candidate -> that in the merged stream."""
    known: int = 0
    """Of its candidates, those that were in the merged stream before it began."""
    judged: set[int] = field(default_factory=set[int])
    """Its own numbers of candidates that it has given a verdict."""
    tokens_of: dict[int, int] = field(default_factory=dict[int, int])
    samples_of: dict[int, set[int]] = field(default_factory=dict[int, set[int]])
    """By merged candidate: length of its text, and the samples of this leg that drew it, by their own numbers."""
    verdicts: Verdicts = field(default_factory=Verdicts)
    """Its samples by verdict, as far as their programs have one; set at its end."""
    executed: int = 0
    passed: int = 0
    unfinished: BranchEnded | None = None
    """A branch that has made a candidate of which the next event tells."""
    _branches: dict[int, _Branch] = field(default_factory=dict[int, _Branch])
    _sequence: int = 0
    _pruned: set[int] = field(default_factory=set[int])
    _wasted: int = 0

    # Numbers

    def take_sequence(self, sequence: int, *, first: bool) -> None:
        """An event has come. Raises TierBroke if one is missing, if it follows the last, or is not where it belongs."""
        if sequence != self._sequence + 1:
            raise TierBroke(f"event {sequence} came after event {self._sequence}")
        if self.summary is not None:
            raise TierBroke("an event came after the summary")
        if first != (sequence == 1):
            raise TierBroke("its first event is not Accepted, or another one is")
        self._sequence = sequence

    @property
    def room(self) -> int:
        """How many numbers its samples may have."""
        exact = self.spec.sampling.mode is Mode.INDEPENDENT and self.spec.sampling.k is not None
        return self.spec.sampling.k or _ROOM if exact else _ROOM

    def sample(self, number: int) -> int:
        """The number of a sample in the merged stream."""
        if not 0 <= number < self.room:
            raise TierBroke(f"sample {number} of {self.room}")
        return self.first_sample + number

    def samples(self, numbers: tuple[int, ...]) -> tuple[int, ...]:
        """The same of several."""
        return tuple(self.sample(number) for number in numbers)

    def candidate(self, number: int) -> int:
        """The number of a finished candidate in the merged stream."""
        if number not in self.candidates:
            raise TierBroke(f"it speaks of candidate {number}, which has not finished")
        return self.candidates[number]

    def branch(self, number: int) -> int:
        """The number of a branch, live or ended, in the merged stream."""
        if number not in self._branches:
            raise TierBroke(f"it speaks of branch {number}, which never started")
        return self._branches[number].number

    def _live(self, number: int) -> _Branch:
        branch = self._branches.get(number)
        if branch is None or branch.ended:
            raise TierBroke(f"it speaks of branch {number}, which is not there")
        return branch

    # What its events tell

    def start_branch(self, started: BranchStarted, number: int) -> int | None:
        """A branch has started; it is `number` in the merged stream. Returns the number of its parent there."""
        parent = None if started.parent is None else self._branches.get(started.parent)
        if started.branch in self._branches or (started.parent is not None and parent is None):
            raise TierBroke(f"branch {started.branch} started twice, or left a branch that is not there")
        samples = set(started.samples)
        if parent is not None:
            parent.samples -= samples
        self._branches[started.branch] = _Branch(number, samples, started.position)
        return None if parent is None else parent.number

    def grow_branch(self, delta: BranchDelta) -> int:
        """A branch has more text; its number in the merged stream."""
        branch = self._live(delta.branch)
        branch.tokens = delta.tokens
        return branch.number

    def end_branch(self, ended: BranchEnded) -> int:
        """A branch has ended; its number in the merged stream."""
        branch = self._live(ended.branch)
        branch.ended, branch.tokens = True, ended.generated_tokens
        if ended.outcome is BranchOutcome.PRUNED:
            self._pruned |= branch.samples
        if ended.candidate is None:
            self._wasted += branch.tokens * len(branch.samples)
        return branch.number

    def finish(self, finished: CandidateFinished, index: int) -> None:
        """A candidate has finished, which is `index` in the merged stream."""
        if finished.index in self.candidates:
            raise TierBroke(f"candidate {finished.index} finished twice")
        self.candidates[finished.index] = index
        self.tokens_of[index] = finished.generated_tokens
        self.samples_of[index] = set()

    def join(self, index: int, samples: tuple[int, ...]) -> None:
        """Samples, by their own numbers, drew a merged candidate."""
        mine = self.samples_of.setdefault(index, set())
        if not mine.isdisjoint(samples):
            raise TierBroke(f"a sample drew candidate {index} twice")
        mine.update(samples)

    def live_branches(self) -> list[BranchEnded]:
        """Ends, by the numbers of the merged stream, of the branches that the tier itself has not ended."""
        outcome = BranchOutcome.ERROR
        if self.cut.done():
            left = self.cut.result() is EndReason.CANCELLED
            outcome = BranchOutcome.CANCELLED if left else BranchOutcome.CUT_OFF
        return [
            BranchEnded(branch=branch.number, outcome=outcome, generated_tokens=branch.tokens)
            for branch in self._branches.values()
            if not branch.ended
        ]

    # Its account

    @property
    def account(self) -> Accounting:
        """What it has cost. Programs that it was given and that were in the stream already are not its candidates."""
        if self.summary is None:
            return self._told()
        cost = self.summary.accounting
        return replace(cost, candidates_finished=max(0, cost.candidates_finished - self.known))

    def _told(self) -> Accounting:
        """As far as its events have told."""
        finished = set[int]().union(*self.samples_of.values())
        started = finished.union(self._pruned, *(branch.samples for branch in self._branches.values()))
        cut = started - finished - self._pruned
        unended = sum(branch.tokens * len(branch.samples) for branch in self._branches.values() if not branch.ended)
        drawn = sum(self.tokens_of[index] * len(mine) for index, mine in self.samples_of.items() if mine)
        wasted = self._wasted + unended
        return Accounting(
            samples_requested=self.spec.sampling.k or len(started),
            samples_started=len(started),
            samples_finished=len(finished),
            samples_pruned=len(self._pruned),
            samples_cut_off=len(cut),
            samples_passed=self.verdicts.passed,
            branches_started=len(self._branches),
            candidates_finished=len(self.candidates) - self.known,
            candidates_executed=self.executed,
            candidates_passed=self.passed,
            generated_tokens=drawn + wasted,
            wasted_tokens=wasted,
        )

    def cost(self, terms: Terms) -> TierCost:
        """Its line in the summary, after its end."""
        if self.outcome is None:
            raise AssertionError("the account of a tier that has not ended")
        account = self.account
        return TierCost(
            tier=self.tier,
            name=self.name,
            model=self.model,
            outcome=self.outcome,
            accounting=account,
            price=terms.cost_of(account.generated_tokens),
            partial=self.summary is None,
            detail=self.detail,
        )
