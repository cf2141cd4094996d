"""What a step asks for: which of its tokens need logits, and whose answer goes where."""

from collections.abc import Iterable
from dataclasses import dataclass

from engine.core.distribution import Distribution
from engine.core.types import Ask, Step


@dataclass(frozen=True, slots=True)
class Asked:
    """The asks of a step, one after the other. tokens: numbers of the tokens that need logits, each once, however often
    it is asked about; places: for each ask, which of `tokens` it is about."""

    tokens: list[int]
    places: list[int]
    asks: list[Ask]


def collect(step: Step, first: list[int]) -> Asked:
    """`first`: the number of each chunk's first token among the tokens of the step."""
    row_of: dict[int, int] = {}
    places: list[int] = []
    asks: list[Ask] = []
    for chunk, start in zip(step.chunks, first, strict=True):
        for ask in chunk.asks:
            places.append(row_of.setdefault(start + ask.token, len(row_of)))
            asks.append(ask)
    return Asked(list(row_of), places, asks)


def hand_out(step: Step, found: Iterable[Distribution]) -> list[list[Distribution]]:
    """For each chunk the distributions it asks for, of those of all asks in their order."""
    left = iter(found)
    return [[next(left) for _ in chunk.asks] for chunk in step.chunks]
