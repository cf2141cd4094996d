"""A runner without a model: every distribution is a pure function of the tokens on the path.

It keeps what a KV pool would hold, (token, position) a slot, and checks at each chunk that the slots it is given lead
to exactly the path it should be: a wrong, stale or shared slot shows at once.
"""

import hashlib
from collections.abc import Callable

import numpy as np

from engine.core.distribution import Distribution, from_probabilities
from engine.core.types import Ask, FinishReason, Mask, Step
from tests.support.following import Following

EOS = 0


class ScriptedRunner:
    """`vocabulary` tokens, token 0 ends a text.

    `spread`: how many tokens have a probability; `keep`: how many of them are kept where no number asks for another, so
    that a small value makes gaps.
    """

    def __init__(
        self, pages: int, page_size: int = 4, vocabulary: int = 12, spread: int = 4, keep: int | None = None
    ) -> None:
        self.pages = pages
        self.page_size = page_size
        self.vocabulary = vocabulary
        self.spread = spread
        self.keep = keep
        self.pool: list[tuple[int, int] | None] = [None] * (pages * page_size)
        self.steps: list[Step] = []
        self.computed: list[int] = []
        self.before_step: Callable[[], None] = lambda: None
        self._flights: list[list[list[Distribution]]] = []
        self._following = Following()

    def submit(self, step: Step) -> list[list[Distribution]]:
        """As a device whose queue is never empty: what it computes is seen when it is collected."""
        assert len(self._flights) < 2, "more than one step ahead"
        self._following.fill(step)
        results = self.run(step)
        self._following.note(step, results)
        self._flights.append(results)
        return results

    def collect(self, flight: list[list[Distribution]]) -> list[list[Distribution]]:
        """In the order of submission."""
        assert self._flights.pop(0) is flight
        return flight

    def run(self, step: Step) -> list[list[Distribution]]:
        """Write the chunk's tokens into the slots, check the paths, answer with scripted distributions."""
        self.before_step()
        self.steps.append(step)
        for chunk in step.chunks:
            path = np.concatenate([chunk.prefix, chunk.suffix])
            assert len(path) == chunk.start + len(chunk.tokens), "the path does not end with the chunk"
            assert len(set(path.tolist())) == len(path), "a slot is twice in one path"
            for slot, token, position in zip(
                path[chunk.start :].tolist(), chunk.tokens, range(chunk.start, len(path)), strict=True
            ):
                self.pool[slot] = (token, position)
                self.computed.append(token)
        results: list[list[Distribution]] = []
        for chunk in step.chunks:
            path = np.concatenate([chunk.prefix, chunk.suffix])
            held = [self.pool[slot] for slot in path.tolist()]
            assert [p for _, p in held] == list(range(len(path))), f"positions along the path are {held}"  # type: ignore[misc]
            tokens = [t for t, _ in held]  # type: ignore[misc]
            results.append([self.distribution(tokens[: chunk.start + ask.token + 1], ask) for ask in chunk.asks])
        return results

    def distribution(self, tokens: list[int], ask: Ask | None) -> Distribution:
        """The scripted distribution after a path; without an ask, all of it at temperature 1."""
        digest = hashlib.blake2b(repr(tokens).encode(), digest_size=16).digest()
        random = np.random.default_rng(int.from_bytes(digest, "little"))
        ids = np.sort(random.choice(self.vocabulary, self.spread, replace=False)).astype(np.int32)
        probabilities = random.dirichlet(np.full(self.spread, 0.4)) + 1e-6
        logprobs = np.log(probabilities / probabilities.sum()).astype(np.float32)
        greedy = int(np.argmax(probabilities))
        if ask is None:
            return from_probabilities(ids, probabilities, logprobs, greedy)
        if ask.filters.temperature not in (0.0, 1.0):
            probabilities = probabilities ** (1.0 / ask.filters.temperature)
        if ask.filters.top_k:
            best = np.sort(np.argsort(-probabilities, kind="stable")[: ask.filters.top_k])
            ids, probabilities, logprobs = ids[best], probabilities[best], logprobs[best]
            greedy = int(np.argmax(probabilities))
        full = from_probabilities(ids, probabilities, logprobs, greedy)
        if self.keep is None or ask.whole:
            return full
        kept = set(np.argsort(-probabilities)[: self.keep].tolist()) | set(full.find(ask.numbers).tolist())
        index = np.array(sorted(kept))
        greedy = int(np.searchsorted(index, full.greedy))
        return Distribution(full.ids[index], full.low[index], full.high[index], full.logprobs[index], greedy)


class TokenStopper:
    """Ends a text at EOS; its text is the tokens as words."""

    def __init__(self, tokens: list[int] | None = None) -> None:
        self.tokens = tokens or []

    def push(self, token: int) -> FinishReason | None:
        self.tokens.append(token)
        return FinishReason.END_OF_TEXT if token == EOS else None

    def fork(self) -> "TokenStopper":
        return TokenStopper(list(self.tokens))

    @property
    def text(self) -> str:
        return " ".join(map(str, self.tokens))

    @property
    def mask(self) -> Mask | None:
        return None
