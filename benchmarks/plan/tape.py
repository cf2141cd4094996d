"""Recorded samples as a model: their texts as a tree of made-up tokens, and a runner that draws along it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks.plan.recorded import Problem, Text
from engine.core.distribution import Distribution, from_probabilities
from engine.core.types import FinishReason, Mask, Step

_POSITIONS = 1 << 13
_PROMPTS = 1 << 30
_LONGEST_PROMPT = 1 << 13
_END = 0
NOWHERE = 1
"""A token that no tape has."""


@dataclass(slots=True, eq=False)
class Node:
    """Where a path of tokens has led: what comes next, by token and number of samples; `text` where one ends."""

    children: dict[int, "Node"] = field(default_factory=dict[int, "Node"])
    samples: int = 0
    text: int = -1
    _next: Distribution | None = None

    @property
    def next(self) -> Distribution:
        """The distribution of the next token."""
        if self._next is None:
            ids = np.array(sorted(self.children) or [_END], np.int32)
            weights = np.array([self.children[token].samples for token in ids.tolist()] if self.children else [1.0])
            shares = weights / weights.sum()
            logs = np.log(shares).astype(np.float32)
            self._next = from_probabilities(ids, shares, logs, int(shares.argmax()))
        return self._next


_OFF = Node()


class Stopper:
    """Follows a path and knows where a recorded text ends; its text is that text's number."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node

    def push(self, token: int) -> FinishReason | None:
        """Take the next token."""
        self._node = self._node.children[token]
        return FinishReason.END_OF_TEXT if token == _END else None

    def fork(self) -> "Stopper":
        """An independent copy."""
        return Stopper(self._node)

    @property
    def ahead(self) -> Iterator[int]:
        """The tokens that come next most often, up to the end of a text."""
        node = self._node
        while node.children:
            token = max(node.children, key=lambda token: node.children[token].samples)
            if token == _END:
                return
            yield token
            node = node.children[token]

    @property
    def text(self) -> str:
        """The number of the text that ends here."""
        return str(self._node.text)

    @property
    def mask(self) -> Mask | None:
        """Anything may come."""
        return None


class Tape:
    """One problem. place: its number among all, which its prompt's tokens carry.

    first: branches of the problems before it. No two problems share a token: what is drafted is looked up in the texts
    of all, and would be found in those of others.
    """

    def __init__(self, problem: Problem, place: int, first: int = 0) -> None:
        self.problem = problem
        self.place = place
        self.root = Node()
        for number, text in enumerate(problem.texts):
            node = self.root
            node.samples += text.samples
            for token in _path(problem, text, first):
                node = node.children.setdefault(token, Node())
                node.samples += text.samples
            node.text = number

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max(text.tokens for text in self.problem.texts)

    def stopper(self) -> Stopper:
        """For a text that begins."""
        return Stopper(self.root)


def prompt_of(tape: Tape) -> list[int]:
    """The prompt's tokens: made up, and no other problem's."""
    length = min(max(1, tape.problem.prompt_tokens), _LONGEST_PROMPT - 1)
    first = _PROMPTS + tape.place * _LONGEST_PROMPT
    return [*range(first, first + length - 1), first + _LONGEST_PROMPT - 1]


def tapes_of(problems: Iterable[Problem]) -> list[Tape]:
    """One for each."""
    tapes: list[Tape] = []
    first = 0
    for place, problem in enumerate(problems):
        tapes.append(Tape(problem, place, first))
        first += max(problem.forks) + 1
    return tapes


def _path(problem: Problem, text: Text, first: int) -> Iterator[int]:
    """The tokens of a text: up to where its branch left another one they are that one's."""
    own: list[tuple[int, int]] = []  # (branch, up to which position)
    branch, end = text.branch, text.tokens - 1
    while True:
        fork = problem.forks.get(branch)
        own.append((branch, end))
        if fork is None:
            break
        branch, position = fork
        end = min(end, position)
    place = 0
    for branch, end in reversed(own):
        yield from ((first + branch + 1) * _POSITIONS + position for position in range(place, end))
        place = max(place, end)
    yield _END


class TapeRunner:
    """Answers each row from where its path has led; each problem's tape is found by its prompt's last token."""

    def __init__(self, pages: int, page_size: int, tapes: Iterable[Tape]) -> None:
        self.pages = pages
        self.page_size = page_size
        self._roots = {prompt_of(tape)[-1]: tape.root for tape in tapes}
        self._nodes: dict[int, Node | None] = {}  # slot -> where the path up to the token in it has led

    def run(self, step: Step) -> list[list[Distribution]]:
        """The distributions that are asked for."""
        answers: list[list[Distribution]] = []
        for chunk in step.chunks:
            inside = len(chunk.suffix) - len(chunk.tokens)
            before = chunk.suffix[inside - 1] if inside > 0 else chunk.prefix[-1] if len(chunk.prefix) else -1
            node = self._nodes.get(int(before))
            reached: list[Node | None] = []
            for token, slot in zip(chunk.tokens, chunk.suffix[inside:].tolist(), strict=True):
                if token >= _PROMPTS:
                    node = self._roots.get(token)
                else:
                    node = None if node is None else node.children.get(token)
                self._nodes[slot] = node
                reached.append(node)
            answers.append([_next(reached[ask.token]) for ask in chunk.asks])
        return answers


def _next(node: Node | None) -> Distribution:
    """What comes after a node. None is off the tape: a draft led there that the samples do not draw, so all that is
    looked at is that there is an answer."""
    return _OFF.next if node is None else node.next
