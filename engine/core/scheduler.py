"""Many solves, one step at a time: intents -> plan -> (runner) -> finish.

Everything that changes a solve from outside is an intent: it is posted at any time and applied at a step boundary. A
solve ends exactly once, in `_end`, which frees every page it holds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.core.chunks import ChunkMaker, Solve, Work
from engine.core.distribution import Distribution
from engine.core.memory import Memory
from engine.core.pages import PagePool
from engine.core.randomness import uniforms
from engine.core.steptime import StepTime
from engine.core.tree import Branch, SampleTree
from engine.core.types import (
    BranchText,
    CoreEvent,
    CoreRequest,
    EndReason,
    SolveEnded,
    SolveStarted,
    Step,
)


class NeverFits(Exception):
    """The solve needs more pages than the pool has, even alone."""


class QueueIsFull(Exception):
    """Too many solves are waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the scheduler.

    rows: branches in one step at most. step_seconds: the aim for a step with prefill in it. least_prefill: tokens that
    the prefill of a step has at least, so that prompts move on beside a full batch. waiting: solves queued at most.
    """

    rows: int = 64
    step_seconds: float = 0.1
    least_prefill: int = 32
    waiting: int = 256


@dataclass(slots=True)
class Plan:
    """A step together with the bookkeeping for its results."""

    step: Step
    work: list[Work]
    rows: int
    prefill_tokens: int


@dataclass(slots=True)
class Totals:
    """Sums over all solves since the start."""

    steps: int = 0
    rows: int = 0
    prefill_tokens: int = 0
    preemptions: int = 0


class Scheduler:
    """Owns the pages and the trees; knows no torch, no text and no clock but the one it is given."""

    def __init__(
        self,
        *,
        pages: int,
        page_size: int,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.page_size = page_size
        self.pool = PagePool(pages)
        self.step_time = StepTime()
        self.totals = Totals()
        self._clock = clock
        self._waiting: list[Solve] = []
        self._running: list[Solve] = []
        self._memory = Memory(self.pool, lambda: self._running)
        self._chunks = ChunkMaker(self.pool, page_size, self._memory)
        self._ends: dict[int, tuple[EndReason, float]] = {}
        self._budget = 0  # prefill tokens left in the step being planned

    # From outside

    def submit(self, request: CoreRequest) -> int:
        """Queue a solve. Returns the number of solves ahead of it.

        Raises:
            NeverFits: the prompt and one full branch do not fit into the empty pool.
            QueueIsFull: `Limits.waiting` solves are waiting.
        """
        if self.pages_for(request) > self.pool.capacity:
            raise NeverFits(
                f"prompt of {len(request.prompt)} tokens and max_new_tokens of {request.max_new_tokens} need "
                f"{self.pages_for(request)} pages of {self.page_size} tokens, the pool has {self.pool.capacity}"
            )
        if len(self._waiting) >= self.limits.waiting:
            raise QueueIsFull(str(len(self._waiting)))
        solve = Solve(request, SampleTree(request, self.pool, self.page_size), self._clock())
        self._waiting.append(solve)
        self._waiting.sort(key=lambda waiting: not waiting.request.interactive)
        return self._waiting.index(solve) + len(self._running)

    def pages_for(self, request: CoreRequest) -> int:
        """Pages of the prompt and one full branch, computed alone."""
        return -(-len(request.prompt) // self.page_size) + -(-request.max_new_tokens // self.page_size) + 1

    def end(self, solve: int, reason: EndReason) -> None:
        """Post the intent to end a solve; the first intent wins, unknown or ended solves are ignored."""
        self._ends.setdefault(solve, (reason, self._clock()))

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._waiting and not self._running and not self._ends

    @property
    def waiting(self) -> int:
        """Number of solves that have not begun."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Number of solves that have begun."""
        return len(self._running)

    @property
    def branches(self) -> int:
        """Number of running branches over all solves."""
        return sum(len(solve.tree.branches) for solve in self._running)

    # A step

    def apply_intents(self) -> list[CoreEvent]:
        """End the solves whose end was posted."""
        events: list[CoreEvent] = []
        if not self._ends:
            return events
        ends, self._ends = self._ends, {}
        for solve in [*self._running, *self._waiting]:
            posted = ends.get(solve.request.solve)
            if posted is not None:
                events += self._end(solve, posted[0], posted[1])
        return events

    def plan(self) -> tuple[Plan | None, list[CoreEvent]]:
        """Choose the chunks of the next step; None if there is nothing to compute."""
        events: list[CoreEvent] = []
        work: list[Work] = []
        self._memory.begin_plan()
        expected = min(self.branches, self.limits.rows)
        self._budget = self.step_time.prefill_budget(expected, self.limits.step_seconds, self.limits.least_prefill)
        shares = self._shares()
        for solve, share in shares:
            # A solve without a share starts one sample too: it may yet get rows that others cannot use.
            events += self._start_samples(solve, max(share, 1))
        for solve, share in shares:
            self._offer_rows(solve, 0, share, work)
        tried = {solve.request.solve: share for solve, share in shares}
        # Rows that could not be used for lack of pages go to whoever can use them, the oldest first: it always can.
        for solve in self._running if len(work) < self.limits.rows else []:
            first = tried.get(solve.request.solve, 0)
            share = min(self._wish(solve), first + self.limits.rows - len(work))
            self._offer_rows(solve, first, share, work)
        self._prefill(work, events)
        # Making room for later chunks may have taken the pages of earlier ones.
        work = [piece for piece in work if piece.segment.scheduled is piece]
        for piece in work:
            piece.segment.scheduled = None
        events += self._settle()
        work = [piece for piece in work if piece.solve in self._running]
        if not work:
            return None, events
        self._draw_numbers(work)
        step = Step([piece.chunk for piece in work])
        rows = sum(1 for piece in work if piece.branch is not None and len(piece.chunk.tokens) == 1)
        return Plan(step, work, rows, step.tokens - rows), events

    def finish(self, plan: Plan, results: list[Distribution | None], seconds: float) -> list[CoreEvent]:
        """Take the results of a step that took so many seconds: samples draw, fork and finish."""
        self.step_time.observe(plan.rows, plan.prefill_tokens, seconds)
        self.totals.steps += 1
        self.totals.rows += plan.rows
        self.totals.prefill_tokens += plan.prefill_tokens
        events: list[CoreEvent] = []
        for piece, distribution in zip(plan.work, results, strict=True):
            tree, segment = piece.solve.tree, piece.segment
            segment.computed += len(piece.chunk.tokens)
            if segment is tree.root and segment.computed == len(segment.tokens):
                tree.prefix = segment.slots(segment.computed, self.page_size)
                tree.layout += 1
            if piece.branch is not None:
                if len(piece.chunk.tokens) > 1 or distribution is None:
                    tree.counts.recomputed_tokens += len(piece.chunk.tokens) - (distribution is not None)
                if distribution is not None:
                    tree.counts.rows += 1
            if distribution is None:
                continue
            if piece.branch is None:
                tree.set_root(distribution)
            else:
                numbers = piece.chunk.numbers
                if numbers is None:
                    raise AssertionError("a row without numbers")
                events += tree.advance(piece.branch, distribution, numbers)
        return events + self._settle()

    def texts(self, solves: set[int]) -> list[CoreEvent]:
        """New text of the running branches of these solves."""
        events: list[CoreEvent] = []
        for solve in self._running:
            if solve.request.solve not in solves:
                continue
            for branch in solve.tree.branches.values():
                text = branch.stopper.text
                if len(text) > branch.reported:
                    events.append(BranchText(solve.request.solve, branch.id, text[branch.reported :], branch.generated))
                    branch.reported = len(text)
        return events

    # Parts of a step

    def _shares(self) -> list[tuple[Solve, int]]:
        """Rows for each running solve: interactive before batch, equal shares, what one leaves goes to the others.

        The oldest solve has one row whatever it is: it holds pages that no younger one can take.
        """
        oldest = next((solve for solve in self._running if solve.tree.ready), None)
        left = self.limits.rows - (oldest is not None)
        shares: list[tuple[Solve, int]] = []
        for interactive in (True, False):
            solves = [s for s in self._running if s.tree.ready and s.request.interactive is interactive]
            wishes = [(self._wish(solve), solve) for solve in solves]
            granted: dict[int, int] = {}
            for place, (wish, solve) in enumerate(sorted(wishes, key=lambda pair: pair[0])):
                share = min(wish, -(-left // (len(wishes) - place)))
                granted[solve.request.solve] = share
                left -= share
            shares += [
                (solve, min(self._wish(solve), granted[solve.request.solve] + (solve is oldest))) for solve in solves
            ]
        return shares

    def _offer_rows(self, solve: Solve, first: int, last: int, work: list[Work]) -> None:
        """Rows for branches number `first` to `last` of a solve, or chunks of what they have to compute again."""
        for branch in list(solve.tree.branches.values())[first:last]:
            if self._chunks.is_row(branch, solve.tree):
                piece = self._chunks.row(solve, branch)
                work += [piece] if piece is not None else []
            else:
                work += self._run_of(solve, branch)

    def _run_of(self, solve: Solve, branch: Branch | None) -> list[Work]:
        """The next run of tokens for a branch or a prompt, charged to the step's budget."""
        piece = self._chunks.piece(solve, branch, self._budget)
        if piece is None:
            return []
        self._budget -= len(piece.chunk.tokens)
        return [piece]

    def _wish(self, solve: Solve) -> int:
        most = len(solve.tree.branches) + solve.tree.unstarted
        return most if solve.request.width is None else min(most, solve.request.width)

    def _start_samples(self, solve: Solve, share: int) -> list[CoreEvent]:
        events: list[CoreEvent] = []
        tree = solve.tree
        while tree.unstarted and len(tree.branches) < share:
            events += tree.start_sample()
        return events

    def _prefill(self, work: list[Work], events: list[CoreEvent]) -> None:
        """Chunks of prompts, those of waiting solves too if they can begin."""
        unready = [solve for solve in self._running if not solve.tree.ready]
        for solve in sorted(unready, key=lambda s: not s.request.interactive):
            work += self._run_of(solve, None) if self._budget > 0 else []
        while self._budget > 0 and self._waiting and self._admissible(self._waiting[0]):
            solve = self._waiting.pop(0)
            self._running.append(solve)
            solve.began = self._clock()
            events.append(SolveStarted(solve.request.solve, solve.began - solve.arrived))
            work += self._run_of(solve, None)

    def _admissible(self, solve: Solve) -> bool:
        """Whether a waiting solve can begin: its prompt and a branch fit beside what is running, or it runs alone."""
        if not self._running:
            return True
        if len(self._running) >= self.limits.rows:
            return False
        need = self.pages_for(solve.request)
        return self.pool.free >= need or self._memory.drop_idle(need)

    def _draw_numbers(self, work: list[Work]) -> None:
        """Give every chunk that ends in a distribution the numbers of its samples."""
        drawing = [piece for piece in work if piece.chunk.filters is not None]
        seeds: list[int] = []
        samples: list[int] = []
        positions: list[int] = []
        sizes: list[int] = []
        for piece in drawing:
            mine = range(piece.solve.request.k) if piece.branch is None else piece.branch.samples
            samples.extend(mine)
            sizes.append(len(mine))
            seeds.extend([piece.solve.request.seed] * len(mine))
            positions.extend([0 if piece.branch is None else piece.branch.generated] * len(mine))
        numbers = uniforms(np.array(seeds, np.uint64), samples, positions)
        for piece, part in zip(drawing, np.split(numbers, np.cumsum(sizes)[:-1]) if sizes else [], strict=True):
            piece.chunk.numbers = part

    def _settle(self) -> list[CoreEvent]:
        """End the solves that are complete or have spent their budget."""
        events: list[CoreEvent] = []
        for solve in list(self._running):
            tree, request = solve.tree, solve.request
            if tree.complete:
                events += self._end(solve, EndReason.COMPLETE, None)
            elif request.max_rows is not None and tree.counts.rows >= request.max_rows:
                events += self._end(solve, EndReason.BUDGET_ROWS, None)
            elif request.max_tokens is not None and tree.counts.generated_tokens >= request.max_tokens:
                events += self._end(solve, EndReason.BUDGET_TOKENS, None)
            elif not tree.unstarted:
                # No sample will come this way again.
                while tree.drop_idle():
                    pass
        return events

    def _end(self, solve: Solve, reason: EndReason, posted: float | None) -> list[CoreEvent]:
        """The one terminal transition."""
        (self._waiting if solve.began is None else self._running).remove(solve)
        events = solve.tree.cut()
        self.totals.preemptions += solve.tree.counts.preemptions
        latency = 0.0 if posted is None else self._clock() - posted
        return [*events, SolveEnded(solve.request.solve, reason, solve.tree.counts, latency)]

    def check_invariants(self) -> None:
        """Prove that pages, trees and queues agree. Call it between steps."""
        held: dict[int, int] = {}
        for solve in [*self._running, *self._waiting]:
            solve.tree.check_invariants(held)
        self.pool.check_invariants(held)
        names = [solve.request.solve for solve in [*self._running, *self._waiting]]
        if len(names) != len(set(names)):
            raise AssertionError("a solve is queued twice")
