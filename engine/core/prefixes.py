"""Prompts of earlier solves, kept while nobody needs their pages: the next prompt that begins alike skips that part.

A tree whose edges are pages of token ids (SGLang's radix tree, Zheng et al. 2024, with edges of one page): position p
lies in slot p % page_size of its page, so that a page serves every prompt that has the same tokens up to its end. What
matches is compared by the ids themselves, never by a hash alone. Leaves are evicted by GreedyDual-Size with frequency
(Cherkasova 1998): what is used often and dear to compute again outlives what is old.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

from engine.core.pages import PagePool

_FAR = 2048
"""Positions after which the tokens of a page cost twice as much as the first ones, as attention grows."""


@dataclass(slots=True, eq=False)
class _Node:
    parent: _Node | None
    tokens: tuple[int, ...]
    page: int
    depth: int  # pages above it
    uses: int = 0
    priority: float = 0.0
    children: dict[tuple[int, ...], _Node] = field(default_factory=dict[tuple[int, ...], "_Node"])


class PrefixCache:
    """Holds a reference to each of its pages; a page that nobody else holds can be taken back at any time."""

    def __init__(self, pool: PagePool, page_size: int) -> None:
        self.evicted = 0
        """Pages evicted since the start."""
        self._pool = pool
        self._page_size = page_size
        self._top = _Node(None, (), -1, -1)
        self._nodes = 0
        self._age = 0.0  # priority of the last one evicted
        self._order = count()
        self._leaves: list[tuple[float, int, _Node]] = []  # a heap; entries of another priority than the node's are old

    @property
    def pages(self) -> int:
        """Pages it holds, those that others hold too included."""
        return self._nodes

    def find(self, tokens: list[int]) -> list[int]:
        """The pages of the longest prefix that is there: full ones, short of the last token."""
        pages: list[int] = []
        node = self._top
        size = self._page_size
        for first in range(0, (len(tokens) - 1) // size * size, size):
            below = node.children.get(tuple(tokens[first : first + size]))
            if below is None:
                break
            node = below
            pages.append(node.page)
        return pages

    def take(self, tokens: list[int]) -> list[int]:
        """What `find` finds; the caller holds it now."""
        pages = self.find(tokens)
        for page in pages:
            self._pool.retain(page)
        return pages

    def keep(self, tokens: list[int], pages: list[int]) -> None:
        """Remember the full pages of a computed prompt: pages[i] has tokens i * page_size and following."""
        node = self._top
        size = self._page_size
        for place in range(len(tokens) // size):
            key = tuple(tokens[place * size : (place + 1) * size])
            below = node.children.get(key)
            if below is None:
                below = node.children[key] = _Node(node, key, pages[place], place)
                self._nodes += 1
                self._pool.shelve(below.page)
            below.uses += 1
            self._rank(below)
            node = below

    def make_room(self, need: int) -> bool:
        """Evict until `need` pages are free, those of the least value first. Whether that was enough."""
        held: list[tuple[float, int, _Node]] = []
        while self._pool.free < need and self._leaves:
            entry = heapq.heappop(self._leaves)
            priority, _, node = entry
            if node.parent is None or node.children or priority != node.priority:
                continue
            if self._pool.references(node.page) > 1:
                held.append(entry)  # evicting it would free nothing
                continue
            self._age = priority
            self._evict(node)
        for entry in held:
            heapq.heappush(self._leaves, entry)
        return self._pool.free >= need

    def _evict(self, node: _Node) -> None:
        parent = node.parent
        if parent is None:
            raise AssertionError("the top holds no page")
        del parent.children[node.tokens]
        node.parent = None
        self._nodes -= 1
        self._pool.unshelve(node.page)
        self.evicted += 1
        if parent is not self._top and not parent.children:
            heapq.heappush(self._leaves, (parent.priority, next(self._order), parent))

    def _rank(self, node: _Node) -> None:
        cost = 1.0 + node.depth * self._page_size / _FAR
        node.priority = self._age + node.uses * cost
        heapq.heappush(self._leaves, (node.priority, next(self._order), node))
        if len(self._leaves) > 4 * self._nodes + 64:
            self._leaves = [entry for entry in self._leaves if entry[2].parent and entry[0] == entry[2].priority]
            heapq.heapify(self._leaves)

    def check_invariants(self, held: dict[int, int]) -> None:
        """Prove that the tree is sound, adding the references it holds to `held` (page -> count)."""
        found, search = 0, [self._top]
        ranked = {id(node) for priority, _, node in self._leaves if priority == node.priority}
        while search:
            node = search.pop()
            search.extend(node.children.values())
            if node is self._top:
                continue
            found += 1
            held[node.page] = held.get(node.page, 0) + 1
            if len(node.tokens) != self._page_size:
                raise AssertionError("a node of another length than a page")
            if not node.children and id(node) not in ranked:
                raise AssertionError("a leaf that can never be evicted")
        if found != self._nodes:
            raise AssertionError(f"{found} pages in the cache, {self._nodes} counted")
