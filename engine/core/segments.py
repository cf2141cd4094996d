"""The tree of segments: token ids, pages and valid length. Roots and branches are made of them.

A segment's last page may be partial. The first child to be computed takes the rest of it, the others start on fresh
pages, where their position has its place: position p is slot p % page_size of its page, so that a kernel can take the
keys of a path in groups that do not depend on where they lie. Splitting a segment in the middle of a page leaves that
page with both halves in the same way: the slots before the cut are the head's, the others the tail's, and each holds a
reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.core.distribution import Distribution
from engine.core.pages import PagePool

if TYPE_CHECKING:
    from engine.core.tree import Branch
    from engine.core.types import Slots


class Segment:
    """Consecutive tokens of one path.

    start: position of the first token in the path. A path through this segment takes ancestors' tokens up to `start`.
    computed: how many of the tokens have keys and values in the pages.
    offset: slot of the first token within the first page; `start` % page_size once there are pages.
    dists: distribution after token i, for every i that was computed with one; the last may be missing at a tip.
    low, high: the interval of the drawing number that leads from token i to token i + 1.
    live: number of running branches that end at or below this segment.
    tip: the branch whose text ends with this segment, running or finished.
    tail_taken: whether a child has taken the rest of the last page. takes_tail: whether this is such a child.
    scheduled: what the step being planned computes of this segment; None again if the pages are dropped meanwhile.
    """

    __slots__ = (
        "children",
        "computed",
        "dists",
        "high",
        "live",
        "low",
        "offset",
        "pages",
        "parent",
        "scheduled",
        "shadows",
        "start",
        "tail_taken",
        "takes_tail",
        "tip",
        "tokens",
    )

    def __init__(self, parent: Segment | None, start: int, tokens: list[int]) -> None:
        self.parent = parent
        self.start = start
        self.tokens = tokens
        self.pages: list[int] = []
        self.offset = 0
        self.computed = 0
        self.dists: list[Distribution | None] = []
        self.low: list[float] = []
        self.high: list[float] = []
        self.children: dict[int, Segment] = {}
        self.shadows: list[Segment] = []
        self.live = 0
        self.tip: Branch | None = None
        self.scheduled: object | None = None
        self.tail_taken = False
        self.takes_tail = False

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.tokens)

    def offspring(self) -> list[Segment]:
        """Children and shadows."""
        return [*self.children.values(), *self.shadows]

    def path(self) -> list[Segment]:
        """Segments from the root to this one."""
        path: list[Segment] = []
        segment: Segment | None = self
        while segment is not None:
            path.append(segment)
            segment = segment.parent
        path.reverse()
        return path

    def pages_needed(self, tokens: int, page_size: int) -> int:
        """Pages to allocate so that the first `tokens` tokens have slots."""
        return max(0, -(-(self.offset + tokens) // page_size) - len(self.pages))

    def slots(self, tokens: int, page_size: int) -> Slots:
        """Slots of the first `tokens` tokens, [tokens] int32."""
        index = np.arange(self.offset, self.offset + tokens, dtype=np.int32)
        pages = np.asarray(self.pages, np.int32)
        return pages[index // page_size] * np.int32(page_size) + index % np.int32(page_size)

    def slot(self, index: int, page_size: int) -> int:
        """Slot of token `index`."""
        page, within = divmod(self.offset + index, page_size)
        return self.pages[page] * page_size + within

    def take_tail(self, pool: PagePool, page_size: int) -> None:
        """Before the first page is allocated: start in the parent's last page if the rest of it is free."""
        parent = self.parent
        if self.pages:
            return
        self.offset = self.start % page_size
        if self.offset == 0 or parent is None or parent.tail_taken or not parent.pages:
            return
        if parent.end != self.start or parent.computed < len(parent.tokens):
            return
        self.pages.append(parent.pages[-1])
        pool.retain(parent.pages[-1])
        self.takes_tail = parent.tail_taken = True

    def drop_pages(self, pool: PagePool) -> int:
        """Give all pages back; the tokens stay and can be computed again. Returns the number of pages dropped."""
        dropped = len(self.pages)
        for page in self.pages:
            pool.release(page)
        self.pages.clear()
        self.offset = 0
        self.computed = 0
        self.scheduled = None
        if self.takes_tail and self.parent is not None:
            self.takes_tail = self.parent.tail_taken = False
        return dropped

    def split(self, at: int, pool: PagePool, page_size: int) -> Segment:
        """Cut before token `at` (0 < at < length). This segment keeps the tail; the new head is returned.

        Branches point at tips, so it is the tail that stays the same object.
        """
        head = Segment(self.parent, self.start, self.tokens[:at])
        head.live = self.live
        head.offset = self.offset
        head.computed = min(self.computed, at)
        head.dists, self.dists = self.dists[:at], self.dists[at:]
        head.low, self.low = self.low[: at - 1], self.low[at:]
        head.high, self.high = self.high[: at - 1], self.high[at:]
        if self.parent is not None:
            siblings = self.parent.children
            if siblings.get(self.tokens[0]) is self:
                siblings[self.tokens[0]] = head
            else:
                self.parent.shadows[self.parent.shadows.index(self)] = head
        if self.computed > at:
            page, within = divmod(self.offset + at, page_size)
            head.pages = self.pages[: page + (within > 0)]
            self.pages = self.pages[page:]
            self.offset = within
            if within:
                pool.retain(self.pages[0])
            head.takes_tail, self.takes_tail = self.takes_tail, within > 0
            head.tail_taken = within > 0
            self.computed -= at
        else:
            head.pages, self.pages = self.pages, []
            head.takes_tail, self.takes_tail = self.takes_tail, False
            self.offset = 0
            self.computed = 0
        self.tokens = self.tokens[at:]
        self.start += at
        self.parent = head
        head.children[self.tokens[0]] = self
        return head
