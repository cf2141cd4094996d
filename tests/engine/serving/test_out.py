"""Reports and events on their way out."""

from enum import StrEnum

import pytest
from thresher.v1 import solve_pb2, verdict_pb2

from engine.core.types import FinishReason
from engine.serving import report_out, solve_out
from engine.serving.report_out import TestPlaces, duration_out
from engine.serving.solve_out import EventWriter
from engine.solving.events import BranchOutcome, CandidateJudged, SolveEvent, TestFinished, TierReason
from engine.solving.spec import CompletionPrompt, EventOptions, HeldTest, ReturnPolicy, SolveSpec
from engine.solving.summary import Candidate, CandidateSource, SolveOutcome, TierOutcome
from executor.types import SnippetTest
from executor.verdict import Evidence, Report, TestReport, Verdict


@pytest.mark.parametrize(
    ("words", "table", "prefix", "enum"),
    [
        (Verdict, report_out.VERDICTS, "VERDICT", verdict_pb2.Verdict),
        (Evidence, report_out.EVIDENCE, "EVIDENCE", verdict_pb2.Evidence),
        (FinishReason, solve_out.FINISH, "FINISH_REASON", solve_pb2.FinishReason),
        (BranchOutcome, solve_out.BRANCH, "BRANCH_OUTCOME", solve_pb2.BranchOutcome),
        (SolveOutcome, solve_out.OUTCOME, "SOLVE_OUTCOME", solve_pb2.SolveOutcome),
        (CandidateSource, solve_out.SOURCE, "CANDIDATE_SOURCE", solve_pb2.CandidateSource),
        (TierReason, solve_out.TIER_REASON, "TIER_REASON", solve_pb2.TierReason),
        (TierOutcome, solve_out.TIER_OUTCOME, "TIER_OUTCOME", solve_pb2.TierOutcome),
    ],
)
def test_every_word_of_the_domain_has_its_enum_value(
    words: type[StrEnum], table: dict[object, int], prefix: str, enum: object
) -> None:
    for word in words:
        if word is FinishReason.PRUNED:
            continue  # the end of a branch, of no candidate
        assert enum.Name(table[word]) == f"{prefix}_{word.name}"


def report(*verdicts: Verdict, total: int | None = None) -> Report:
    tests = tuple(
        TestReport(
            index=index,
            name=f"t{index}",
            verdict=verdict,
            message="quoted",
            stdout=b"out%d\xff" % index,
            stderr=b"err",
            exit_code=index,
            evidence=Evidence.JUDGE if index else Evidence.VALUES,
        )
        for index, verdict in enumerate(verdicts)
    )
    worst = next((verdict for verdict in verdicts if verdict is not Verdict.PASSED), Verdict.PASSED)
    return Report(verdict=worst, tests=tests, tests_total=total or len(verdicts), weaknesses=("one uid",))


def test_a_report_weighs_its_tests_and_shows_the_telling_one() -> None:
    found = report_out.report_out(
        report(Verdict.PASSED, Verdict.WRONG_ANSWER, Verdict.SKIPPED), TestPlaces((0, 2, 5), (1.0, 2.0, 5.0))
    )
    assert found.score == pytest.approx(1 / 8)
    assert (found.tests_passed, found.tests_run, found.tests_total) == (1, 2, 3)
    assert [result.test_index for result in found.results] == [0, 2, 5]
    assert found.stdout == b"out1\xff"
    assert found.exit_code == 1
    assert not found.HasField("term_signal")
    assert found.evidence == verdict_pb2.EVIDENCE_JUDGE
    assert list(found.weaknesses) == ["one uid"]


def test_a_hidden_test_is_not_quoted() -> None:
    found = report_out.report_out(report(Verdict.WRONG_ANSWER), TestPlaces((3,), (1.0,)), hidden=True)
    assert found.results[0].message == ""
    assert found.stdout == b""
    assert found.stderr == b""
    assert found.results[0].test_index == 3


def test_a_report_without_tests_keeps_its_detail() -> None:
    found = report_out.report_out(
        Report(verdict=Verdict.COMPILE_ERROR, tests_total=2, detail="SyntaxError: line 1"), TestPlaces((0, 1), (1, 1))
    )
    assert found.detail == "SyntaxError: line 1"
    assert (found.tests_run, found.score) == (0, 0.0)
    assert found.evidence == verdict_pb2.EVIDENCE_UNSPECIFIED


def test_a_clock_that_ran_backwards_gives_zero() -> None:
    assert duration_out(-0.5).ToNanoseconds() == 0
    assert duration_out(1.25).ToMilliseconds() == 1250


def spec(policy: ReturnPolicy = ReturnPolicy.FIRST_PASS, *, failing_code: bool = False) -> SolveSpec:
    tests = [
        HeldTest(SnippetTest(code="assert x", weight=weight), hidden) for weight, hidden in ((1, True), (3, False))
    ]
    return SolveSpec(
        request_id="r",
        prompt=CompletionPrompt(text="x"),
        tests=tuple(tests),
        return_policy=policy,
        events=EventOptions(failing_code=failing_code),
    )


def judged(spec: SolveSpec, verdict: Verdict) -> solve_pb2.Candidate:
    candidate = Candidate(
        index=4,
        code="x = 1",
        finish_reason=FinishReason.LENGTH,
        generated_tokens=3,
        samples=(1, 5),
        model="m",
        report=report(verdict),
        held_out=report(Verdict.PASSED) if verdict is Verdict.PASSED else None,
    )
    return EventWriter(spec).event(SolveEvent(1, 0.5, CandidateJudged(candidate=candidate))).candidate_judged.candidate


@pytest.mark.parametrize(
    ("policy", "failing_code", "verdict", "shown"),
    [
        (ReturnPolicy.FIRST_PASS, False, Verdict.PASSED, True),
        (ReturnPolicy.FIRST_PASS, False, Verdict.WRONG_ANSWER, False),
        (ReturnPolicy.FIRST_PASS, True, Verdict.WRONG_ANSWER, True),
        (ReturnPolicy.ALL, False, Verdict.WRONG_ANSWER, True),
        (ReturnPolicy.BEST, False, Verdict.WRONG_ANSWER, True),
    ],
)
def test_code_is_shown_as_the_protocol_says(
    policy: ReturnPolicy, failing_code: bool, verdict: Verdict, shown: bool
) -> None:
    assert bool(judged(spec(policy, failing_code=failing_code), verdict).code) is shown


def test_visible_and_hidden_tests_keep_their_places_in_the_request() -> None:
    candidate = judged(spec(), Verdict.PASSED)
    assert candidate.report.results[0].test_index == 1
    assert candidate.held_out.results[0].test_index == 0
    assert not candidate.HasField("mean_logprob")
    result = TestReport(index=0, verdict=Verdict.PASSED)
    event = EventWriter(spec()).event(SolveEvent(1, 0.0, TestFinished(index=4, result=result)))
    assert event.test_finished.result.test_index == 1
