"""Many solves, one step at a time: intents -> plan -> (runner) -> finish.

Everything that changes a solve from outside is an intent: it is posted at any time and applied at a step boundary. A
solve ends exactly once, in `_end`, which frees every page it holds.
"""

import time
from collections.abc import Callable

from engine.core.admission import Admission
from engine.core.ahead import Ahead
from engine.core.branch import Branch
from engine.core.chunks import ChunkMaker, Work
from engine.core.clients import Clients
from engine.core.distribution import Distribution
from engine.core.drafting import Drafting
from engine.core.limits import Limits
from engine.core.memory import Memory
from engine.core.pace import Paces
from engine.core.pages import PagePool
from engine.core.plan import Plan, plan_of
from engine.core.prefixes import PrefixCache
from engine.core.sharing import Sharing
from engine.core.solves import Solve
from engine.core.steptime import StepTime
from engine.core.tree import Tree
from engine.core.types import (
    BranchText,
    CoreEvent,
    CoreRequest,
    EndReason,
    FirstToken,
    SolveEnded,
    SolveStarted,
)

_STARTS = 256
"""Samples started in one step at most. Those that follow finished texts to their end take no row, but some tenths of a
millisecond each, for which all others wait."""


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
        self._clock = clock
        self._clients = Clients()
        self._running: list[Solve] = []
        self._paces = Paces()
        self._sharing = Sharing(self._clients, self._paces, self.step_time, self.limits.rows)
        self._drafting = Drafting(self.step_time, enabled=self.limits.drafting)
        self.prefixes = PrefixCache(self.pool, page_size)
        self._memory = Memory(self.pool, self.prefixes, lambda: self._running)
        self._chunks = ChunkMaker(self.pool, page_size, self.prefixes, self._memory)
        self._ahead = Ahead(self._chunks, self.pool, page_size)
        self._admission = Admission(
            pool=self.pool,
            page_size=page_size,
            limits=self.limits,
            clock=clock,
            clients=self._clients,
            prefixes=self.prefixes,
            memory=self._memory,
            chunks=self._chunks,
            step_time=self.step_time,
        )
        self._ends: dict[int, tuple[EndReason, float]] = {}
        self._budget: dict[bool, int] = {}  # prefill tokens left in the step being planned; interactive or not
        self._starts = 0  # samples that may still be started in it
        self._rows = self._context = 0  # of the last step: rows, and the tokens that they attended to
        self.rows_computed = 0  # in the last step, as the solves' counts have them
        self.token_gaps: list[tuple[float, int]] = []  # of the last step: so long after the one before, so many tokens

    # From outside

    def submit(self, request: CoreRequest) -> int:
        """Queue a solve. Returns the number of solves ahead of it, as far as that is known now.

        Raises:
            NeverFits: the prompts and one full branch do not fit into the empty pool.
            QueueIsFull: `Limits.waiting` solves are waiting.
            DeadlineTooClose: the prompts alone take longer than there is time.
        """
        self._admission.check_room(request)
        solve = Solve(request, self.pool, self.page_size, self._clock())
        self._admission.check_deadline(solve)
        self._clients.add(solve)
        self._ahead.whole_plan_due()
        return len(self._clients) - 1 + len(self._running)

    def end(self, solve: int, reason: EndReason) -> None:
        """Post the intent to end a solve; the first intent wins, unknown or ended solves are ignored."""
        self._ends.setdefault(solve, (reason, self._clock()))

    @property
    def now(self) -> float:
        """The clock that deadlines are on, in seconds."""
        return self._clock()

    def judge(self, solve: int, branch: int, *, passed: bool | None) -> None:
        """A finished branch of a solve was judged; None if it could not be. Unknown and forgotten ones are ignored."""
        self._paces.judge(solve, branch, passed=passed)
        self._ahead.whole_plan_due()

    def wait_no_more(self, solve: int, branch: int) -> None:
        """The verdict on a finished branch takes long. Unknown and forgotten ones are ignored."""
        self._paces.wait_no_more(solve, branch)
        self._ahead.whole_plan_due()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._clients and not self._running and not self._ends

    def has(self, *, interactive: bool) -> bool:
        """Whether a solve of a class is here, waiting or running."""
        running = any(solve.request.interactive is interactive for solve in self._running)
        return running or self._clients.waits(interactive=interactive)

    @property
    def waiting(self) -> int:
        """Number of solves that have not begun."""
        return len(self._clients)

    @property
    def running(self) -> int:
        """Number of solves that have begun."""
        return len(self._running)

    @property
    def branches(self) -> int:
        """Number of running branches over all solves."""
        return sum(solve.branches for solve in self._running)

    # A step

    def apply_intents(self) -> list[CoreEvent]:
        """End the solves whose end was posted, and those whose deadline has come before they began."""
        events: list[CoreEvent] = []
        ends, self._ends = self._ends, {}
        for name, (reason, posted) in ends.items():
            solve = self._clients.find(name)
            if solve is None:
                solve = next((running for running in self._running if running.request.solve == name), None)
            if solve is not None:
                events += self._end(solve, reason, posted)
        for solve in self._clients.expired(self._clock()):
            events += self._end(solve, EndReason.DEADLINE, None)
        return events

    def plan(self) -> tuple[Plan | None, list[CoreEvent]]:
        """Choose the chunks of the next step; None if there is nothing to compute. No step must be in flight."""
        self._ahead.planned()
        events: list[CoreEvent] = []
        work: list[Work] = []
        self._memory.begin_plan()
        self._starts = _STARTS
        ready = [solve for solve in self._running if solve.ready]
        events += self._paces.decide(ready, self.step_time, self.limits.rows, self._context)
        present = {kind: self.has(interactive=kind) for kind in (True, False)}
        shares = self._sharing.divide(ready, self._context / max(1, self._rows), pressing=present[True])
        rows = sum(share for _, share in shares)
        least = self.limits.least_prefill
        budget = self.step_time.prefill_budget(rows, self._context, self.limits.step_seconds, least)
        self._budget = (
            {True: max(least, budget - least), False: least} if all(present.values()) else {True: budget, False: budget}
        )
        for solve, share in shares:
            # A solve without a share starts one sample too: it may yet get rows that others cannot use.
            events += self._paces.note(self._start_samples(solve, max(share, 1)))
        self._drafting.begin_step(rows, self._context, self._sharing.draftable(shares), batch=not present[True])
        for solve, share in shares:
            self._offer_rows(solve, 0, share, work)
        # Rows that could not be used for lack of pages go to whoever can use them, the oldest first: it always can.
        spare = rows - len(work)
        for solve, share in shares if spare > 0 else []:
            used = len(work)
            self._offer_rows(solve, share, min(self._sharing.wish(solve), share + spare), work)
            spare -= len(work) - used
        self._prefill(work, events)
        events += self._memory.told()
        # Making room for later chunks may have taken the pages of earlier ones.
        work = [piece for piece in work if piece.segment.scheduled is piece]
        for piece in work:
            piece.segment.scheduled = None
        events += self._settle()
        work = [piece for piece in work if piece.solve in self._running]
        if not work:
            return None, events
        return plan_of(work, []), events

    def plan_ahead(self, plan: Plan) -> Plan | None:
        """The step after one in flight, whose tokens that one draws; None where its results are wanted first."""
        work, draws = self._ahead.rows(plan.work)
        return plan_of(work, draws) if work else None

    def finish(self, plan: Plan, results: list[list[Distribution]], seconds: float) -> list[CoreEvent]:
        """Take the results of a step that took so many seconds: samples draw, fork and finish.

        Steps are finished in the order in which they were planned; one that was planned ahead may be in flight.
        """
        self.step_time.observe(plan.rows, plan.context, plan.prefill_tokens, seconds)
        self._rows, self._context = plan.rows, plan.context
        self._charge(plan, seconds)
        now, self.rows_computed = self._clock(), 0
        gaps: dict[tuple[float, int], int] = {}
        events: list[CoreEvent] = []
        for piece, distributions in zip(plan.work, results, strict=True):
            tree, segment, counts = piece.tree, piece.segment, piece.solve.counts
            if piece.ahead and (piece.void or (piece.branch is not None and piece.branch.finished)):
                # Its solve's books are open as long as it runs.
                if piece.solve in self._running:
                    counts.rows += 1
                    self.rows_computed += 1
                continue
            tree.now = now
            drawn = len(piece.chunk.tokens) - len(piece.drafted)
            segment.computed += drawn
            if segment is tree.root and segment.computed == len(segment.tokens):
                tree.prefix = segment.slots(segment.computed, self.page_size)
                tree.layout += 1
                self.prefixes.keep(segment.tokens, segment.pages)
            if piece.branch is None:
                if distributions:
                    if not piece.solve.ready:
                        events.append(FirstToken(piece.solve.request.solve, now - piece.solve.arrived))
                    events += tree.take_root(distributions)
                continue
            counts.recomputed_tokens += drawn - bool(distributions)
            if distributions:
                counts.rows += 1 + len(piece.drafted)
                self.rows_computed += 1 + len(piece.drafted)
                # Another branch of this step may have outdone it.
                if not piece.branch.finished:
                    accepted, waited = counts.accepted_tokens, now - piece.branch.drew
                    piece.branch.drew = now
                    events += self._take_row(piece, piece.branch, distributions)
                    accepted = counts.accepted_tokens - accepted
                    gaps[waited, 1 + accepted] = gaps.get((waited, 1 + accepted), 0) + 1
                    if piece.guess is not None and piece.drafted:
                        self._drafting.learn(piece.guess, len(piece.drafted), accepted)
        self.token_gaps = [(gap / tokens, tokens * rows) for (gap, tokens), rows in gaps.items()]
        return self._paces.note(events) + self._settle()

    def _take_row(self, piece: Work, branch: Branch, distributions: list[Distribution]) -> list[CoreEvent]:
        """The answers to a row, behind which the next one of its branch may be in flight."""
        tree, after = piece.tree, piece.after
        if after is None:
            return tree.take_row(branch, piece.drafted, distributions)
        branch.filled -= 1  # forks take over what the branch has, and that is without the row in flight
        events = tree.take_row(branch, piece.drafted, distributions)
        if branch.finished or branch.tip is not piece.segment:
            after.void = True
            tree.trim(piece.segment)
            # Forks have no row yet; where a branch has ended, others may start.
            if not branch.finished or piece.solve.startable or len(self._clients):
                self._ahead.whole_plan_due()
        else:
            branch.filled += 1
        return events

    def texts(self, solves: set[int]) -> list[CoreEvent]:
        """New text of the running branches of these solves."""
        events: list[CoreEvent] = []
        for solve in self._running:
            if solve.request.solve not in solves:
                continue
            for branch in [branch for tree in solve.trees for branch in tree.branches.values()]:
                text = branch.stopper.text
                if len(text) > branch.reported:
                    events.append(BranchText(solve.request.solve, branch.id, text[branch.reported :], branch.generated))
                    branch.reported = len(text)
        return events

    # Parts of a step

    def _charge(self, plan: Plan, seconds: float) -> None:
        """Put a step on the clients' accounts."""
        shares: dict[str, float] = {}
        row, token = max(self.step_time.per_row(), 1e-6), self.step_time.per_prefill_token
        for piece in plan.work:
            work = len(piece.chunk.tokens) * (row if piece.is_row else token)
            client = piece.solve.request.client
            shares[client] = shares.get(client, 0.0) + work
        self._clients.charge(seconds, shares)

    def _offer_rows(self, solve: Solve, first: int, last: int, work: list[Work]) -> None:
        """Rows for branches number `first` to `last` of a solve, or chunks of what they have to compute again."""
        for branch in solve.wants_rows[first:last]:
            if self._chunks.is_row(branch):
                draft = self._drafting.draft(solve.request, branch)
                piece = self._chunks.row(solve, branch, [] if draft is None else draft.tokens)
                if piece is not None:
                    self._memory.goes_on(solve.request.solve, branch)
                    piece.guess = draft
                    work.append(piece)
            else:
                work += self._run_of(solve, branch.tree, branch)

    def _run_of(self, solve: Solve, tree: Tree, branch: Branch | None) -> list[Work]:
        """The next run of tokens for a branch or a prompt, charged to the step's budget."""
        kind = solve.request.interactive
        piece = self._chunks.piece(solve, tree, branch, self._budget[kind])
        if piece is None:
            return []
        self._budget[kind] -= len(piece.chunk.tokens)
        return [piece]

    def _start_samples(self, solve: Solve, share: int) -> list[CoreEvent]:
        events: list[CoreEvent] = []
        most = solve.request.max_tokens
        # Samples that follow finished texts to their end take no rows, but they do take tokens.
        while solve.branches < share and solve.startable and (most is None or solve.counts.generated_tokens < most):
            if self._starts == 0:
                break
            self._starts -= 1
            events += solve.start(self._paces.take(solve), self._clock())
        return events

    def _prefill(self, work: list[Work], events: list[CoreEvent]) -> None:
        """Chunks of prompts, those of waiting solves too if they can begin."""
        left = self._budget
        for solve in self._running:
            for tree in solve.trees:
                work += (
                    self._run_of(solve, tree, None) if left[solve.request.interactive] > 0 and not tree.ready else []
                )
        while (solve := self._clients.next()) is not None and left[solve.request.interactive] > 0:
            if self._admission.is_late(solve):
                events += self._end(solve, EndReason.DEADLINE, None)
                continue
            if not self._admission.may_begin(solve, len(self._running)):
                break
            self._clients.begin(solve)
            self._running.append(solve)
            self._paces.begin(solve.request)
            self._drafting.begin(solve.request)
            solve.began = self._clock()
            counts = solve.counts
            counts.cached_tokens = sum(tree.root.computed for tree in solve.trees)
            queued = solve.began - solve.arrived
            events.append(SolveStarted(solve.request.solve, queued, counts.prompt_tokens, counts.cached_tokens))
            for tree in solve.trees:
                work += self._run_of(solve, tree, None) if left[solve.request.interactive] > 0 else []

    def _settle(self) -> list[CoreEvent]:
        """End the solves that are complete or have spent their budget."""
        events: list[CoreEvent] = []
        for solve in list(self._running):
            request, counts = solve.request, solve.counts
            if solve.complete:
                events += self._end(solve, EndReason.COMPLETE, None)
            elif request.max_rows is not None and counts.rows >= request.max_rows:
                events += self._end(solve, EndReason.BUDGET_ROWS, None)
            elif request.max_tokens is not None and counts.generated_tokens >= request.max_tokens:
                events += self._end(solve, EndReason.BUDGET_TOKENS, None)
            for tree in solve.trees:
                # No sample will come this way again.
                while tree.settled and tree.drop_idle():
                    pass
        return events

    def _end(self, solve: Solve, reason: EndReason, posted: float | None) -> list[CoreEvent]:
        """The one terminal transition."""
        if solve.began is None:
            self._clients.remove(solve)
        else:
            self._running.remove(solve)
            self._clients.end(solve)
            self._paces.end(solve.request.solve, reason)
            self._drafting.end(solve.request)
            self._memory.forget(solve.request.solve)
        self._ahead.whole_plan_due()
        events = [event for tree in solve.trees for event in tree.cut()]
        latency = 0.0 if posted is None else self._clock() - posted
        return [*events, SolveEnded(solve.request.solve, reason, solve.counts, latency)]

    def check_invariants(self) -> None:
        """Prove that pages, trees and queues agree. Call it between steps."""
        held: dict[int, int] = {}
        everyone = [*self._running, *self._clients.waiting]
        for solve in everyone:
            solve.check_invariants(held)
        self.prefixes.check_invariants(held)
        self.pool.check_invariants(held)
        names = [solve.request.solve for solve in everyone]
        if len(names) != len(set(names)):
            raise AssertionError("a solve is queued twice")
