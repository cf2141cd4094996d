"""Drafts that a tape knows nothing of: tokens that were guessed from other texts than its own.

A server drafts what followed the same few tokens before, in whatever text: siblings that come together again, idioms
of the language. On a tape of made-up tokens only whole texts come again. How often else there was a guess, and how
often it was right, is told by the solves of the measuring loads, which counted what was drafted for them. How many
tokens of a guess are drafted is decided as in the server.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from benchmarks.plan.recorded import Solved
from benchmarks.plan.tape import NOWHERE, Stopper
from engine.core.branch import Branch
from engine.core.drafting import Drafting
from engine.core.drafts import LONGEST, Draft, Source
from engine.core.steptime import StepTime
from engine.core.types import CoreRequest, Counts

_KIND = (Source.SOLVE, 0, False)
"""No server's: what it learns of these says nothing of its other guesses."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """Counts of some solves: rows of branches without drafts, tokens drafted beside them, and of these accepted."""

    rows: int
    drafted: int
    accepted: int

    def with_other(self, other: "Drafted") -> "Drafted":
        """The sum."""
        return Drafted(self.rows + other.rows, self.drafted + other.drafted, self.accepted + other.accepted)


def drafted_by(counts: Counts) -> Drafted:
    """Of a solve, as the scheduler counts."""
    return Drafted(counts.rows - counts.drafted_tokens, counts.drafted_tokens, counts.accepted_tokens)


@dataclass(frozen=True, slots=True)
class Guessing:
    """How often a row of a branch has a guess, and the chance that each of its tokens is right if those before are."""

    often: float = 0.0
    right: float = 0.0

    def nearer(self, measured: Drafted, played: Drafted) -> "Guessing":
        """One that drafts about as much for each row as was measured, and is about as often right."""
        if not measured.drafted or not played.drafted:
            return self
        often = self.often * (measured.drafted / measured.rows) / (played.drafted / played.rows)
        right = self.right + measured.accepted / measured.drafted - played.accepted / played.drafted
        return Guessing(often=min(1.0, often), right=min(max(right, 0.0), 0.99))


def drafted_of(solves: Iterable[Solved]) -> Drafted:
    """All of them together."""
    listed = list(solves)
    drafted = sum(solve.drafted for solve in listed)
    rows = sum(solve.rows for solve in listed) - drafted
    return Drafted(rows, drafted, sum(solve.accepted for solve in listed))


class TapeDrafting(Drafting):
    """What the scheduler drafts on a tape, and guesses beside it."""

    def __init__(self, times: StepTime, guessing: Guessing, seed: int) -> None:
        super().__init__(times, enabled=True)
        self._guessing = guessing
        self._random = random.Random(seed)

    def draft(self, request: CoreRequest, branch: Branch) -> Draft | None:
        """What may come next in a branch whose row is in the step."""
        known = super().draft(request, branch)
        if known is not None or not (request.interactive or self._batch):
            return known
        room = min(request.max_new_tokens - branch.generated - 1, self._left[request.client], LONGEST)
        if room < 1 or self._random.random() >= self._guessing.often:
            return None
        assert isinstance(branch.stopper, Stopper)
        coming = list(islice(branch.stopper.ahead, room))
        length = self._drafts.acceptance.length(_KIND, len(coming), self._bargain)
        if length == 0:
            return None
        self._bargain.take(self._drafts.acceptance.right(_KIND), length)
        self._left[request.client] -= length
        right = self._guessing.right
        return Draft([token if self._random.random() < right else NOWHERE for token in coming[:length]], _KIND)
