"""Guesses of what a branch goes on with: what followed the same last tokens before.

Speculative decoding without a draft model (Saxena: "Prompt lookup decoding", 2023; Yang et al.: "Inference with
reference", 2023). Where siblings, the prompt, texts given beside it or earlier solves hold the last tokens of a branch,
what followed there is drafted. A drafted token is kept only where the samples draw it with their own numbers from the
model's own distribution, so that drafts change no text.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from engine.core.steptime import StepTime

ORDERS = (6, 3)
"""Lengths of the runs of tokens that are looked up, the longest first."""
LONGEST = 12
"""Tokens of a draft at most."""
MEMORY = 1 << 15
"""Tokens of earlier solves that are remembered."""
_NEWEST = 0.05
_START = 0.5
_PRICED = 4
"""Rows whose price is taken together."""
_PROBE = 40
"""Each so manieth guess of a kind that does not pay is tried with one token all the same: times change."""


class Source(StrEnum):
    """Where a guess comes from."""

    SOLVE = "solve"
    """The solve's own samples, its prompts, or texts given with it."""
    EARLIER = "earlier"
    """A solve before it."""


Kind = tuple[Source, int, bool]
"""What acceptance depends on: source, length of the run that was found, whether several samples have to agree."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that may come next, at least one, and what kind of guess that is."""

    tokens: list[int]
    kind: Kind


@dataclass(slots=True)
class _Index:
    """Where each run of tokens was last seen: run -> (stream, place of what follows it)."""

    places: dict[tuple[int, ...], tuple[list[int], int]] = field(
        default_factory=dict[tuple[int, ...], tuple[list[int], int]]
    )
    tokens: int = 0

    def add(self, stream: list[int], first: int) -> None:
        """Take the tokens of a stream from number `first` on, each as what follows those before it."""
        self.tokens += len(stream) - first
        for end in range(first, len(stream)):
            for order in ORDERS:
                if end >= order:
                    self.places[tuple(stream[end - order : end])] = (stream, end)

    def find(self, context: list[int], order: int) -> list[int]:
        """What followed the last `order` tokens of the context."""
        found = self.places.get(tuple(context[-order:])) if len(context) >= order else None
        return [] if found is None else found[0][found[1] : found[1] + LONGEST]


class Acceptance:
    """How often a drafted token of each kind is right, as fading means; and with it, how long a draft pays."""

    def __init__(self) -> None:
        self._right: dict[Kind, float] = {}
        self._unpaid: dict[Kind, int] = {}

    def learn(self, kind: Kind, drafted: int, accepted: int) -> None:
        """Of so many drafted tokens the first so many were right."""
        right = self._right.get(kind, _START)
        for _ in range(accepted):
            right += _NEWEST * (1.0 - right)
        if accepted < drafted:
            right -= _NEWEST * right
        self._right[kind] = right

    def length(self, kind: Kind, price: float) -> int:
        """Tokens that are worth drafting where one must be right with at least the chance `price`."""
        chance = right = self._right.get(kind, _START)
        length = 0
        while length < LONGEST and chance > price:
            length += 1
            chance *= right
        if length == 0:
            self._unpaid[kind] = self._unpaid.get(kind, 0) + 1
            return int(self._unpaid[kind] % _PROBE == 0)
        return length


def price(rows: int, context: float, times: StepTime) -> float:
    """The chance from which on a drafted token makes a step of so many rows faster, per token that it yields.

    The step gives `rows` tokens in `predict(rows)` seconds. One more, right with the chance p, costs a row: it pays if
    p per second is more than that. A few rows are taken together: the next one may be free, and the one after it dear.
    """
    seconds = times.predict(rows, context, 0)
    return rows * times.per_row(rows, _PRICED) / seconds if seconds > 0 else 1.0


class Drafts:
    """The guesses of one engine."""

    def __init__(self) -> None:
        self.acceptance = Acceptance()
        self._solves: dict[int, _Index] = {}
        self._streams: dict[
            int, dict[int, tuple[list[int], int]]
        ] = {}  # solve -> branch -> tokens, how many of its own
        self._earlier: deque[_Index] = deque()  # the last one first
        self._remembered = 0

    def begin(self, solve: int, texts: list[list[int]]) -> None:
        """A solve begins, with its prompts and other texts like those it will write, as token ids."""
        index = self._solves[solve] = _Index()
        self._streams[solve] = {}
        for text in texts:
            index.add(text, 0)

    def end(self, solve: int) -> None:
        """A solve is over; the next ones may draw the same."""
        index = self._solves.pop(solve)
        del self._streams[solve]
        self._earlier.appendleft(index)
        self._remembered += index.tokens
        while self._remembered > MEMORY and len(self._earlier) > 1:
            self._remembered -= self._earlier.pop().tokens

    def guess(
        self, solve: int, branch: int, generated: int, samples: int, last: Callable[[int], list[int]], price: float
    ) -> Draft | None:
        """What may come next in a branch, if drafting it pays.

        Args:
            solve: one that has begun.
            branch: its name in the solve.
            generated: tokens of its text so far.
            samples: how many it carries.
            last: gives the last n tokens of its path, prompt included, or all if there are fewer.
            price: see `price`.
        """
        context = self._follow(solve, branch, generated, last)
        own = self._solves[solve]
        for order in ORDERS:
            for source, found in (
                (Source.SOLVE, own.find(context, order)),
                (
                    Source.EARLIER,
                    next(filter(None, (one.find(context, order) for one in islice(self._earlier, 16))), []),
                ),
            ):
                if not found:
                    continue
                kind = (source, order, samples > 1)
                length = self.acceptance.length(kind, price)
                return Draft(found[:length], kind) if length else None
        return None

    def _follow(self, solve: int, branch: int, generated: int, last: Callable[[int], list[int]]) -> list[int]:
        """Take what the branch has grown by; returns its last tokens."""
        streams = self._streams[solve]
        stream, known = streams.get(branch, ([], -1))
        if known < 0:
            # What it has in common with others is known from them.
            stream = last(ORDERS[0] + 1)
            self._solves[solve].add(stream, max(0, len(stream) - 1))
        elif generated > known:
            first = len(stream)
            stream += last(generated - known)
            self._solves[solve].add(stream, first)
        streams[branch] = (stream, generated)
        return stream[-ORDERS[0] :]
