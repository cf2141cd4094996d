"""Texts that fork off each other, in pages as the core lays them out."""

from dataclasses import dataclass, field
from random import Random

import numpy as np

from engine.core.types import Slots


@dataclass(slots=True)
class Pages:
    """Free pages in an order of chance."""

    random: Random
    page_size: int
    pages: int
    free: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.free = list(range(self.pages))
        self.random.shuffle(self.free)

    def text(self, count: int) -> "Text":
        """A new text of `count` tokens."""
        return Text(self, [], False).grow(count)


@dataclass(slots=True)
class Text:
    """Slots of a text. `last_is_mine`: it goes on in its last page; a fork begins on one of its own."""

    pages: Pages
    slots: list[int]
    last_is_mine: bool

    def grow(self, count: int) -> "Text":
        """`count` more tokens."""
        size = self.pages.page_size
        for position in range(len(self.slots), len(self.slots) + count):
            if position % size and self.last_is_mine:
                self.slots.append(self.slots[-1] + 1)
            else:
                self.slots.append(self.pages.free.pop() * size + position % size)
                self.last_is_mine = True
        return self

    def fork(self, at: int) -> "Text":
        """Another text with the same first `at` tokens; where this one ends there, the first fork takes its page."""
        takes_tail = at == len(self.slots) and self.last_is_mine
        self.last_is_mine = self.last_is_mine and not takes_tail
        return Text(self.pages, self.slots[:at], takes_tail)

    def array(self, first: int = 0) -> Slots:
        """The slots from token `first` on."""
        return np.array(self.slots[first:], np.int32)
