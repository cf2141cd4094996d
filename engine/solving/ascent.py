"""One solve's way up the tiers of a cascade.

A solve reads one inbox: events and ends of tiers, timers. Its first decision is final, as that of a plain solve: enough
passes, a spent budget, the deadline, a drain, or the last tier's end. From then on every tier that still works is cut,
and it only waits until they are gone. Whoever closes the generator early ends them all.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import structlog

from engine.core.types import EndReason
from engine.metrics import Metrics
from engine.solving.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    SolveError,
    Unavailable,
    Unsupported,
)
from engine.solving.events import CandidateJudged, EventBody, SolveEvent, TierReason, TierStarted
from engine.solving.experience import Experience, worth_drawing
from engine.solving.leg import Leg, TierBroke
from engine.solving.legs import Bell, Ended, Happening, Late, Legs
from engine.solving.merging import Merge, added
from engine.solving.purse import Purse
from engine.solving.spec import ReturnPolicy, SolveSpec
from engine.solving.stage import Policy, Stage
from engine.solving.summary import Accounting, SolveOutcome, Summary, TierCost, TierOutcome
from engine.solving.tiers import asked_of
from engine.solving.timers import GRACE_SECONDS
from engine.tracing import Span

_log = structlog.stdlib.get_logger("flight")

_REASONS = {
    TierOutcome.EXHAUSTED: TierReason.EXHAUSTED,
    TierOutcome.BUDGET: TierReason.BUDGET,
    TierOutcome.LOST: TierReason.LOST,
    TierOutcome.REFUSED: TierReason.REFUSED,
}


class Ascent:
    """Runs one solve. Read `events` to its end, or close it. `ends_at` is the deadline on time.monotonic's clock."""

    def __init__(
        self,
        spec: SolveSpec,
        stages: Sequence[Stage],
        policy: Policy,
        *,
        model: str,
        seed: int,
        most: int,
        ends_at: float | None,
        metrics: Metrics,
        span: Span | None = None,
    ) -> None:
        self.spec = spec
        self.outcome = "cancelled"  # as metrics count it, until it ends in another way
        self._stages = stages
        self._policy = policy
        self._seed = seed
        self._most = most
        self._began = time.monotonic()
        self._ends_at = ends_at
        self._metrics = metrics
        self._merge = Merge(spec, model=model, seed=seed, seconds=lambda: self.seconds)
        self._purse = Purse(spec.budget)
        self._live = Legs(spec.request_id, self._purse, ends_at, span)
        self._legs: list[Leg] = []  # all that were asked, in their order
        self._refusals: list[SolveError] = []
        self._decided: SolveOutcome | SolveError | None = None
        self._left = False  # its caller has left it before it was decided
        self._sequence = 0

    @property
    def seconds(self) -> float:
        """Since it was accepted."""
        return time.monotonic() - self._began

    @property
    def started(self) -> bool:
        """Whether a tier has accepted it."""
        return self._merge.accepted is not None

    @property
    def accounting(self) -> Accounting:
        """What it has cost so far, by the tiers that have ended."""
        return self._merge.summary(SolveOutcome.EXHAUSTED, self._costs()).accounting

    def drain(self) -> None:
        """The server stops: end it."""
        self._live.post(Bell.DRAIN)

    def leave(self) -> None:
        """Its caller wants no more of it than its account."""
        self._live.post(Bell.LEFT)

    async def events(self) -> AsyncGenerator[SolveEvent, None]:
        """All events, the summary last. Raises SolveError instead of a summary."""
        try:
            self._live.ring(Bell.DEADLINE, None if self._ends_at is None else self._ends_at - time.monotonic())
            self._live.ring(Bell.BUDGET, self._purse.seconds)
            for body in self._start(0, TierReason.FIRST):
                yield self._event(body)
            while not self._over:
                for body in self._happen(await self._live.happening()):
                    yield self._event(body)
            if isinstance(self._decided, SolveError):
                self.outcome = "deadline" if isinstance(self._decided, DeadlineExceeded) else "error"
                raise self._decided
            for body in [*self._merge.accept_at_last(), *self._merge.rest()]:
                yield self._event(body)
            outcome = self._decided or SolveOutcome.EXHAUSTED
            self.outcome = "cancelled" if self._left else outcome.value
            yield self._event(self._merge.summary(outcome, self._costs()))
        finally:
            await self._live.end_all()
            for leg in self._live:
                leg.outcome, leg.verdicts = leg.outcome or TierOutcome.CUT_OFF, self._merge.verdicts(leg)

    def _event(self, body: EventBody) -> SolveEvent:
        self._sequence += 1
        return SolveEvent(self._sequence, self.seconds, body)

    @property
    def _over(self) -> bool:
        return self._decided is not None and not self._live

    # Legs

    def _start(self, position: int, reason: TierReason, before: Leg | None = None) -> list[EventBody]:
        """Ask a tier, after or beside another one."""
        stage = self._stages[position]
        granted = self._purse.grant(stage.terms, len(self._stages) - position if self._policy.hedged else 1)
        asked = stage.terms.samples(self.spec)
        k = asked if asked is not None or self.spec.budget.given else self.spec.samples(self._most)
        drawn = self._worth(position, k)
        given = self._merge.given()
        leg = Leg(
            position=position,
            tier=self.spec.cascade.tier + position,
            name=stage.tier.name,
            spec=asked_of(
                stage.terms,
                self.spec,
                position=position,
                k=drawn,
                seed=self._seed,
                budget=granted,
                passes=max(1, self.spec.stop_after_passes - self._merge.passed),
                attempts=tuple(one.attempt for one in given),
                upstream=self._legs[-1].model if self._legs else self.spec.cascade.upstream_model,
            ),
            granted=granted,
            given=given,
            first_sample=self._merge.first_sample(),
            held_back=drawn != k,
            model=stage.tier.model,
        )
        if before is not None:
            self._metrics.escalated(before.name, leg.name, reason.value)
            told = {"tier": leg.name, "before": before.name, "reason": reason.value}
            _log.info("tier_started", request_id=self.spec.request_id, **told)
        self._legs.append(leg)
        self._live.start(leg, stage)
        if self._policy.hedged and self._policy.after is not None:
            self._live.post_later(Late(leg, hedge=True), self._policy.after)
        return self._merge.begin(leg, TierStarted(tier=leg.tier, name=leg.name, model=leg.model, reason=reason))

    def _worth(self, position: int, k: int | None) -> int | None:
        """How many of k samples a tier is to draw."""
        if not self._policy.learned:
            return k
        here, *later = (stage.experience for stage in self._stages[position:])
        most = self._most if k is None else k
        worth = worth_drawing(here, later, most)
        return k if worth == most else worth

    # Inbox

    def _happen(self, happening: Happening) -> list[EventBody]:
        match happening:
            case (leg, event):
                return self._on_event(leg, event)
            case Ended():
                return self._on_ended(happening.leg, happening.error)
            case Late(leg=leg, hedge=True):
                return self._hedge(leg, TierReason.TIME)
            case Late(leg=leg):
                if leg in self._live and leg.outcome is None:
                    self._lose(leg, "it did not end in the time that it was given")
            case Bell.GRACE:
                for leg in self._live:
                    if leg.cut.done():
                        self._live.cut(leg, at_once=True)
            case Bell.DEADLINE:
                self._decide(DeadlineExceeded(queued=not self.started))
            case Bell.BUDGET:
                self._decide(SolveOutcome.BUDGET_TIME)
            case Bell.LEFT:
                self._leave()
            case Bell.DRAIN:
                self._decide(Unavailable("DRAINING", "the server is shutting down; ask another one"))
        return []

    def _on_event(self, leg: Leg, event: SolveEvent) -> list[EventBody]:
        if leg.outcome is not None:
            return []  # it was given up, and what it had still sent counts no more
        try:
            bodies = self._merge.take(leg, event)
        except TierBroke as fault:
            self._lose(leg, f"it does not keep the protocol: {fault}")
            return []
        for body in bodies:
            if isinstance(body, CandidateJudged) and body.candidate.passed:
                self._on_pass(leg)
        if any(isinstance(body, CandidateJudged) for body in bodies) and self._unlikely(leg):
            bodies += self._hedge(leg, TierReason.CHANCE)
        return bodies

    def _on_pass(self, leg: Leg) -> None:
        if self.spec.return_policy is not ReturnPolicy.FIRST_PASS:
            return
        if self._merge.passed >= self.spec.stop_after_passes and self._decided is None:
            # It ends by itself, with its hidden tests, unless it was to find more of them.
            self._decide(SolveOutcome.SOLVED, but=leg if leg.passed >= leg.spec.stop_after_passes else None)

    def _lose(self, leg: Leg, why: str) -> None:
        """A leg is of no use any more."""
        leg.outcome, leg.detail = TierOutcome.LOST, why
        _log.warning("tier_lost", request_id=self.spec.request_id, tier=leg.name, reason=why)
        self._live.cancel(leg)

    def _on_ended(self, leg: Leg, error: Exception | None) -> list[EventBody]:
        self._live.ended(leg)
        leg.verdicts = self._merge.verdicts(leg)
        if leg.outcome is None:
            leg.outcome, leg.detail = _outcome(leg, error)
            if leg.outcome is TierOutcome.LOST:
                _log.warning("tier_lost", request_id=self.spec.request_id, tier=leg.name, reason=leg.detail)
        if leg.outcome is TierOutcome.REFUSED and isinstance(error, SolveError):
            self._refusals.append(error)
        self._purse.settle(leg.granted, leg.account)
        self._stages[leg.position].experience.learn(leg.verdicts, self._sample_cost(leg))
        bodies = self._merge.close(leg)
        if isinstance(error, DeadlineExceeded) and self._ends_at is not None and time.monotonic() >= self._ends_at:
            self._decide(error)
        return bodies if self._decided is not None else [*bodies, *self._go_on(leg)]

    def _sample_cost(self, leg: Leg) -> float | None:
        """What a sample cost, in money where all tiers have a price, else in seconds; None if that is not known."""
        account = leg.account
        if leg.summary is None or not account.samples_finished:
            return None
        if all(stage.terms.price is not None for stage in self._stages):
            whole = self._stages[leg.position].terms.cost_of(account.generated_tokens) or 0.0
        else:
            whole = account.generation_time
        return whole / account.samples_finished

    # What comes next

    def _go_on(self, leg: Leg) -> list[EventBody]:
        """A leg has ended, and the solve is not decided: the same tier again, the next one, or the end."""
        highest = self._legs[-1].position
        spent = self._purse.spent
        if self.spec.return_policy is not ReturnPolicy.FIRST_PASS and self._merge.passed:
            self._decide(SolveOutcome.SOLVED)
            return []
        if leg.outcome is TierOutcome.LOST and spent is None and self._tries_left(leg):
            return self._start(leg.position, TierReason.LOST, leg)
        if leg.position == highest and highest + 1 < len(self._stages) and spent is None:
            return self._start(highest + 1, self._why(leg), leg)
        if not self._live:
            self._decide(self._unsolved(spent))
        return []

    def _tries_left(self, leg: Leg) -> bool:
        tier = self._stages[leg.position].tier
        return sum(one.position == leg.position for one in self._legs) < tier.tries

    def _why(self, leg: Leg) -> TierReason:
        outcome = leg.outcome or TierOutcome.EXHAUSTED
        if outcome is TierOutcome.EXHAUSTED and leg.held_back:
            return TierReason.GAVE_UP
        return _REASONS.get(outcome, TierReason.EXHAUSTED)

    def _hedge(self, leg: Leg, reason: TierReason) -> list[EventBody]:
        """Start the next tier beside a leg, if that is the last one that was asked."""
        last = leg is self._legs[-1] and leg.position + 1 < len(self._stages)
        if not last or self._decided is not None or leg not in self._live or self._purse.spent is not None:
            return []
        return self._start(leg.position + 1, reason, leg)

    def _unlikely(self, leg: Leg) -> bool:
        """Whether the next tier should start beside this one, in view of its verdicts."""
        below, k = self._policy.below, leg.spec.sampling.k
        if not self._policy.hedged or below is None or k is None:
            return False
        verdicts = self._merge.verdicts(leg)
        # Fixed thresholds are reproducible only if the chances are: then nothing that was learned counts.
        rates = self._stages[leg.position].experience if self._policy.learned else Experience()
        return rates.still_solves(verdicts.failed, max(0, k - verdicts.failed - verdicts.passed)) < below

    def _unsolved(self, spent: SolveOutcome | None) -> SolveOutcome | SolveError:
        """The answer where not enough has passed: what the last tier says that did not refuse the request."""
        if spent is not None:
            return spent
        asked = [leg for leg in self._legs if leg.outcome is not TierOutcome.REFUSED]
        if not asked:
            return self._refusals[0]
        last = max(asked, key=lambda leg: leg.position)
        if last.outcome is TierOutcome.LOST or last.summary is None:
            told = "; ".join(f"tier {leg.name}: {leg.detail}" for leg in self._legs if leg.detail)
            return Unavailable("TIER_LOST", f"nothing has passed, and the last tier could not be asked ({told})")
        # A tier that has what it was to find has not what all of them together were to find.
        return SolveOutcome.EXHAUSTED if last.summary.outcome is SolveOutcome.SOLVED else last.summary.outcome

    def _decide(self, decision: SolveOutcome | SolveError, *, but: Leg | None = None) -> None:
        """The first decision wins: every leg that still runs is cut, `but` one that ends by itself."""
        if self._decided is not None:
            if isinstance(decision, SolveError) or decision is SolveOutcome.BUDGET_TIME:
                # Decided already: hidden tests that still run have had their time.
                for leg in self._live:
                    self._live.cut(leg, at_once=True)
            return
        self._decided = decision
        failed = isinstance(decision, SolveError)
        for leg in self._live:
            if leg is not but:
                self._live.cut(leg, at_once=failed)
        if self._live:
            self._live.post_later(Bell.GRACE, GRACE_SECONDS)

    def _leave(self) -> None:
        """End it, each tier with its account."""
        if self._decided is None:
            passed = self.spec.return_policy is not ReturnPolicy.FIRST_PASS and self._merge.passed
            self._decided, self._left = SolveOutcome.SOLVED if passed else SolveOutcome.EXHAUSTED, not passed
        for leg in self._live:
            self._live.cut(leg, EndReason.CANCELLED)
        if self._live:
            self._live.post_later(Bell.GRACE, GRACE_SECONDS)

    def _costs(self) -> list[TierCost]:
        """One line for each tier that was asked and has ended, however often it was asked."""
        lines: dict[int, TierCost] = {}
        for leg in self._legs:
            if leg.outcome is None:
                continue
            line, before = leg.cost(self._stages[leg.position].terms), lines.get(leg.tier)
            lines[leg.tier] = line if before is None else _together(before, line)
        return list(lines.values())


def _together(before: TierCost, again: TierCost) -> TierCost:
    """A tier that was asked twice: what became of it is what became of it last."""
    return replace(
        again,
        accounting=added((before.accounting, again.accounting)),
        price=None if again.price is None or before.price is None else before.price + again.price,
        partial=before.partial or again.partial,
        detail=again.detail or before.detail,
    )


def _outcome(leg: Leg, error: Exception | None) -> tuple[TierOutcome, str]:
    """What became of a leg that has ended by itself, and in words if that was not well."""
    match leg.summary, error:
        case Summary(outcome=SolveOutcome.SOLVED), _:
            return TierOutcome.SOLVED, ""
        case _ if leg.cut.done():
            return TierOutcome.CUT_OFF, ""
        case Summary(outcome=SolveOutcome.EXHAUSTED), _:
            return TierOutcome.EXHAUSTED, ""
        case Summary(), _:
            return TierOutcome.BUDGET, ""
        case None, InvalidRequest() | Unsupported() | ModelNotFound() | DeadlineExceeded():
            return TierOutcome.REFUSED, str(error)
        case None, _:
            return TierOutcome.LOST, "it ended without a summary" if error is None else str(error)
