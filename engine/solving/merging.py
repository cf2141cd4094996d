"""The events of several tiers as those of one solve.

Branches, samples and candidates get numbers of the merged stream: those of the first tier keep their own, each later
one's samples follow those of the tiers before it. A program that a tier was given, and that was in the stream already,
is not told of again: a sample that draws it joins it. Programs that a tier has finished and not judged, because its
part was over, are judged by the next one; only at the end of all is such a program told as skipped.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace

from engine.core.passrate import Verdicts
from engine.solving import policy
from engine.solving.events import (
    Accepted,
    BranchDelta,
    BranchEnded,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    EventBody,
    SamplesJoined,
    SolveEvent,
    TestFinished,
    TierStarted,
)
from engine.solving.leg import Given, Leg, TierBroke
from engine.solving.spec import PriorAttempt, SolveSpec
from engine.solving.summary import Accounting, Candidate, CandidateSource, SolveOutcome, Summary, TierCost
from engine.text.normalise import program_key
from executor.verdict import LoweredLimit, Report, Verdict

_MOST_GIVEN = 256
"""Programs that a tier is given at most, those that passed the most tests: servers take no more unless told to."""
_NOT_JUDGED = (Verdict.SKIPPED, Verdict.SANDBOX_FAILURE)


@dataclass(slots=True)
class Merged:
    """A candidate of the merged stream. `told`: its verdict has been told, and stands.

    `candidate` is there once a tier has shown its text; of a program whose tier was lost before that nothing else is
    known than that it `finished`.
    """

    index: int
    tier: int
    model: str
    finished: CandidateFinished
    source: CandidateSource
    code: str = ""
    candidate: Candidate | None = None
    told: bool = False
    tests_told: set[int] = field(default_factory=set[int])
    samples: dict[int, float] = field(default_factory=dict[int, float])
    """Sample of the merged stream -> log-probability of its text."""

    @property
    def passed(self) -> bool:
        """Whether it passed all visible tests."""
        return self.told and self.candidate is not None and self.candidate.passed

    @property
    def failed(self) -> bool:
        """Whether it was judged and did not pass."""
        report = None if self.candidate is None else self.candidate.report
        return self.told and report is not None and report.verdict not in (Verdict.PASSED, *_NOT_JUDGED)

    def public(self, tests: int) -> Candidate:
        """As it is told to the caller; without a verdict it was skipped."""
        samples = tuple(sorted(self.samples))
        found = self.candidate or Candidate(
            index=self.index,
            code=self.code,
            finish_reason=self.finished.finish_reason,
            generated_tokens=self.finished.generated_tokens,
            samples=(),
            model=self.model,
            source=self.source,
            report=Report(verdict=Verdict.SKIPPED, tests_total=tests),
        )
        return replace(
            found,
            index=self.index,
            tier=self.tier,
            samples=samples,
            sample_logprobs=tuple(self.samples[sample] for sample in samples),
        )


class Merge:
    """The merged stream of one request. `seconds` tells the time since it was accepted."""

    def __init__(self, spec: SolveSpec, *, model: str, seed: int, seconds: Callable[[], float]) -> None:
        self.spec = spec
        self.candidates: list[Merged] = []
        self.accepted: Accepted | None = None
        self._first_pass: tuple[float, int] | None = None  # when, and how many had been judged then
        self._judged = 0
        self._model = model
        self._seed = seed
        self._seconds = seconds
        self._visible = sum(not held.hidden for held in spec.tests)
        self._waiting: list[EventBody] = []  # for the first tier that accepts
        self._branches = 0
        self._samples = 0
        self._lowered: dict[LoweredLimit, None] = {}

    # Before and after a leg

    def given(self) -> list[Given]:
        """Programs for the next tier, each once: those that failed, those that nobody has judged, and the caller's."""
        found: dict[bytes, Given] = {}
        for merged in self.candidates:
            if not merged.code or not (merged.failed or not merged.told):
                continue
            known = merged.candidate
            attempt = PriorAttempt(
                code=merged.code,
                report=known.report if known is not None and merged.failed else None,
                mean_logprob=None if known is None else known.mean_logprob,
            )
            found.setdefault(program_key(merged.code), Given(attempt, merged.index))
        for attempt in self.spec.cascade.attempts:
            found.setdefault(program_key(attempt.code), Given(attempt))
        return _best(list(found.values()))

    def first_sample(self) -> int:
        """What sample 0 of the next leg is in the merged stream."""
        return self._samples

    def begin(self, leg: Leg, started: TierStarted) -> list[EventBody]:
        """A tier is asked."""
        self._samples += leg.room
        return self._told([started])

    def close(self, leg: Leg) -> list[EventBody]:
        """A leg is over: ends of branches that it has not told itself."""
        return self._branch_bodies(list(leg.live_branches()))

    def rest(self) -> list[EventBody]:
        """No tier will judge any more: what has no verdict is told as skipped."""
        bodies: list[EventBody] = []
        for merged in self.candidates:
            if not merged.told:
                merged.told = True
                bodies.append(CandidateJudged(candidate=merged.public(self._visible)))
        return bodies

    # Events

    def take(self, leg: Leg, event: SolveEvent) -> list[EventBody]:
        """What an event of a leg is in the merged stream. Raises TierBroke for one that no solve could have."""
        body = event.body
        leg.take_sequence(event.sequence, first=isinstance(body, Accepted))
        match body:
            case Accepted():
                return self._on_accepted(leg, body)
            case TierStarted():
                return []  # a tier that is a cascade of its own is one tier here
            case BranchStarted():
                samples = leg.samples(body.samples)
                number, self._branches = self._branches, self._branches + 1
                parent = leg.start_branch(body, number)
                started = replace(body, branch=number, parent=parent, samples=samples, tier=leg.tier)
                return self._branch_bodies([started])
            case BranchDelta():
                return [replace(body, branch=leg.grow_branch(body))] if self.spec.events.token_deltas else []
            case BranchEnded():
                return self._on_branch_ended(leg, body)
            case CandidateFinished():
                return self._on_finished(leg, body)
            case TestFinished():
                merged = self.candidates[leg.candidate(body.index)]
                if not self.spec.events.test_results or body.result.index in merged.tests_told or merged.told:
                    return []
                merged.tests_told.add(body.result.index)
                return [replace(body, index=merged.index)]
            case CandidateJudged():
                return self._on_judged(leg, body.candidate)
            case SamplesJoined():
                return self._on_joined(leg, body)
            case Summary():
                self._on_summary(leg, body)
                return []

    def _told(self, bodies: list[EventBody]) -> list[EventBody]:
        """The same, but nothing before Accepted."""
        if self.accepted is not None:
            return bodies
        self._waiting += bodies
        return []

    def _branch_bodies(self, bodies: Sequence[BranchStarted | BranchEnded]) -> list[EventBody]:
        return list(bodies) if self.spec.events.branches else []

    def _on_accepted(self, leg: Leg, body: Accepted) -> list[EventBody]:
        leg.accepted, leg.model = True, body.model
        return [] if self.accepted is not None else self._accept(body.queue_depth, body.prompt_tokens)

    def accept_at_last(self) -> list[EventBody]:
        """A solve that ends well has been accepted, also where no tier has come to it in time."""
        return [] if self.accepted is not None else self._accept(0, 0)

    def _accept(self, queue_depth: int, prompt_tokens: int) -> list[EventBody]:
        self.accepted = Accepted(
            request_id=self.spec.request_id,
            model=self._model,
            queue_depth=queue_depth,
            prompt_tokens=prompt_tokens,
            seed=self._seed,
        )
        waiting, self._waiting = self._waiting, []
        return [self.accepted, *waiting]

    def _on_branch_ended(self, leg: Leg, body: BranchEnded) -> list[EventBody]:
        if body.candidate is not None and body.candidate not in leg.candidates:
            # What the candidate's number is here, its own event decides, which is the next one of this tier.
            if leg.unfinished is not None:
                raise TierBroke(f"candidate {leg.unfinished.candidate} of a branch never finished")
            leg.unfinished = body
            return []
        made = None if body.candidate is None else leg.candidates[body.candidate]
        return self._branch_bodies([replace(body, branch=leg.end_branch(body), candidate=made)])

    def _on_finished(self, leg: Leg, body: CandidateFinished) -> list[EventBody]:
        if body.index != len(leg.candidates):
            raise TierBroke(f"candidate {body.index} finished after {len(leg.candidates)} candidates")
        given = leg.given[body.index] if body.index < len(leg.given) else None
        if (given is not None) != (not body.samples):
            raise TierBroke(f"candidate {body.index} is a prior attempt to one side alone")
        samples = leg.samples(body.samples)
        branch = None if body.branch is None else leg.branch(body.branch)
        if given is not None and given.index is not None:
            leg.finish(body, given.index)
            leg.known += 1
            return []
        merged = Merged(
            index=len(self.candidates),
            tier=leg.tier if given is None else self.spec.cascade.tier,
            model=leg.model if given is None else self.spec.cascade.upstream_model,
            finished=replace(body, index=len(self.candidates), branch=branch, samples=samples),
            source=CandidateSource.SAMPLED if given is None else CandidateSource.PRIOR_ATTEMPT,
            code="" if given is None else given.attempt.code,
            samples=dict.fromkeys(samples, math.nan),
        )
        if given is not None:
            given.index = merged.index
        self.candidates.append(merged)
        leg.finish(body, merged.index)
        leg.join(merged.index, body.samples)
        ended, leg.unfinished = leg.unfinished, None
        return [*([] if ended is None else self._on_branch_ended(leg, ended)), merged.finished]

    def _on_judged(self, leg: Leg, candidate: Candidate) -> list[EventBody]:
        index = leg.candidate(candidate.index)
        merged, report = self.candidates[index], candidate.report
        if report is None or candidate.index in leg.judged:
            raise TierBroke(f"candidate {candidate.index} was judged twice, or without a report")
        leg.judged.add(candidate.index)
        if merged.code and merged.code != candidate.code:
            raise TierBroke(f"candidate {candidate.index} is not the program that it was given")
        before = merged.candidate
        own = dict(zip(leg.samples(candidate.samples), candidate.sample_logprobs, strict=False))
        if not own.keys() <= merged.samples.keys() or len(own) != len(candidate.samples):
            raise TierBroke(f"candidate {candidate.index} has samples that never drew it")
        merged.code = candidate.code
        merged.samples |= own
        if merged.told:
            return []
        if before is None:
            merged.candidate = replace(candidate, source=merged.source, index=index)
        else:
            merged.candidate = replace(before, report=report, held_out=candidate.held_out)
        if report.verdict is Verdict.SKIPPED:
            return []  # the next tier may judge it
        merged.told = True
        given = leg.given[candidate.index].attempt if candidate.index < len(leg.given) else None
        leg.executed += given is None or given.report is None
        leg.passed += merged.passed
        self._judged += report.verdict not in _NOT_JUDGED
        if merged.passed and self._first_pass is None:
            self._first_pass = self._seconds(), self._judged
        return [CandidateJudged(candidate=merged.public(self._visible))]

    def _on_joined(self, leg: Leg, body: SamplesJoined) -> list[EventBody]:
        merged = self.candidates[leg.candidate(body.index)]
        if len(body.samples) != len(body.sample_logprobs):
            raise TierBroke("samples joined without their log-probabilities")
        samples = leg.samples(body.samples)
        leg.join(merged.index, body.samples)
        merged.samples |= dict(zip(samples, body.sample_logprobs, strict=True))
        return [replace(body, index=merged.index, samples=samples)]

    def _on_summary(self, leg: Leg, summary: Summary) -> None:
        leg.summary = summary
        self._lowered |= dict.fromkeys(summary.lowered_limits)
        for candidate in summary.candidates:
            merged = self.candidates[leg.candidate(candidate.index)]
            if candidate.held_out is not None and merged.candidate is not None:
                merged.candidate = replace(merged.candidate, held_out=candidate.held_out)

    # The end

    @property
    def passed(self) -> int:
        """Candidates that have passed."""
        return sum(merged.passed for merged in self.candidates)

    def verdicts(self, leg: Leg) -> Verdicts:
        """The samples of a leg by verdict, as far as their programs have one."""
        failed = passed = 0
        for index, samples in leg.samples_of.items():
            merged = self.candidates[index]
            if merged.passed:
                passed += len(samples)
            elif merged.failed:
                failed += len(samples)
        return Verdicts(failed, passed)

    def summary(self, outcome: SolveOutcome, tiers: Sequence[TierCost]) -> Summary:
        """The last event, after `rest`."""
        entries = [merged.public(self._visible) for merged in self.candidates]
        total = added(tier.accounting for tier in tiers)
        if self._first_pass is not None:
            total.time_to_first_pass, total.candidates_to_first_pass = self._first_pass
        return Summary(
            outcome=outcome,
            candidates=tuple(policy.chosen(entries, self.spec.return_policy, self.spec.tests)),
            accounting=total,
            escalation=policy.advise(outcome, entries),
            seed=self._seed,
            tiers=tuple(tiers),
            lowered_limits=tuple(self._lowered),
        )


_OF_ONE_SOLVE = ("time_to_first_pass", "candidates_to_first_pass")


def added(accounts: Iterable[Accounting]) -> Accounting:
    """The sum of accounts, but for what is not a sum: when the first program passed."""
    accounts = tuple(accounts)
    names = [one.name for one in fields(Accounting) if one.name not in _OF_ONE_SOLVE]
    return Accounting(**{name: sum(getattr(account, name) for account in accounts) for name in names})


def _best(given: list[Given]) -> list[Given]:
    """As many as a tier is given at most: those without a verdict, then those that passed the most tests."""
    if len(given) <= _MOST_GIVEN:
        return given

    def worth(one: Given) -> float:
        report = one.attempt.report
        return float("inf") if report is None else report.tests_passed

    return sorted(given, key=worth, reverse=True)[:_MOST_GIVEN]
