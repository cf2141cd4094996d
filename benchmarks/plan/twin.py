"""A machine's twin: the engine's own scheduler over recorded texts, in made time.

What it draws are the recorded samples, again and again: the next token after a path has the chance that it had among
the samples that went that way, so branches part as they did. A step takes what `Steps` says, a program as long as it
was measured to, in one of so many sandboxes. Everything else (who is served next, how wide, what is drafted, what is
cut off) is decided by the scheduler itself, which learns as it would in the server. Drafts matter most where a mean is
of no use: a text that was drawn before is written several tokens at a time, and it is often the one that passes.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from thresher.client.plain import enum_word
from thresher.v1 import solve_pb2

from benchmarks.load.arrivals import Call, Chooser
from benchmarks.load.calls import CANCELLED, FAILED, UNFINISHED, Answer
from benchmarks.load.loads import Load, Users
from benchmarks.load.mix import Mix
from benchmarks.plan.guesses import Drafted, Guessing, TapeDrafting, drafted_by, drafted_of
from benchmarks.plan.recorded import Measured, Problem
from benchmarks.plan.steps import Steps, steps_of
from benchmarks.plan.tape import TapeRunner, prompt_of, tapes_of
from engine.core.limits import DeadlineTooClose, Limits, QueueIsFull
from engine.core.scheduler import Scheduler
from engine.core.types import (
    BranchFinished,
    CoreEvent,
    CoreRequest,
    EndReason,
    Filters,
    Prompt,
    SamplesFinished,
    SolveEnded,
    SolveStarted,
)

_PAGES, _PAGE_SIZE = 1 << 16, 16
_NEW_TOKENS = 512
_TURNS = 3
"""In which guesses are made to fit."""
_PAUSE = 1.0
"""Of a user whose call was refused, as the generator's."""


@dataclass(slots=True, eq=False)
class _Solve:
    """A call that is under way. verdicts: program -> whether it passed, None while it is judged."""

    call: Call
    sent: float
    problem: Problem
    first_pass: bool
    queued: float = 0.0
    passed: float | None = None
    drawn: bool = False
    verdicts: dict[int, bool | None] = field(default_factory=dict[int, bool | None])
    branches: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    over: bool = False


class _Scheduler(Scheduler):
    """The server's, that guesses as on a tape."""

    def __init__(self, limits: Limits, clock: Callable[[], float], guessing: Guessing, seed: int) -> None:
        super().__init__(pages=_PAGES, page_size=_PAGE_SIZE, limits=limits, clock=clock)
        self._drafting = TapeDrafting(self.step_time, guessing, seed)


