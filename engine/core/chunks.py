"""Chunks of a step: the row of a branch, or a run of tokens that is still to be computed on the way to its tip."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from engine.core.branch import Branch
from engine.core.drafts import Draft
from engine.core.memory import Memory
from engine.core.pages import PagePool
from engine.core.prefixes import PrefixCache
from engine.core.segments import Segment
from engine.core.solves import Solve
from engine.core.tree import Tree
from engine.core.types import UNKNOWN, Ask, Chunk, Slots

_EMPTY: Slots = np.empty(0, np.int32)


@dataclass(slots=True, eq=False)
class Work:
    """One chunk of a step and what is to be done with its result."""

    chunk: Chunk
    solve: Solve
    tree: Tree
    segment: Segment
    branch: Branch | None  # None: a part of the prompt
    drafted: list[int] = field(default_factory=list[int])  # tokens of the chunk that nobody has drawn yet
    guess: Draft | None = None  # what they come from
    after: Work | None = None  # the row after this one, planned before this one's token was known
    ahead: bool = False  # it is such a row
    void: bool = False  # it was computed in vain: its branch has ended, or its samples have parted before it

    @property
    def is_row(self) -> bool:
        """Whether it is a branch's last token, with what is drafted after it."""
        return self.branch is not None and len(self.chunk.tokens) == 1 + len(self.drafted)


