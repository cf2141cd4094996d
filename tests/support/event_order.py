"""The contract of a solve's event stream, checked event by event. For scripted solves and for the real server alike.

A stream that tells of tiers is that of a cascade, and keeps the contract of one solve all the same: its k holds for
each tier that is asked, its candidates and branches name their tiers, and the accounts of the tiers add up to its own.
"""

from collections.abc import Iterable

import grpc
from thresher.v1 import solve_pb2, verdict_pb2


class EventOrderError(AssertionError):
    """The stream broke the contract."""


class EventOrderChecker:
    """Feed it every event of one stream with `see`, then its status with `end`. Raises EventOrderError."""

    def __init__(self, spec: solve_pb2.SolveSpec) -> None:
        self._spec = spec
        self._visible = {index for index, test in enumerate(spec.problem.tests) if not test.hidden}
        self._last_sequence = 0
        self._last_elapsed = 0
        self._accepted: solve_pb2.Accepted | None = None
        self._summary: solve_pb2.Summary | None = None
        self._branches: dict[int, bool] = {}  # branch -> ended
        self._named_by_branches: set[int] = set()
        self._samples: dict[int, set[int]] = {}  # finished candidate -> samples
        self._attempts: set[int] = set()  # candidates that were prior attempts
        self._tests_seen: dict[int, set[int]] = {}
        self._judged: dict[int, solve_pb2.Candidate] = {}
        self.tiers: list[solve_pb2.TierStarted] = []  # as they were asked

    @property
    def summary(self) -> solve_pb2.Summary:
        """The summary of a stream that ended well."""
        _require(self._summary is not None, "there is no summary")
        assert self._summary is not None
        return self._summary

    def see(self, event: solve_pb2.SolveEvent) -> None:
        """One event."""
        _require(self._summary is None, "an event follows the summary")
        _require(event.sequence == self._last_sequence + 1, f"sequence {event.sequence} after {self._last_sequence}")
        elapsed = event.elapsed.ToNanoseconds()
        _require(elapsed >= self._last_elapsed, "elapsed went back")
        self._last_sequence, self._last_elapsed = event.sequence, elapsed
        kind = event.WhichOneof("event")
        _require(kind is not None, "an event without a body")
        assert kind is not None
        _require((kind == "accepted") == (event.sequence == 1), f"{kind} at sequence {event.sequence}")
        getattr(self, f"_see_{kind}")(getattr(event, kind))

    def end(self, code: grpc.StatusCode) -> None:
        """The stream is over."""
        ended_well = code is grpc.StatusCode.OK
        _require(
            (self._summary is not None) == ended_well, f"status {code.name} with summary={self._summary is not None}"
        )
        if self._summary is not None:
            self._check_summary(self._summary)

    def _see_accepted(self, accepted: solve_pb2.Accepted) -> None:
        _require(bool(accepted.request_id), "accepted without a request id")
        wanted = self._spec.request_id
        _require(not wanted or accepted.request_id == wanted, "accepted with another request id")
        _require(accepted.model.startswith("models/"), "accepted without a model")
        self._accepted = accepted

    def _see_tier_started(self, started: solve_pb2.TierStarted) -> None:
        base, reason = self._spec.cascade.tier, started.reason
        _require(bool(started.name), "a tier without a name")
        _require(reason != solve_pb2.TIER_REASON_UNSPECIFIED, "a tier that was asked without a reason")
        _require((reason == solve_pb2.TIER_REASON_FIRST) == (not self.tiers), "the first tier is not the first")
        asked = {tier.tier for tier in self.tiers}
        again = reason == solve_pb2.TIER_REASON_LOST and started.tier in asked
        _require(again or started.tier == max(asked, default=base - 1) + 1, f"tier {started.tier} is out of turn")
        self.tiers.append(started)

    def _require_tier(self, tier: int, what: str) -> None:
        known = {one.tier for one in self.tiers} or {self._spec.cascade.tier}
        _require(tier in known, f"{what} of tier {tier}, which was not asked")

    def _see_branch_started(self, started: solve_pb2.BranchStarted) -> None:
        self._require_tier(started.tier, f"branch {started.branch}")
        _require(self._spec.events.branches, "a branch event nobody asked for")
        _require(started.branch not in self._branches, f"branch {started.branch} started twice")
        if started.HasField("parent"):
            _require(
                started.parent in self._branches, f"branch {started.branch} has the unknown parent {started.parent}"
            )
        _require(bool(started.samples), f"branch {started.branch} carries no sample")
        self._require_samples(started.samples)
        self._branches[started.branch] = False

    def _see_branch_delta(self, delta: solve_pb2.BranchDelta) -> None:
        _require(self._spec.events.token_deltas, "a delta nobody asked for")
        if self._spec.events.branches:
            _require(self._branches.get(delta.branch) is False, f"a delta of branch {delta.branch}, which is not live")

    def _see_branch_ended(self, ended: solve_pb2.BranchEnded) -> None:
        _require(self._spec.events.branches, "a branch event nobody asked for")
        _require(self._branches.get(ended.branch) is False, f"branch {ended.branch} ended, but was not live")
        _require(
            ended.outcome != solve_pb2.BRANCH_OUTCOME_UNSPECIFIED, f"branch {ended.branch} ended without an outcome"
        )
        self._branches[ended.branch] = True
        made = (solve_pb2.BRANCH_OUTCOME_FINISHED, solve_pb2.BRANCH_OUTCOME_DUPLICATE)
        _require(
            ended.HasField("candidate") == (ended.outcome in made),
            f"branch {ended.branch} with a candidate it cannot have made, or without the one it made",
        )
        if ended.HasField("candidate"):
            self._named_by_branches.add(ended.candidate)

    def _see_candidate_finished(self, finished: solve_pb2.CandidateFinished) -> None:
        _require(finished.index not in self._samples, f"candidate {finished.index} finished twice")
        if finished.index < len(self._spec.cascade.prior_attempts) and not finished.samples:
            _require(not finished.HasField("branch"), "a prior attempt of a branch")
            _require(finished.finish_reason == solve_pb2.FINISH_REASON_UNSPECIFIED, "a prior attempt that was drawn")
            _require(not self._branches or len(self.tiers) > 1, "a prior attempt after the first draw")
            self._attempts.add(finished.index)
            self._samples[finished.index] = set()
            return
        _require(finished.finish_reason != solve_pb2.FINISH_REASON_UNSPECIFIED, "finished without a reason")
        if finished.HasField("branch") and self._spec.events.branches:
            _require(finished.branch in self._branches, f"candidate {finished.index} of an unknown branch")
        _require(bool(finished.samples), f"candidate {finished.index} was drawn by no sample")
        self._samples[finished.index] = set()
        self._join(finished.index, finished.samples)

    def _see_samples_joined(self, joined: solve_pb2.SamplesJoined) -> None:
        _require(joined.index in self._samples, f"samples joined candidate {joined.index} before it finished")
        _require(bool(joined.samples), "nobody joined")
        _require(len(joined.sample_logprobs) == len(joined.samples), "a sample joined without its log-probability")
        self._join(joined.index, joined.samples)

    def _see_test_finished(self, finished: solve_pb2.TestFinished) -> None:
        _require(self._spec.events.test_results, "a test result nobody asked for")
        self._require_live(finished.index, "a test of")
        seen = self._tests_seen.setdefault(finished.index, set())
        test = finished.result.test_index
        _require(test in self._visible, f"a result of test {test}, which is no visible test")
        _require(test not in seen, f"test {test} of candidate {finished.index} finished twice")
        _require(finished.result.verdict != verdict_pb2.VERDICT_UNSPECIFIED, "a test without a verdict")
        seen.add(test)

    def _see_candidate_judged(self, judged: solve_pb2.CandidateJudged) -> None:
        candidate = judged.candidate
        self._require_live(candidate.index, "a verdict on")
        _require(candidate.report.verdict != verdict_pb2.VERDICT_UNSPECIFIED, "a candidate without a verdict")
        _require(set(candidate.samples) <= self._samples[candidate.index], "a candidate of samples that never drew it")
        _require(len(candidate.sample_logprobs) == len(candidate.samples), "a sample without its log-probability")
        prior = candidate.source == solve_pb2.CANDIDATE_SOURCE_PRIOR_ATTEMPT
        _require(prior == (candidate.index in self._attempts), f"candidate {candidate.index} has another source")
        self._require_tier(candidate.tier, f"candidate {candidate.index}")
        self._judged[candidate.index] = candidate

    def _see_summary(self, summary: solve_pb2.Summary) -> None:
        self._summary = summary

    def _check_summary(self, summary: solve_pb2.Summary) -> None:
        live = [branch for branch, ended in self._branches.items() if not ended]
        _require(not live, f"branches {live} never ended")
        unjudged = self._samples.keys() - self._judged.keys()
        _require(not unjudged, f"candidates {unjudged} were never judged")
        _require(self._named_by_branches <= self._samples.keys(), "a branch names a candidate that never finished")
        assert self._accepted is not None
        _require(summary.seed == self._accepted.seed, "the seed changed")
        cost = summary.accounting
        _require(cost.samples_passed <= cost.samples_finished, "more samples passed than finished")
        _require(
            cost.samples_finished + cost.samples_pruned + cost.samples_cut_off == cost.samples_started,
            "the samples that ended are not those that started",
        )
        if not self._finds_k:
            _require(cost.samples_started <= cost.samples_requested, "more samples started than requested")
        _require(cost.accepted_draft_tokens <= cost.drafted_tokens <= cost.rows_computed, "drafts are off")
        if self._spec.sampling.HasField("k") and not self.tiers:
            _require(cost.samples_requested == self._spec.sampling.k, "samples_requested is not k")
        self._check_tiers(summary)
        _require(sum(map(len, self._samples.values())) <= cost.samples_finished, "candidates of unfinished samples")
        _require(cost.candidates_finished == len(self._samples), "candidates_finished is not what the stream showed")
        _require(cost.candidates_passed <= cost.candidates_executed <= cost.candidates_finished, "executed is off")
        passed = {index for index, one in self._judged.items() if one.report.verdict == verdict_pb2.VERDICT_PASSED}
        _require(cost.candidates_passed == len(passed), "candidates_passed is not what the stream showed")
        _require(
            cost.HasField("time_to_first_pass") == bool(passed), "time_to_first_pass without a pass, or none with one"
        )
        _require(cost.rows_saved <= cost.generated_tokens, "more rows saved than tokens drawn")
        if self._spec.events.branches:
            _require(cost.branches_started == len(self._branches), "branches_started is not what the stream showed")
        if summary.HasField("expected_draws"):
            wanted = (cost.samples_finished + 1) / (cost.samples_passed + 1)
            _require(cost.samples_passed > 0 and summary.expected_draws == wanted, "expected_draws is off")
        self._check_outcome(summary, passed)

    def _check_tiers(self, summary: solve_pb2.Summary) -> None:
        """Each tier that was asked has one account, and together they are that of the solve."""
        asked = list(dict.fromkeys(tier.tier for tier in self.tiers))
        _require([tier.tier for tier in summary.tiers] == asked, "the accounts are not those of the tiers asked")
        for tier in summary.tiers:
            _require(tier.outcome != solve_pb2.TIER_OUTCOME_UNSPECIFIED, f"tier {tier.name} without an outcome")
            own = tier.accounting
            ended = own.samples_finished + own.samples_pruned + own.samples_cut_off
            _require(ended == own.samples_started, f"samples of tier {tier.name} did not end")
        for field in solve_pb2.Accounting.DESCRIPTOR.fields if self.tiers else ():
            if field.type != field.TYPE_MESSAGE:
                parts = sum(getattr(tier.accounting, field.name) for tier in summary.tiers)
                whole = getattr(summary.accounting, field.name)
                _require(parts == whole, f"{field.name}: the tiers have {parts}, the solve has {whole}")

    def _check_outcome(self, summary: solve_pb2.Summary, passed: set[int]) -> None:
        first_pass = self._spec.return_policy in (
            solve_pb2.RETURN_POLICY_UNSPECIFIED,
            solve_pb2.RETURN_POLICY_FIRST_PASS,
        )
        _require(summary.outcome != solve_pb2.SOLVE_OUTCOME_UNSPECIFIED, "a summary without an outcome")
        if summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED:
            _require(bool(passed), "solved without a pass")
        if summary.outcome == solve_pb2.SOLVE_OUTCOME_EXHAUSTED and self._spec.stop_after_passes <= 1:
            _require(not passed, "exhausted with a pass")
        indices = [candidate.index for candidate in summary.candidates]
        _require(len(indices) == len(set(indices)), "a candidate is in the summary twice")
        _require(set(indices) == (passed if first_pass else self._samples.keys()), "the summary has other candidates")
        for candidate in summary.candidates:
            _require(set(candidate.samples) == self._samples[candidate.index], "a candidate lost or gained samples")
            _require(bool(candidate.code) or candidate.index not in passed, "a passed candidate without its code")
        if self._spec.return_policy == solve_pb2.RETURN_POLICY_BEST:
            scores = [candidate.report.score for candidate in summary.candidates]
            _require(scores == sorted(scores, reverse=True), "BEST is not in order")

    def _join(self, index: int, samples: Iterable[int]) -> None:
        new = set(samples)
        self._require_samples(new)
        for other, known in self._samples.items():
            _require(not new & known, f"samples {new & known} drew candidate {other} already")
        self._samples[index] |= new

    @property
    def _finds_k(self) -> bool:
        """Whether more than k samples may be started to find the k."""
        return self._spec.sampling.mode in (solve_pb2.SAMPLING_MODE_DISTINCT, solve_pb2.SAMPLING_MODE_BEAM)

    def _require_samples(self, samples: Iterable[int]) -> None:
        if self._spec.sampling.HasField("k") and not self._finds_k:
            most = self._spec.sampling.k * max(1, len(self.tiers))
            _require(all(sample < most for sample in samples), "a sample index beyond k")

    def _require_live(self, index: int, what: str) -> None:
        _require(index in self._samples, f"{what} candidate {index}, which never finished")
        _require(index not in self._judged, f"{what} candidate {index}, which was judged already")


def check_stream(
    spec: solve_pb2.SolveSpec, events: Iterable[solve_pb2.SolveEvent], code: grpc.StatusCode
) -> EventOrderChecker:
    """Check a whole stream; returns the checker for its summary."""
    checker = EventOrderChecker(spec)
    for event in events:
        checker.see(event)
    checker.end(code)
    return checker


def _require(holds: bool, broken: str) -> None:
    if not holds:
        raise EventOrderError(broken)