class Twin:
    """Plays loads. `rows` and `waiting` as the server's engine.max_rows and limits.max_waiting; see `guessing_of`."""

    def __init__(
        self, measured: Measured, mix: Mix, *, rows: int = 64, waiting: int = 256, guessing: Guessing | None = None
    ) -> None:
        self.now = 0.0
        self.answers: list[Answer] = []
        self.steps = 0
        self.rows = 0
        self.drafted = Drafted(0, 0, 0)
        self._measured = measured
        self._mix = mix
        self._steps: Steps = steps_of(measured.windows)
        names = [(entry.name, name) for entry in mix.entries for name in entry.problems]
        self._tapes = dict(zip(names, tapes_of(measured.problem(*name) for name in names), strict=True))
        self._runner = TapeRunner(_PAGES, _PAGE_SIZE, self._tapes.values())
        limits = Limits(rows=rows, waiting=waiting)
        self._scheduler = _Scheduler(limits, lambda: self.now, guessing or Guessing(), seed=1)
        self._steps.teach(self._scheduler.step_time)
        self._draw = 0
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._live: dict[int, _Solve] = {}
        self._programs: deque[tuple[int, int]] = deque()
        self._free = measured.slots
        self._on_end: Callable[[_Solve], None] = lambda _: None

    def play(self, load: Load, seed: int, draw: int = 0, patience: float = math.inf) -> list[Answer]:
        """Put a load on, with the very calls that a load test of this seed makes, and play it to its end.

        Another `draw` draws other samples for them. Calls that have not ended `patience` seconds after the last was due
        are given up.
        """
        self._draw = draw
        chooser, last = Chooser(self._mix, seed), load.seconds
        match load:
            case Users():
                self._play_users(load, chooser)
            case _:
                calls = list(load.calls(chooser, seed + 1))
                last = calls[-1].due if calls else 0.0
                for call in calls:
                    self._at(call.due, lambda call=call: self._send(call))
        if patience < math.inf:
            self._at(last + patience, self._give_up)
        while self._advance():
            pass
        return self.answers

    def _play_users(self, load: Users, chooser: Chooser) -> None:
        def ask() -> None:
            if self.now < load.seconds:
                self._send(chooser.call(self.now))

        def again(solve: _Solve) -> None:
            failed = self.answers[-1].end == FAILED
            self._at(self.now + (max(load.think, _PAUSE) if failed else load.think), ask)

        self._on_end = again
        for _ in range(load.users):
            self._at(0.0, ask)

    def _give_up(self) -> None:
        for solve in list(self._live.values()):
            self._scheduler.end(solve.call.place, EndReason.CANCELLED)
            self._close(solve, UNFINISHED, "CANCELLED", "")

    def _at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._later, (when, next(self._order), what))

    def _advance(self) -> bool:
        """What is due, then a step if there is anything to compute. False when all is over."""
        while self._later and self._later[0][0] <= self.now:
            heapq.heappop(self._later)[2]()
        scheduler = self._scheduler
        self._take(scheduler.apply_intents())
        plan, events = scheduler.plan()
        self._take(events)
        if plan is None:
            if not self._later:
                return False
            self.now = max(self.now, self._later[0][0])
            return True
        results = self._runner.run(plan.step)
        began, seconds = self.now, self._steps.seconds(plan.rows, plan.prefill_tokens)
        self.steps += 1
        self.rows += plan.rows
        self.now += seconds
        # Verdicts that come during a step are known at its end, where the scheduler hears of them.
        while self._later and self._later[0][0] <= self.now:
            when, _, what = heapq.heappop(self._later)
            self.now, end = max(began, when), self.now
            what()
            self.now = end
        self._take(scheduler.finish(plan, results, seconds))
        return True

    # Calls

    def _send(self, call: Call) -> None:
        entry = self._mix.entries[call.entry]
        spec, name = entry.specs[call.problem], entry.problems[call.problem]
        tape = self._tapes[entry.name, name]
        first_pass = spec.return_policy != solve_pb2.RETURN_POLICY_ALL
        solve = _Solve(call, self.now, tape.problem, first_pass)
        sampling = spec.sampling
        request = CoreRequest(
            solve=call.place,
            prompts=(Prompt(prompt_of(tape), tape.stopper()),),
            k=sampling.k,
            filters=(Filters(temperature=1.0),),
            seed=call.seed + self._draw,
            max_new_tokens=max(sampling.max_new_tokens or _NEW_TOKENS, tape.longest),
            width=sampling.width if sampling.HasField("width") else None,
            interactive=spec.priority != solve_pb2.PRIORITY_BATCH,
            client=f"{entry.name}-{call.client}",
            deadline=None if entry.timeout is None else self.now + entry.timeout,
            first_pass=first_pass,
            judges=self._measured.slots,
        )
        self._live[call.place] = solve
        try:
            self._scheduler.submit(request)
        except (QueueIsFull, DeadlineTooClose) as error:
            full = isinstance(error, QueueIsFull)
            code, reason = ("RESOURCE_EXHAUSTED", "QUEUE_FULL") if full else ("DEADLINE_EXCEEDED", "DEADLINE_IN_QUEUE")
            self._close(solve, FAILED, code, reason)
            return
        if call.cancel is not None:
            self._at(max(self.now, call.due + call.cancel), lambda: self._leave(solve, EndReason.CANCELLED))
        if entry.timeout is not None:
            self._at(self.now + entry.timeout, lambda: self._leave(solve, EndReason.DEADLINE))

    def _leave(self, solve: _Solve, reason: EndReason) -> None:
        if solve.over:
            return
        self._scheduler.end(solve.call.place, reason)
        if reason is EndReason.DEADLINE:
            self._close(solve, FAILED, "DEADLINE_EXCEEDED", "DEADLINE_RUNNING")
        else:
            self._close(solve, CANCELLED, "CANCELLED", "")

    # What the scheduler says

    def _take(self, events: list[CoreEvent]) -> None:
        for event in events:
            if isinstance(event, SolveEnded):
                self.drafted = self.drafted.with_other(drafted_by(event.counts))
            solve = self._live.get(event.solve)
            if solve is None:
                continue
            match event:
                case SolveStarted():
                    solve.queued = event.queued
                case BranchFinished():
                    self._finished(solve, event.branch, int(event.text))
                case SamplesFinished():
                    pass  # of a text that is known already
                case SolveEnded():
                    solve.drawn = True
                    if event.reason is EndReason.DEADLINE:
                        self._leave(solve, EndReason.DEADLINE)
                    self._maybe_over(solve)
                case _:
                    pass

    def _finished(self, solve: _Solve, branch: int, text: int) -> None:
        program = solve.problem.texts[text].program
        solve.branches.setdefault(program, []).append(branch)
        if program not in solve.verdicts:
            solve.verdicts[program] = None
            self._programs.append((solve.call.place, program))
            self._judge()
        elif (passed := solve.verdicts[program]) is not None:
            self._scheduler.judge(solve.call.place, branch, passed=passed)

    # The sandbox

    def _judge(self) -> None:
        while self._free and self._programs:
            place, program = self._programs.popleft()
            solve = self._live.get(place)
            if solve is None or solve.over:
                continue
            self._free -= 1
            seconds = solve.problem.programs[program].seconds
            self._at(self.now + seconds, lambda solve=solve, program=program: self._judged(solve, program))

    def _judged(self, solve: _Solve, program: int) -> None:
        self._free += 1
        if not solve.over:
            passed = solve.problem.programs[program].passed
            solve.verdicts[program] = passed
            for branch in solve.branches[program]:
                self._scheduler.judge(solve.call.place, branch, passed=passed)
            if passed and solve.passed is None:
                solve.passed = self.now
                if solve.first_pass:
                    self._scheduler.end(solve.call.place, EndReason.CUT_OFF)
                    self._close(solve, "solved", "OK", "")
            self._maybe_over(solve)
        self._judge()

    def _maybe_over(self, solve: _Solve) -> None:
        if not solve.over and solve.drawn and None not in solve.verdicts.values():
            self._close(solve, "exhausted" if solve.passed is None else "solved", "OK", "")

    def _close(self, solve: _Solve, end: str, code: str, reason: str) -> None:
        solve.over = True
        del self._live[solve.call.place]
        front = self._measured.front_seconds
        entry = self._mix.entries[solve.call.entry]
        priority = entry.specs[solve.call.problem].priority or solve_pb2.PRIORITY_INTERACTIVE
        self.answers.append(
            Answer(
                id=f"twin-{solve.call.place}",
                entry=entry.name,
                problem=solve.problem.name,
                model="twin",
                priority=enum_word(solve_pb2.Priority.DESCRIPTOR, priority),
                due=solve.call.due,
                sent=solve.sent,
                ended=self.now + front,
                end=end,
                code=code,
                reason=reason,
                accepted=True,
                first_pass=None if solve.passed is None else solve.passed + front,
                accounting={"queue_time": solve.queued},
            )
        )
        self._on_end(solve)


def guessing_of(measured: Measured, mix: Mix, rows: int = 64) -> Guessing:
    """The guesses with which the measuring loads, when they are played, have as many drafts as they had."""
    had, found = drafted_of(measured.solves), Guessing(0.5, 0.5)
    if not had.drafted:
        return Guessing()
    for turn in range(_TURNS):
        played = Drafted(0, 0, 0)
        for users in sorted({solve.users for solve in measured.solves}):
            twin = Twin(measured, mix, rows=rows, guessing=found)
            twin.play(Users(users=users, think=0.0, seconds=float(measured.about["seconds"])), seed=1, draw=turn)
            played = played.with_other(twin.drafted)
        found = found.nearer(had, played)
    return found
