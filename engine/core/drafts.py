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


class Bargain:
    """What drafts are worth in one step: as many tokens as make it yield the most tokens a second.

    A step of `rows` rows yields as many tokens. Drafted tokens are rows, too, and yield one more as long as all before
    are right. What a row costs depends on how many there are: the next ones may be free, and the one after them dear.
    """

    def __init__(self, rows: int, context: float, times: StepTime) -> None:
        self._tokens = rows
        self._yield = float(rows)
        self._times = times
        self._context = context
        self._seconds: dict[int, float] = {}

    def best(self, right: float, most: int) -> int:
        """Tokens that are worth drafting, at most `most`, where each is right with that chance if those before are."""
        best, length = self._yield / self._of(self._tokens), 0
        chance, gain = 1.0, 0.0
        for tokens in range(1, most + 1):
            chance *= right
            gain += chance
            rate = (self._yield + gain) / self._of(self._tokens + tokens)
            if rate > best:
                best, length = rate, tokens
        return length

    def take(self, right: float, tokens: int) -> None:
        """So many are drafted."""
        self._tokens += tokens
        self._yield += sum(right**place for place in range(1, tokens + 1))

    def _of(self, tokens: int) -> float:
        found = self._seconds.get(tokens)
        if found is None:
            found = self._seconds[tokens] = max(self._times.predict(tokens, self._context, 0), 1e-6)
        return found


class Acceptance:
    """How often a drafted token of each kind is right, as fading means."""

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

    def right(self, kind: Kind) -> float:
        """The chance that a token is right if those before it are."""
        return self._right.get(kind, _START)

    def length(self, kind: Kind, most: int, bargain: Bargain) -> int:
        """Tokens to draft, at most `most`."""
        length = bargain.best(self.right(kind), most)
        if length == 0:
            self._unpaid[kind] = self._unpaid.get(kind, 0) + 1
            return int(self._unpaid[kind] % _PROBE == 0)
        return length


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
        self,
        solve: int,
        branch: int,
        generated: int,
        samples: int,
        last: Callable[[int], list[int]],
        most: int,
        bargain: Bargain,
    ) -> Draft | None:
        """What may come next in a branch, if drafting it pays; it is taken into the bargain then.

        Args:
            solve: one that has begun.
            branch: its name in the solve.
            generated: tokens of its text so far.
            samples: how many it carries.
            last: gives the last n tokens of its path, prompt included, or all if there are fewer.
            most: tokens at most.
            bargain: of the step.
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
                length = self.acceptance.length(kind, min(most, len(found)), bargain)
                if length == 0:
                    return None
                bargain.take(self.acceptance.right(kind), length)
                return Draft(found[:length], kind)
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
