"""The pace of solves: their verdicts, and the widths that they ask for."""

from dataclasses import dataclass

from engine.core.arms import ArmRates, Arms
from engine.core.passrate import PassRates, Verdicts, Weights, guessed, posterior
from engine.core.solves import Solve
from engine.core.steptime import StepTime
from engine.core.types import (
    BranchFinished,
    CoreEvent,
    CoreRequest,
    EndReason,
    Mode,
    SamplesFinished,
    WidthChosen,
    WidthHeld,
)
from engine.core.width import choose

_START_LENGTH = 80.0
_NEWEST = 0.05
_DRAWN = 1024
"""Complete solves remembered until their last verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """What else runs beside a solve: rows and the context they attend to in a step; solves, itself included."""

    rows: int
    context: float
    solves: int


class Pace:
    """Decides for one solve. A solve that is not over with its first pass is as wide as it can be."""

    __slots__ = ("_basis", "_choice", "_held", "_passed", "_samples", "_slow", "arms", "request")

    def __init__(self, request: CoreRequest, arms: Arms | None) -> None:
        self.request = request
        self.arms = arms
        self._samples: dict[int, list[int]] = {}  # finished branch -> its samples
        self._passed: dict[int, bool] = {}  # finished branch -> verdict
        self._slow: set[int] = set()  # finished branches whose verdicts take long
        self._basis: tuple[int, ...] = ()  # what ran beside it at the last choice
        self._choice: WidthChosen | None = None
        self._held = False

    @property
    def adaptive(self) -> bool:
        """Whether the width, and which arm's sample is next, are chosen here."""
        return self.request.first_pass and self.request.width is None and self.request.mode is not Mode.BEAM

    def finish(self, branch: int, samples: tuple[int, ...]) -> None:
        """A branch has finished with these samples, or they have joined it."""
        self._samples.setdefault(branch, []).extend(samples)
        if self.arms is not None and branch in self._passed:
            self.arms.judge(samples, passed=self._passed[branch])

    def judge(self, branch: int, *, passed: bool | None) -> None:
        """A finished branch was judged; None if it could not be: it says nothing then."""
        self._slow.discard(branch)
        if passed is None:
            self._samples.pop(branch, None)
        elif branch in self._samples:
            if self.arms is not None and branch not in self._passed:
                self.arms.judge(self._samples[branch], passed=passed)
            self._passed[branch] = passed

    def wait_no_more(self, branch: int) -> None:
        """The verdict on a finished branch takes long."""
        if branch in self._samples and branch not in self._passed:
            self._slow.add(branch)

    @property
    def verdicts(self) -> Verdicts:
        """Samples by verdict."""
        passed = sum(len(self._samples[branch]) for branch, verdict in self._passed.items() if verdict)
        return Verdicts(sum(len(self._samples[branch]) for branch in self._passed) - passed, passed)

    @property
    def unjudged(self) -> int:
        """Finished branches without a verdict."""
        return len(self._samples) - len(self._passed)

    def width(self, most: int) -> int:
        """Rows it should have now, at most `most`. Candidates that wait for a judge count as rows: more are no use. Not
        those whose verdicts take long, as endless programs' do: they hold up no other's."""
        if self._choice is None:
            return most if self.request.width is None else min(most, self.request.width)
        return min(most, max(1, self._choice.width - self._waiting))

    @property
    def _waiting(self) -> int:
        return max(0, self.unjudged - len(self._slow) - self.request.judges)

    def hold(self) -> WidthHeld | None:
        """Whether the judges have begun, or ceased, to hold its width down."""
        rows = 0 if self._choice is None else min(self._choice.width - 1, self._waiting)
        if bool(rows) == self._held:
            return None
        self._held = bool(rows)
        return WidthHeld(self.request.solve, rows, self.unjudged)

    def decide(
        self, prior: Weights, times: StepTime, length: float, rows: int, beside: Neighbours
    ) -> WidthChosen | None:
        """Choose again where the last choice has come to its end, as many samples having failed as it had rows, or what
        runs beside it has changed. The choice, if it is another one.

        Not with each failure: the plan knew that its samples fail one by one, and others begun beside them would only
        hold up those that are nearly complete.

        Args:
            prior: chances of passrate.RATES for any problem.
            times: of steps.
            length: expected tokens of a sample.
            rows: rows of a step at most.
            beside: what shares the steps.
        """
        verdicts, basis, before = self.verdicts, (beside.solves, beside.rows // 4), self._choice
        if before is not None and basis == self._basis and verdicts.failed - before.failed < before.width:
            return None
        self._basis = basis
        prompts = sum(len(prompt.tokens) for prompt in self.request.prompts)
        if self.request.difficulty is not None:
            prior = guessed(prior, self.request.difficulty)
        choice = choose(
            posterior(prior, verdicts),
            max(1, self.request.k - verdicts.failed - verdicts.passed),
            rows,
            lambda width: times.predict(beside.rows + width, beside.context + prompts + width * length / 2, 0),
            length,
            beside.solves,
        )
        self._choice = WidthChosen(
            solve=self.request.solve,
            width=choice.width,
            failed=verdicts.failed,
            unjudged=self.unjudged,
            pass_rate=choice.pass_rate,
            seconds=choice.seconds,
            sharing=beside.solves,
        )
        return None if before is not None and before.width == choice.width else self._choice


class Paces:
    """Those of all running solves, and what they have taught about the model: pass rates and lengths of samples."""

    def __init__(self) -> None:
        self._running: dict[int, Pace] = {}
        self._drawn: dict[int, Pace] = {}  # of complete solves that wait for verdicts
        self._rates = PassRates()
        self._arms = ArmRates()
        self._length = _START_LENGTH

    def begin(self, request: CoreRequest) -> None:
        """A solve begins."""
        self._running[request.solve] = Pace(request, self._arms.begin(request))

    def end(self, solve: int, reason: EndReason) -> None:
        """A solve draws no more. It teaches about pass rates as soon as its verdicts are there."""
        pace = self._running.pop(solve)
        if reason is EndReason.COMPLETE and pace.unjudged:
            self._drawn[solve] = pace
            if len(self._drawn) > _DRAWN:  # whoever was to judge the oldest is gone
                del self._drawn[next(iter(self._drawn))]
        else:
            self._learn(pace)

    def _learn(self, pace: Pace) -> None:
        self._rates.learn(pace.verdicts)
        if pace.arms is not None:
            self._arms.learn(pace.request, pace.arms)

    def judge(self, solve: int, branch: int, *, passed: bool | None) -> None:
        """A finished branch was judged, see Pace; unknown and forgotten solves are ignored."""
        pace = self._running.get(solve) or self._drawn.get(solve)
        if pace is None:
            return
        pace.judge(branch, passed=passed)
        if solve in self._drawn and not pace.unjudged:
            self._learn(self._drawn.pop(solve))

    def wait_no_more(self, solve: int, branch: int) -> None:
        """The verdict on a finished branch takes long, see Pace."""
        if pace := self._running.get(solve):
            pace.wait_no_more(branch)

    def note(self, events: list[CoreEvent]) -> list[CoreEvent]:
        """Keep what is needed of events; returns them."""
        for event in events:
            if isinstance(event, BranchFinished):
                self._length += _NEWEST * (event.tokens - self._length)
            if isinstance(event, BranchFinished | SamplesFinished) and event.solve in self._running:
                self._running[event.solve].finish(event.branch, event.samples)
        return events

    def take(self, solve: Solve) -> int:
        """The arm of which a solve starts its next sample: the one in order, unless another is likelier to pass."""
        pace = self._running[solve.request.solve]
        if pace.arms is None:
            return 0
        openings = solve.openings
        in_order = not pace.adaptive or (pace.request.greedy_first and not solve.counts.samples_started)
        return pace.arms.take(openings[:1] if in_order else openings)

    def width(self, solve: int, most: int) -> int:
        """Rows that a running solve should have now, at most `most`."""
        return self._running[solve].width(most)

    def decide(self, solves: list[Solve], times: StepTime, rows: int, context: float) -> list[CoreEvent]:
        """Have those solves choose whose verdicts or neighbours have changed.

        Args:
            solves: all that can draw.
            times: of steps.
            rows: rows of a step at most.
            context: tokens that all rows of the last step attended to.
        """
        events: list[CoreEvent] = []
        branches = max(1, min(rows, sum(solve.branches for solve in solves)))
        for solve in solves:
            pace = self._running[solve.request.solve]
            if pace.adaptive:
                others = branches - min(branches, solve.branches)
                beside = Neighbours(rows=others, context=context * others / branches, solves=len(solves))
                chosen = pace.decide(self._rates.prior, times, self._length, rows, beside)
                events += [event for event in (chosen, pace.hold()) if event is not None]
        return events
