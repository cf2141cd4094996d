"""A solve in the scheduler is ended by whatever comes first, and once, in every order in which endings can arrive.

An older solve draws on, the solve in question draws two texts, and a younger one waits for the pages of both. Texts
end, verdicts, cancels, deadlines and budgets arrive at every step boundary and during every step, in every order. What
ends the solve is the first of:

- a step that completes its last text (complete) or spends its rows (budget_rows), also one in flight when an intent
  arrives: what it has computed counts;
- at the step boundary the intent that was posted first.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from engine.core.admission import pages_for
from engine.core.distribution import Distribution, from_probabilities
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import (
    Ask,
    BranchCut,
    BranchFinished,
    BranchStarted,
    CoreEvent,
    EndReason,
    SolveEnded,
    SolveStarted,
)
from tests.support.core_harness import request
from tests.support.every_path import every_path
from tests.support.scripted_runner import EOS, ScriptedRunner

OLDER, SOLVE, YOUNGER = 1, 2, 3
STEP_SECONDS = 0.125
INTENTS = {"cancel": EndReason.CANCELLED, "deadline": EndReason.DEADLINE, "time": EndReason.BUDGET_TIME}


class ToldRunner(ScriptedRunner):
    """Texts part at their first token, 1 or 2, and go on until they are told to end. Prompts are tokens above 7."""

    def __init__(self, pages: int, page_size: int) -> None:
        super().__init__(pages=pages, page_size=page_size)
        self.ends: set[tuple[int, int]] = set()  # (solve, first token of the text)
        self.all_end = False

    def distribution(self, tokens: list[int], ask: Ask | None) -> Distribution:
        drawn = [token for token in tokens if token < 8]
        solve = tokens[0] - 8
        ids = [1, 2] if not drawn else [EOS] if self.all_end or (solve, drawn[0]) in self.ends else [3]
        shares = np.full(len(ids), 1 / len(ids))
        return from_probabilities(np.array(ids, np.int32), shares, np.log(shares).astype(np.float32), 0)


@dataclass(slots=True)
class Order:
    """One order of arrival, played against a scheduler."""

    choose: Callable[[int], int]
    page_size: int
    pages: int
    intents: int  # at most
    words: tuple[str, ...]  # the intents that may arrive, a pass apart
    ahead: int = 2  # steps that the older one has had before
    steps: int = 4  # in which something can arrive; after them every text ends
    new: int = 12  # tokens of a text at most
    younger: int = 12  # the same of the younger one
    max_rows: int | None = None
    drafting: bool = False
    scarce: bool = False  # the younger one cannot begin without the pages of the solve in question
    runner: ToldRunner = field(init=False)
    scheduler: Scheduler = field(init=False)
    now: float = 0.0
    events: list[CoreEvent] = field(default_factory=list[CoreEvent])
    happened: list[str] = field(default_factory=list[str])
    posted: list[EndReason] = field(default_factory=list[EndReason])
    firsts: dict[int, int] = field(default_factory=dict[int, int])  # branch -> first token of its text
    late: int = 0  # things that have arrived after its end
    judged: set[int] = field(default_factory=set[int])
    begun_with_its_pages: bool = False
    _need: int = 0

    def __post_init__(self) -> None:
        self.runner = ToldRunner(self.pages, self.page_size)
        self.scheduler = Scheduler(
            pages=self.pages,
            page_size=self.page_size,
            limits=Limits(step_seconds=1.0, drafting=self.drafting),
            clock=lambda: self.now,
        )
        self._submit(OLDER, k=1, new=12)
        for _ in range(self.ahead):
            self._step()
        self._submit(SOLVE, k=2, new=self.new, max_rows=self.max_rows)
        self._need = self._submit(YOUNGER, k=1, new=self.younger)

    def _submit(self, solve: int, *, k: int, new: int, max_rows: int | None = None) -> int:
        """Returns the pages that it needs to begin."""
        # With this seed the samples 0 and 1 draw different first tokens.
        asked = request(solve=solve, prompt=[8 + solve, 8, 9], k=k, new=new, seed=11, max_rows=max_rows)
        self.scheduler.submit(asked)
        return pages_for(asked, self.scheduler.page_size)

    def play(self) -> None:
        """All of it, checked at every step."""
        for _ in range(self.steps):
            self._step(arriving=True)
        self.runner.all_end = True
        for _ in range(60):
            if self.scheduler.idle:
                break
            self._step()
        assert self.scheduler.idle, "the scheduler does not come to an end"
        self._check_end()

    # A step

    def _step(self, *, arriving: bool = False) -> None:
        if arriving:
            self._arrive(in_flight=False)
        alive, intents = self.ended is None, list(self.posted)
        self._take(self.scheduler.apply_intents())
        if alive and intents:
            assert self.ended is not None and self.ended.reason is intents[0], "the first intent does not end it"
            assert 0 <= self.ended.latency <= STEP_SECONDS, "its rows were there for more than a step"
        room = self.scheduler.pool.free + self.scheduler.pool.idle
        waits = not self._began(YOUNGER)
        plan, events = self.scheduler.plan()
        over = self.ended is not None
        self._take(events)
        planned = {chunk.solve for chunk in plan.step.chunks} if plan is not None else set[int]()
        if over:
            assert SOLVE not in planned, "a row of a solve that has ended"
        # The older one may take a page in this step, where its text is not all in one.
        if waits and over and room >= self._need + (self.page_size < 16):
            assert YOUNGER in planned, "the next step does not use the pages that were freed"
            self.begun_with_its_pages = True
        elif waits and not over and self.scarce:
            assert YOUNGER not in planned, "there were pages without those of the solve in question"
        if plan is None:
            return
        if arriving:
            self._arrive(in_flight=True)
        results = self.runner.run(plan.step)
        self.now += STEP_SECONDS
        self._take(self.scheduler.finish(plan, results, STEP_SECONDS))

    def _take(self, events: list[CoreEvent]) -> None:
        self.events += events
        for event in events:
            if isinstance(event, BranchStarted) and event.solve == SOLVE:
                self.firsts.setdefault(event.branch, 0)
            if isinstance(event, BranchFinished) and event.solve == SOLVE:
                self.firsts[event.branch] = int(event.text.split()[0])
        self.scheduler.check_invariants()

    # What arrives

    def _arrive(self, *, in_flight: bool) -> None:
        while True:
            options = ["", *self._options(in_flight=in_flight)]
            option = options[self.choose(len(options))]
            if not option:
                return
            self.happened.append(option + " in flight" * in_flight)
            self.late += self.ended is not None
            word, _, which = option.partition(" ")
            match word:
                case "finish":
                    self.runner.ends.add((SOLVE, int(which)))
                case "pass" | "fail":
                    self.judged.add(int(which))
                    self.scheduler.judge(SOLVE, int(which), passed=word == "pass")
                    if word == "pass":
                        self._post(EndReason.CUT_OFF)
                case _:
                    self._post(INTENTS[word])

    def _options(self, *, in_flight: bool) -> list[str]:
        found: list[str] = []
        if self.ended is not None and self.late:
            return []
        finished = {event.branch for event in self._mine(BranchFinished)}
        if self.ended is None and not in_flight and self._mine(BranchStarted):
            found += [f"finish {first}" for first in (1, 2) if (SOLVE, first) not in self.runner.ends]
        verdicts = ("pass", "fail") if len(self.posted) < self.intents else ("fail",)
        found += [f"{verdict} {branch}" for branch in sorted(finished - self.judged) for verdict in verdicts]
        if len(self.posted) < self.intents:
            found += [word for word in self.words if INTENTS[word] not in self.posted]
        return found

    def _post(self, reason: EndReason) -> None:
        self.posted.append(reason)
        self.scheduler.end(SOLVE, reason)

    # What has come of it

    def _mine[E: CoreEvent](self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind) and event.solve == SOLVE]

    @property
    def ended(self) -> SolveEnded | None:
        """The end of the solve in question."""
        return next(iter(self._mine(SolveEnded)), None)

    def _began(self, solve: int) -> bool:
        return any(isinstance(event, SolveStarted) and event.solve == solve for event in self.events)

    def _check_end(self) -> None:
        for solve in (OLDER, SOLVE, YOUNGER):
            mine = [event for event in self.events if event.solve == solve]
            assert [event for event in mine if isinstance(event, SolveEnded)] == [mine[-1]], "not one end, and it last"
            started = [event.branch for event in mine if isinstance(event, BranchStarted)]
            over = [event.branch for event in mine if isinstance(event, BranchFinished | BranchCut)]
            assert sorted(over) == sorted(started), "a branch has not ended exactly once"
        ended = self.ended
        assert ended is not None
        counts = ended.counts
        assert counts.samples_started == counts.samples_finished + counts.samples_cut
        assert (ended.reason is EndReason.COMPLETE) == (counts.samples_finished == 2)
        if ended.reason is EndReason.BUDGET_ROWS:
            assert self.max_rows is not None and counts.rows >= self.max_rows
        assert ended.reason in {EndReason.COMPLETE, EndReason.BUDGET_ROWS, *self.posted[:1]}
        pool = self.scheduler.pool
        assert pool.free + pool.idle == self.pages, "pages are lost"


def orders(**settings: object) -> tuple[Counter[str], list[Order]]:
    ends: Counter[str] = Counter()
    played: list[Order] = []

    def play(choose: Callable[[int], int]) -> None:
        order = Order(choose, **settings)  # type: ignore[arg-type]
        try:
            order.play()
        except AssertionError as fault:
            raise AssertionError(f"{fault}\nafter {', '.join(order.happened)}") from fault
        assert order.ended is not None
        ends[order.ended.reason] += 1
        played.append(order)

    for _ in every_path(play):
        pass
    print(f"{ends.total()} orders: {dict(ends)}")
    return ends, played


SCARCE: dict[str, Any] = {"page_size": 16, "pages": 4, "scarce": True}
"""Four pages: one has all of the older solve, three are what the younger one needs."""
BOTH = ("cancel", "deadline")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"intents": 1, "words": tuple(INTENTS)}, id="any end"),
        pytest.param({"intents": 2, "words": BOTH}, id="two ends"),
        pytest.param({"intents": 1, "words": ("cancel",), "steps": 5}, id="later"),
        pytest.param({"intents": 1, "words": ("cancel",), "drafting": True}, id="with drafts"),
    ],
)
def test_every_order_ends_a_solve_once(settings: dict[str, Any]) -> None:
    ends, played = orders(**SCARCE, **settings)
    assert {EndReason.COMPLETE, EndReason.CUT_OFF, *(INTENTS[word] for word in settings["words"])} <= set(ends)
    assert all(order.begun_with_its_pages for order in played), "the younger solve began later than it could"


@pytest.mark.parametrize("max_rows", range(1, 6))
def test_a_budget_of_rows_among_the_ends(max_rows: int) -> None:
    ends, played = orders(**SCARCE, intents=1, words=BOTH, max_rows=max_rows)
    assert EndReason.BUDGET_ROWS in ends
    assert all(order.begun_with_its_pages for order in played), "the younger solve began later than it could"


def test_ends_of_a_solve_whose_branches_have_lost_their_pages() -> None:
    _, played = orders(page_size=1, pages=17, intents=2, words=BOTH, new=4, younger=3, ahead=6)
    lost = [order for order in played if order.ended is not None and order.ended.counts.preemptions]
    assert {order.ended.reason for order in lost if order.ended is not None} > {EndReason.CANCELLED, EndReason.DEADLINE}
    print(f"{len(lost)} of them with pages lost")


def test_ends_in_the_queue_let_the_next_begin() -> None:
    # The solve in question needs more than there is beside the older one; the younger one would find its pages.
    ends, played = orders(page_size=1, pages=16, intents=2, words=BOTH, new=4, younger=2, ahead=6)
    begun = [order for order in played if order.begun_with_its_pages]
    assert len(begun) == ends[EndReason.CANCELLED] + ends[EndReason.DEADLINE]
