"""Planning the next step while one is computed: rows whose token is not known yet.

Most steps are rows that go on by one token each, and all that the next one lacks is those tokens: the device has them
as soon as they are drawn, the host only after it has waited. So the next step is planned and submitted before, with the
draws in place of the tokens. A row turns out void where its branch has ended meanwhile or its samples have parted; that
is the price, one row for each such end. What a whole plan decides (who gets rows, what is drafted, which prompts and
samples start) stays as it is for the few steps that are planned in this way.
"""

from typing import Any, Protocol, runtime_checkable

from engine.core.chunks import ChunkMaker, Work
from engine.core.distribution import Distribution
from engine.core.pages import PagePool
from engine.core.solves import Solve
from engine.core.types import Ask, Draw, Runner, Step

AHEAD = 8
"""Steps in a row that are planned ahead: then it is looked again who should have rows, and for drafts."""


@runtime_checkable
class AheadRunner(Runner, Protocol):
    """A runner whose device computes while the host does other work.

    It takes one more step before the one that it was given last is collected. Steps are computed in the order in which
    they are submitted, so that a page may be given away while a step that writes to it in vain is computed.
    """

    def submit(self, step: Step) -> object:
        """Give a step to the device without waiting for it. `step.after` speaks of the step submitted before."""
        ...

    def collect(self, flight: Any) -> list[list[Distribution]]:
        """Wait for what `submit` returned, in the order of submission; as `run`."""
        ...


class Ahead:
    """Whether the step after one in flight can be planned now, and its rows."""

    def __init__(self, chunks: ChunkMaker, pool: PagePool, page_size: int) -> None:
        self._chunks = chunks
        self._pool = pool
        self._page_size = page_size
        self._steps = 0
        self._due = True

    def planned(self) -> None:
        """A whole plan was made."""
        self._steps, self._due = 0, False

    def whole_plan_due(self) -> None:
        """Something has come that only a whole plan takes up."""
        self._due = True

    def rows(self, work: list[Work]) -> tuple[list[Work], list[Draw]]:
        """The rows after those of a step in flight, and the draws of that step which are their tokens; none where a
        whole plan is due.

        All branches of the step must be rows without drafts that go on: others would stand still meanwhile.
        """
        if self._due or self._steps >= AHEAD:
            return [], []
        following: list[tuple[Work, list[Ask]]] = []
        draws: list[Draw] = []
        sizes: dict[int, tuple[Solve, int, int]] = {}
        need = asks = 0
        for piece in work:
            if not piece.void:
                then = _after(piece)
                if then is None or piece.branch is None:
                    return [], []
                (ask, number), asked = then
                draws.append((asks + ask, number))
                following.append((piece, asked))
                need += piece.segment.pages_needed(piece.segment.computed + 2, self._page_size)
                solve, rows, samples = sizes.get(piece.solve.request.solve, (piece.solve, 0, 0))
                sizes[piece.solve.request.solve] = solve, rows + 1, samples + len(piece.branch.samples)
            asks += len(piece.chunk.asks)
        if need > self._pool.free or any(_at_its_end(*size) for size in sizes.values()):
            return [], []
        self._steps += 1
        return [self._chunks.row_after(piece, asked) for piece, asked in following], draws


def _after(piece: Work) -> tuple[Draw, list[Ask]] | None:
    """See Tree.asks_after; None, too, for what is no row, and for one with drafts, whose last token is not known."""
    if piece.branch is None or piece.drafted or not piece.is_row or not piece.chunk.asks:
        return None
    return piece.tree.asks_after(piece.branch)


def _at_its_end(solve: Solve, rows: int, samples: int) -> bool:
    """Whether this step, which has so many of its rows, may spend a solve's budget."""
    request, counts = solve.request, solve.counts
    spent = request.max_rows is not None and counts.rows + rows >= request.max_rows
    return spent or (request.max_tokens is not None and counts.generated_tokens + samples >= request.max_tokens)
