"""What a solve gives back: which candidates, in which order, and what to tell a router above."""

from collections.abc import Sequence, Sized
from typing import Protocol

from engine.core.types import Mode
from engine.solving.errors import Unavailable
from engine.solving.spec import HeldTest, Prune, ReturnPolicy, SolveSpec
from engine.solving.summary import Accounting, CandidateSource, Escalation, SolveOutcome
from executor.verdict import Report, Verdict


class Written(Protocol):
    """A program in the making or as it was told, with its samples and its verdicts."""

    @property
    def index(self) -> int: ...
    @property
    def source(self) -> CandidateSource: ...
    @property
    def samples(self) -> Sized: ...
    @property
    def mean_logprob(self) -> float | None: ...
    @property
    def report(self) -> Report | None: ...
    @property
    def held_out(self) -> Report | None: ...
    @property
    def passed(self) -> bool: ...


def score(report: Report | None, tests: tuple[HeldTest, ...]) -> float:
    """Weighted share of the visible tests that passed, 0 to 1."""
    weights = [held.test.weight for held in tests if not held.hidden]
    if report is None or not sum(weights):
        return 0.0
    passed = sum(weights[test.index] for test in report.tests if test.verdict is Verdict.PASSED)
    return passed / sum(weights)


def chosen[W: Written](entries: Sequence[W], policy: ReturnPolicy, tests: tuple[HeldTest, ...]) -> list[W]:
    """The candidates of the summary.

    FIRST_PASS: those that passed. ALL: all, as they finished. BEST: all, by share of tests passed, then by mean
    log-probability.
    """
    match policy:
        case ReturnPolicy.FIRST_PASS:
            return [entry for entry in entries if entry.passed]
        case ReturnPolicy.ALL:
            return list(entries)
        case ReturnPolicy.BEST:
            return sorted(entries, key=lambda entry: (-score(entry.report, tests), *_likely(entry), entry.index))


def _drawn(entry: Written) -> int:
    """How often the program was written."""
    return len(entry.samples) + (entry.source is CandidateSource.PRIOR_ATTEMPT)


def _likely(entry: Written) -> tuple[bool, float]:
    """Most likely first, and before those of which nobody said how likely they are."""
    return entry.mean_logprob is None, -(entry.mean_logprob or 0.0)


def sandbox_error(entries: Sequence[Written]) -> Unavailable | None:
    """Where the sandbox has failed, "nothing passed" is not an answer."""
    failed = [e.report for e in entries if e.report is not None and e.report.verdict is Verdict.SANDBOX_FAILURE]
    if not failed or any(entry.passed for entry in entries):
        return None
    told = f"the sandbox failed for {len(failed)} of {len(entries)} candidates: {failed[0].detail}"
    return Unavailable("SANDBOX_UNAVAILABLE", told)


def expected_draws(spec: SolveSpec, cost: Accounting, entries: Sequence[Written]) -> float | None:
    """Draws until the first pass, on average over all orders of n samples of which c passed: (n + 1) / (c + 1).

    None where the samples are not the whole of k independent draws, each judged: a pass or a budget has ended them,
    or they were not drawn alike. None, too, where none passed.
    """
    sampling = spec.sampling
    alike = sampling.mode is Mode.INDEPENDENT and sampling.prune is Prune.NONE and not sampling.distinct_programs
    mixed = sampling.greedy_first or len(sampling.temperatures) > 1 or bool(spec.variants)
    whole = cost.samples_finished == cost.samples_requested and not any(map(_unjudged, entries))
    if spec.return_policy is ReturnPolicy.FIRST_PASS or mixed or not (alike and whole and cost.samples_passed):
        return None
    return (cost.samples_finished + 1) / (cost.samples_passed + 1)


def _unjudged(entry: Written) -> bool:
    return entry.report is None or entry.report.verdict in (Verdict.SKIPPED, Verdict.SANDBOX_FAILURE)


def advise(outcome: SolveOutcome, entries: Sequence[Written]) -> Escalation:
    """Whether another tier is worth asking.

    The confidence that the best candidate is right is the share of held-out tests that it passed; without such tests
    the share of finished samples and prior attempts whose program passed, by Laplace's rule of succession; 0 if nothing
    passed.
    """
    passed = [entry for entry in entries if entry.passed]
    if not passed:
        judged = sum(1 for entry in entries if entry.report is not None)
        return Escalation(recommended=True, confidence=0.0, reason=f"none of {judged} judged candidates passed")
    told = [entry.held_out for entry in passed if entry.held_out is not None]
    # A failure of the sandbox says nothing about a program.
    held_out = [report for report in told if report.verdict is not Verdict.SANDBOX_FAILURE]
    if held_out:
        best = max(held_out, key=lambda report: report.tests_passed)
        share = best.tests_passed / best.tests_total
        told = f"{best.tests_passed} of {best.tests_total} held-out tests passed"
        return Escalation(recommended=best.verdict is not Verdict.PASSED, confidence=share, reason=told)
    finished, right = (sum(map(_drawn, some)) for some in (entries, passed))
    share = (right + 1) / (finished + 2)
    kinds = "samples" if all(entry.source is CandidateSource.SAMPLED for entry in entries) else "samples and attempts"
    told = f"{right} of {finished} finished {kinds} passed"
    return Escalation(recommended=outcome is not SolveOutcome.SOLVED, confidence=share, reason=told)