class ChunkMaker:
    """Finds what has to be computed next for a branch or a prompt, and allocates the pages for it."""

    def __init__(self, pool: PagePool, page_size: int, prefixes: PrefixCache, memory: Memory) -> None:
        self._pool = pool
        self._page_size = page_size
        self._prefixes = prefixes
        self._memory = memory

    def is_row(self, branch: Branch) -> bool:
        """Whether all that the branch still lacks is the row of its last token."""
        if branch.layout == branch.tree.layout:
            return True
        path = branch.tip.path()
        if any(s.computed < self._used(s, child) for s, child in pairwise(path)):
            return False
        if branch.tip.computed < len(branch.tip.tokens) - 1:
            return False
        self._lay_out(branch, path)
        return True

    def _used(self, segment: Segment, child: Segment) -> int:
        """Tokens of `segment` that the path through `child` takes."""
        return min(len(segment.tokens), child.start - segment.start)

    def _lay_out(self, branch: Branch, path: list[Segment]) -> None:
        """Collect the slots of the branch's tokens after the prompt."""
        tree = branch.tree
        # A shadow of the root leaves out the prompt's last token, so that the prompt is not its prefix.
        branch.whole = path[1].start < tree.root.end
        own = path if branch.whole else path[1:]
        parts: list[Slots] = []
        for segment, child in zip(own, [*own[1:], None], strict=True):
            tokens = segment.computed if child is None else self._used(segment, child)
            parts.append(segment.slots(tokens, self._page_size))
        filled = sum(len(part) for part in parts)
        # Room for all tokens to come, and for the one that a shadow computes again.
        branch.suffix = np.empty(filled + tree.request.max_new_tokens - branch.generated + 2, np.int32)
        if parts:
            branch.suffix[:filled] = np.concatenate(parts)
        branch.filled = filled
        branch.layout = tree.layout

    def row(self, solve: Solve, branch: Branch, draft: list[int]) -> Work | None:
        """The row of a branch of which `is_row` holds; None if there is no page for it now.

        It takes as much of the draft as there are free pages for.
        """
        tip, tree = branch.tip, branch.tree
        if not self._grow(solve, tree, branch, tip, 1):
            return None
        if branch.layout != tree.layout:
            # Making room moved the tree; the branch itself is protected, so its pages are all there.
            self._lay_out(branch, tip.path())
        if draft and tip.pages_needed(tip.computed + 1 + len(draft), self._page_size) <= self._pool.free:
            self._grow(solve, tree, branch, tip, 1 + len(draft))
        else:
            draft = []
        end = branch.filled + 1 + len(draft)
        for place in range(branch.filled, end):
            branch.suffix[place] = tip.slot(tip.computed + place - branch.filled, self._page_size)
        branch.filled += 1
        chunk = Chunk(
            solve.request.solve,
            [tip.tokens[-1], *draft],
            tree.root.end + branch.generated - 1,
            _EMPTY if branch.whole else tree.prefix,
            branch.suffix[:end],
            tree.asks(branch, 0, draft),
            tree.root.end,
        )
        tip.scheduled = piece = Work(chunk, solve, tree, tip, branch, draft)
        return piece

    def row_after(self, piece: Work, asks: list[Ask]) -> Work:
        """The row after a row in flight, whose token that one draws. There must be a free page for it."""
        tip, tree, branch = piece.segment, piece.tree, piece.branch
        if branch is None:
            raise AssertionError("only a branch has a row")
        need = tip.pages_needed(tip.computed + 2, self._page_size)
        tip.pages += [self._pool.allocate() for _ in range(need)]
        if branch.layout != tree.layout:
            self._lay_out(branch, tip.path())
            branch.suffix[branch.filled] = tip.slot(tip.computed, self._page_size)  # the row in flight
            branch.filled += 1
        branch.suffix[branch.filled] = tip.slot(tip.computed + 1, self._page_size)
        branch.filled += 1
        chunk = Chunk(
            piece.chunk.solve,
            [UNKNOWN],
            piece.chunk.start + 1,
            _EMPTY if branch.whole else tree.prefix,
            branch.suffix[: branch.filled],
            asks,
            tree.root.end,
        )
        piece.after = Work(chunk, piece.solve, tree, tip, branch, ahead=True)
        return piece.after

    def _grow(self, solve: Solve, tree: Tree, branch: Branch | None, segment: Segment, tokens: int) -> bool:
        """Allocate pages for `tokens` more tokens of `segment`; False if there is no room for it now."""
        segment.take_tail(self._pool, self._page_size, tree.loose)
        need = segment.pages_needed(segment.computed + tokens, self._page_size)
        if need > self._pool.free and not self._memory.make_room(need, solve, branch):
            return False
        segment.pages += [self._pool.allocate() for _ in range(need)]
        return True

    def begin_prompt(self, tree: Tree) -> int:
        """Give a prompt without pages those of an earlier one that begins alike. Returns their number."""
        root = tree.root
        root.pages = self._prefixes.take(root.tokens)
        root.computed = len(root.pages) * self._page_size
        return len(root.pages)

    def piece(self, solve: Solve, tree: Tree, branch: Branch | None, budget: int) -> Work | None:
        """The next uncomputed run of tokens on the way to a branch's tip, or of the prompt."""
        path = [tree.root] if branch is None else branch.tip.path()
        if not tree.root.pages:
            self.begin_prompt(tree)
        for place, segment in enumerate(path):
            child = path[place + 1] if place + 1 < len(path) else None
            end = len(segment.tokens) if child is None else self._used(segment, child)
            if segment.computed >= end:
                continue
            if segment.scheduled is not None:
                return None  # another branch has it computed in this step
            # The oldest branch may be what all others wait for: it gets a token even where the budget is spent.
            count = min(max(budget, 1), end - segment.computed)
            if not self._grow(solve, tree, branch, segment, count):
                return None
            first = segment.computed
            parts = [s.slots(self._used(s, c), self._page_size) for s, c in pairwise(path[: place + 1])]
            parts.append(segment.slots(first + count, self._page_size))
            chunk = Chunk(
                solve.request.solve,
                segment.tokens[first : first + count],
                segment.start + first,
                _EMPTY,
                np.concatenate(parts),
                prompt=tree.root.end,
            )
            if child is None and first + count == end:
                if branch is not None:
                    chunk.asks = tree.asks(branch, count - 1, [])
                elif not tree.ready:
                    chunk.asks = tree.root_asks(count - 1)
            segment.scheduled = piece = Work(chunk, solve, tree, segment, branch)
            return piece
        return None
