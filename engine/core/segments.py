"""The tree of segments: token ids, pages and valid length. Roots and branches are made of them.

A segment's last page may be partial. The first child to be computed takes the rest of it, the others start on fresh
pages, where their position has its place: position p is slot p % page_size of its page, so that a kernel can take the
keys of a path in groups that do not depend on where they lie. Splitting a segment in the middle of a page leaves that
page with both halves in the same way: the slots before the cut are the head's, the others the tail's, and each holds a
reference.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

import numpy as np

from engine.core.distribution import Distribution
from engine.core.pages import PagePool

if TYPE_CHECKING:
    from engine.core.branch import Branch
    from engine.core.types import Slots


class LooseTails:
    """The ends of last pages of texts that have ended: another branch may begin there, further to the right.

    Texts end anywhere in their last page and forks begin anywhere in their first: without this each of them would leave
    half a page empty.
    """

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._tails: list[tuple[int, int, Segment]] = []  # (first free slot, page, its segment), ascending

    def add(self, segment: Segment) -> None:
        """A text has ended with this segment."""
        if first := segment.free_tail(self._page_size):
            insort(self._tails, (first, segment.pages[-1], segment), key=lambda tail: tail[0])

    def take(self, offset: int) -> int | None:
        """A page whose slots from `offset` on are free, the fullest there is."""
        while place := bisect_right(self._tails, offset, key=lambda tail: tail[0]):
            first, page, segment = self._tails.pop(place - 1)
            # Its pages may have been given back since, or a late sample may have parted from it.
            if segment.free_tail(self._page_size) == first and segment.pages[-1] == page:
                segment.tail_taken = True
                return page
        return None


class Segment:
    """Consecutive tokens of one path.

    start: position of the first token in the path. A path through this segment takes ancestors' tokens up to `start`.
    computed: how many of the tokens have keys and values in the pages.
    offset: slot of the first token within the first page; `start` % page_size once there are pages.
    dists: the distributions after token i, one for each rung of a ladder, for every i that was computed with them; the
    last may be missing at a tip.
    low, high: for each rung the interval of the drawing number that leads from token i to token i + 1.
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

    def __init__(self, parent: Segment | None, start: int, tokens: list[int], rungs: int = 1) -> None:
        self.parent = parent
        self.start = start
        self.tokens = tokens
        self.pages: list[int] = []
        self.offset = 0
        self.computed = 0
        self.dists: list[tuple[Distribution, ...] | None] = []
        self.low: list[list[float]] = [[] for _ in range(rungs)]
        self.high: list[list[float]] = [[] for _ in range(rungs)]
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

    def take_tail(self, pool: PagePool, page_size: int, loose: LooseTails) -> None:
        """Before the first page is allocated: start in the parent's last page if the rest of it is free, else in that
        of a text that has ended."""
        parent = self.parent
        if self.pages:
            return
        self.offset = self.start % page_size
        if self.offset == 0 or parent is None:
            return
        whole = parent.end == self.start and parent.computed == len(parent.tokens)
        if parent.pages and whole and not parent.tail_taken:
            self.pages.append(parent.pages[-1])
            pool.retain(parent.pages[-1])
            self.takes_tail = parent.tail_taken = True
        elif (page := loose.take(self.offset)) is not None:
            self.pages.append(page)
            pool.retain(page)

    def free_tail(self, page_size: int) -> int:
        """First slot of the last page that nobody has or will have; 0 if there is none."""
        filled = self.offset + self.computed
        if self.tail_taken or self.children or not self.pages or len(self.pages) != -(-filled // page_size):
            return 0
        return filled % page_size

    def trim(self, pool: PagePool, page_size: int) -> None:
        """Give back the pages behind the computed tokens: what was allocated for drafts that turned out wrong."""
        keep = -(-(self.offset + self.computed) // page_size)
        while len(self.pages) > keep:
            pool.release(self.pages.pop())

    def drop_pages(self, pool: PagePool) -> int:
        """Give all pages back; the tokens stay and can be computed again. Returns the number of pages dropped."""
        dropped = len(self.pages)
        # Whoever took the rest of the only page still has it: what was before it in that page must not be taken again.
        still_taken = self.tail_taken and dropped == 1
        for page in self.pages:
            pool.release(page)
        self.pages.clear()
        self.offset = 0
        self.computed = 0
        self.scheduled = None
        self.tail_taken = False
        if self.takes_tail and self.parent is not None:
            self.takes_tail, self.parent.tail_taken = False, still_taken
        return dropped

    def split(self, at: int, pool: PagePool, page_size: int) -> Segment:
        """Cut before token `at` (0 < at < length). This segment keeps the tail; the new head is returned.

        Branches point at tips, so it is the tail that stays the same object.
        """
        head = Segment(self.parent, self.start, self.tokens[:at], len(self.low))
        head.live = self.live
        head.offset = self.offset
        head.computed = min(self.computed, at)
        head.dists, self.dists = self.dists[:at], self.dists[at:]
        head.low, self.low = [low[: at - 1] for low in self.low], [low[at:] for low in self.low]
        head.high, self.high = [high[: at - 1] for high in self.high], [high[at:] for high in self.high]
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
            head.tail_taken, self.tail_taken = self.tail_taken, False
            self.offset = 0
            self.computed = 0
        self.tokens = self.tokens[at:]
        self.start += at
        self.parent = head
        head.children[self.tokens[0]] = self
        return head
