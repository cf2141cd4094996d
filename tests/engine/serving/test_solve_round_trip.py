"""Requests to another server and its events back: what arrives is what was sent."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thresher.v1 import info_service_pb2, solve_pb2

from engine.config import ExecutorSettings, Settings
from engine.core.types import FinishReason, Mode
from engine.serving.event_in import EventReader, model_info_in
from engine.serving.solve_in import solve_in
from engine.serving.solve_out import EventWriter, model_out
from engine.serving.solve_spec_out import solve_spec_out
from engine.solving.events import (
    Accepted,
    BranchDelta,
    BranchEnded,
    BranchOutcome,
    BranchStarted,
    CandidateFinished,
    CandidateJudged,
    SamplesJoined,
    SolveEvent,
    TestFinished,
    TierReason,
    TierStarted,
)
from engine.solving.served import ModelInfo, TierInfo
from engine.solving.spec import (
    Budget,
    Cascade,
    ChatMessage,
    ChatPrompt,
    CompletionPrompt,
    Constraint,
    EventOptions,
    HeldTest,
    InfillPrompt,
    PriorAttempt,
    Priority,
    Prune,
    ReturnPolicy,
    Sampling,
    SolveSpec,
)
from engine.solving.summary import (
    Accounting,
    Candidate,
    CandidateSource,
    Escalation,
    SolveOutcome,
    Summary,
    TierCost,
    TierOutcome,
)
from executor.types import Comparison, Limits, SnippetTest
from executor.verdict import LoweredLimit, Report, TestReport, Verdict
from tests.engine.serving.test_program_round_trip import calls, judged, names, snippets, streams, texts

GENEROUS = Settings(executor=ExecutorSettings(max_cpu_seconds=1e4, max_wall_seconds=1e5))

labels = st.text(st.characters(categories=["L", "N", "P"]), max_size=8)
halves = st.integers(1, 100).map(lambda number: number / 2)
limits = st.builds(
    Limits,
    cpu_seconds=halves,
    wall_seconds=halves,
    memory_bytes=st.integers(1 << 24, 1 << 30),
    output_bytes=st.integers(1, 1 << 20),
    processes=st.integers(1, 64),
)
counts = st.integers(0, 1 << 30)
chats = st.builds(
    lambda turns, last: ChatPrompt((*turns, ChatMessage("user", last))),
    st.lists(st.builds(ChatMessage, st.sampled_from(["system", "user", "assistant"]), texts), max_size=2),
    texts,
)
prompts = (
    st.builds(CompletionPrompt, texts, st.booleans())
    | chats
    | st.builds(InfillPrompt, prefix=texts, suffix=st.just("") | texts, path=labels)
)


@st.composite
def held_tests(draw: st.DrawFn) -> tuple[HeldTest, ...]:
    held: list[HeldTest] = []
    for test in draw(st.lists(snippets | calls | streams | judged, min_size=1, max_size=4)):
        changes: dict[str, Any] = {"name": draw(labels), "weight": draw(st.floats(0.5, 5))}
        changes["limits"] = draw(st.none() | limits)
        if not isinstance(test, SnippetTest) and test.comparison is not Comparison.APPROX:
            changes |= {"rel_tol": 1e-9, "abs_tol": 0.0}  # of a comparison that has none
        held.append(HeldTest(msgspec.structs.replace(test, **changes), hidden=draw(st.booleans())))
    return (replace(held[0], hidden=False), *held[1:])


@st.composite
def samplings(draw: st.DrawFn, variants: int) -> Sampling:
    mode = Mode.INDEPENDENT if variants else draw(st.sampled_from(Mode))
    k = draw(st.integers(8, 64)) if mode is Mode.BEAM else draw(st.none() | st.integers(8, 64))
    constraint = draw(st.none() | st.builds(Constraint, kind=st.sampled_from(["regex", "ebnf"]), text=texts))
    common: dict[str, Any] = {
        "k": k,
        "mode": mode,
        "max_new_tokens": draw(st.none() | st.integers(1, 512)),
        "stop": tuple(draw(st.lists(texts, max_size=2))),
        "width": draw(st.none() | st.integers(1, 64)),
        "keep_after_program": constraint is None and draw(st.booleans()),
        "prune": Prune.NONE if constraint is not None else draw(st.sampled_from(Prune)),
        "constraint": constraint,
    }
    if mode is Mode.BEAM:
        return Sampling(**common, length_penalty=draw(st.floats(0, 10)))
    temperatures = st.lists(st.floats(0.01, 2), max_size=2 if mode is Mode.INDEPENDENT else 1)
    return Sampling(
        **common,
        temperatures=tuple(draw(temperatures)),
        top_p=draw(st.none() | st.floats(0.1, 1)),
        top_k=draw(st.none() | st.integers(0, 100)),
        min_p=draw(st.none() | st.floats(0, 1)),
        seed=draw(st.none() | st.integers(0, (1 << 64) - 1)),
        greedy_first=mode is Mode.INDEPENDENT and draw(st.booleans()),
        distinct_programs=mode is Mode.DISTINCT and draw(st.booleans()),
    )


@st.composite
def cascades(draw: st.DrawFn, chat: bool) -> Cascade:
    attempts = tuple(
        draw(st.lists(st.builds(PriorAttempt, code=texts, mean_logprob=st.none() | st.floats(-9, 0)), max_size=3))
    )
    return Cascade(
        attempts=attempts,
        in_prompt=bool(attempts) and chat and draw(st.booleans()),
        tier=draw(st.integers(0, 255)),
        upstream_model=draw(labels),
        difficulty=draw(st.none() | st.floats(0, 1)),
    )


@st.composite
def specs(draw: st.DrawFn) -> SolveSpec:
    prompt, *variants = draw(st.lists(prompts, min_size=1, max_size=3))
    policy = draw(st.sampled_from(ReturnPolicy))
    deltas = draw(st.booleans())
    amounts = st.none() | st.integers(1, 1 << 31)
    return SolveSpec(
        request_id=draw(st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True)),
        model=draw(labels),
        problem_id=draw(labels),
        prompt=prompt,
        variants=tuple(variants),
        tests=draw(held_tests()),
        entry_point=draw(st.none() | names),
        setup_code=draw(st.just("") | texts),
        limits=draw(limits),
        sampling=draw(samplings(len(variants))),
        return_policy=policy,
        stop_after_passes=draw(st.integers(1, 8)) if policy is ReturnPolicy.FIRST_PASS else 1,
        budget=draw(
            st.builds(
                Budget, wall_seconds=st.none() | halves, generated_tokens=amounts, executions=amounts, rows=amounts
            )
        ),
        events=EventOptions(
            token_deltas=deltas,
            delta_interval=draw(st.sampled_from([0.01, 0.5, 60.0])) if deltas else 0.05,
            test_results=draw(st.booleans()),
            failing_code=draw(st.booleans()),
            branches=draw(st.booleans()),
        ),
        priority=draw(st.sampled_from(Priority)),
        cascade=draw(cascades(any(isinstance(one, ChatPrompt) for one in (prompt, *variants)))),
    )


@given(specs())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_request_arrives_as_it_was(spec: SolveSpec) -> None:
    assert solve_in(solve_spec_out(spec), "spec", GENEROUS) == spec


def test_a_report_of_an_attempt_arrives() -> None:
    failed = TestReport(index=1, name="last", verdict=Verdict.WRONG_ANSWER, message="got 3", stdout=b"out")
    report = Report(verdict=Verdict.WRONG_ANSWER, tests=(failed,), tests_total=2)
    spec = replace(ASKED, cascade=Cascade(attempts=(PriorAttempt(code="x", report=report),), upstream_model="small"))
    assert solve_in(solve_spec_out(spec), "spec", GENEROUS).cascade == spec.cascade


def test_whose_it_is_is_told_in_the_metadata() -> None:
    spec = SolveSpec(request_id="r", prompt=CompletionPrompt("x"), tests=TESTS, client="me")
    assert solve_in(solve_spec_out(spec), "spec", GENEROUS).client == ""


def test_the_strategies_know_every_field() -> None:
    """A field that a request gets later is to be sent, too, and to be drawn here."""
    known: dict[type[Any], str] = {
        SolveSpec: "request_id prompt tests model problem_id entry_point setup_code limits sampling return_policy "
        "stop_after_passes budget events priority variants client cascade",
        Sampling: "k mode temperatures top_p top_k min_p length_penalty max_new_tokens stop seed greedy_first width "
        "keep_after_program prune constraint distinct_programs",
        Budget: "wall_seconds generated_tokens executions rows",
        EventOptions: "token_deltas delta_interval test_results failing_code branches",
        Cascade: "attempts in_prompt tier upstream_model difficulty",
        PriorAttempt: "code report mean_logprob",
    }
    for kind, words in known.items():
        assert [field.name for field in fields(kind)] == words.split(), kind.__name__


TESTS = (
    HeldTest(SnippetTest(code="a", name="first")),
    HeldTest(SnippetTest(code="b"), hidden=True),
    HeldTest(SnippetTest(code="c", name="last")),
)
ASKED = SolveSpec(request_id="r", prompt=CompletionPrompt("x"), tests=TESTS, events=EventOptions(failing_code=True))


@st.composite
def reports(draw: st.DrawFn, *, hidden: bool = False) -> Report:
    """As a server tells them: only the telling test has output, and hidden ones are not quoted."""
    places = [held.test for held in TESTS if held.hidden is hidden]
    ran = draw(st.integers(0, len(places)))
    tests = [
        TestReport(
            index=index,
            name=test.name,
            verdict=draw(st.sampled_from([Verdict.PASSED, Verdict.RUNTIME_ERROR])),
            message="" if hidden else draw(texts),
            wall_seconds=draw(halves),
            exit_code=draw(st.none() | st.integers(0, 255)),
        )
        for index, test in enumerate(places[:ran])
    ]
    telling = next((test for test in tests if test.verdict is not Verdict.PASSED), tests[-1] if tests else None)
    if not hidden:
        tests = [msgspec.structs.replace(test, stdout=b"out") if test is telling else test for test in tests]
    return Report(
        verdict=draw(st.sampled_from(Verdict)),
        tests=tuple(tests),
        tests_total=len(places),
        detail="" if hidden else draw(texts),
        queue_seconds=draw(halves),
        wall_seconds=draw(halves),
        peak_memory_bytes=draw(st.none() | counts),
        weaknesses=tuple(draw(st.lists(texts, max_size=2))),
        lowered_limits=tuple(draw(st.lists(lowered(len(places)), max_size=1))),
    )


def lowered(places: int) -> st.SearchStrategy[LoweredLimit]:
    index = st.none() | st.integers(0, places - 1)
    return st.builds(LoweredLimit, limit=texts, asked=halves, applied=halves, test_index=index)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    samples = tuple(draw(st.lists(counts, max_size=3, unique=True).map(sorted)))
    return Candidate(
        index=draw(counts),
        code=draw(texts),
        finish_reason=draw(st.none() | st.sampled_from([word for word in FinishReason if word != "pruned"])),
        generated_tokens=draw(counts),
        samples=samples,
        model=draw(labels),
        source=draw(st.sampled_from(CandidateSource)),
        tier=draw(st.integers(0, 300)),
        mean_logprob=draw(st.none() | st.floats(-9, 0)),
        sample_logprobs=tuple(draw(st.floats(-99, 0)) for _ in samples),
        report=draw(st.none() | reports()),
        held_out=draw(st.none() | reports(hidden=True)),
    )


@st.composite
def accountings(draw: st.DrawFn) -> Accounting:
    unsent = {
        *("pruned_tokens", "recomputed_tokens", "preemptions", "after_pass_tokens", "candidates_to_first_pass"),
        "time_to_first_pass",
    }
    values: dict[str, Any] = {
        field.name: draw(halves if field.name.endswith("_time") else counts)
        for field in fields(Accounting)
        if field.name not in unsent
    }
    return Accounting(**values, time_to_first_pass=draw(st.none() | halves))


tier_costs = st.builds(
    TierCost,
    tier=counts,
    name=labels,
    model=labels,
    outcome=st.sampled_from(TierOutcome),
    accounting=accountings(),
    price=st.none() | st.floats(0, 9),
    partial=st.booleans(),
    detail=texts,
)
sample_lists = st.lists(counts, max_size=3).map(tuple)
bodies = st.one_of(
    st.builds(Accepted, request_id=texts, model=labels, queue_depth=counts, prompt_tokens=counts, seed=counts),
    st.builds(TierStarted, tier=counts, name=labels, model=labels, reason=st.sampled_from(TierReason)),
    st.builds(
        BranchStarted,
        branch=counts,
        parent=st.none() | counts,
        position=counts,
        samples=sample_lists,
        model=labels,
        tier=counts,
    ),
    st.builds(BranchDelta, branch=counts, text=texts, tokens=counts),
    st.builds(
        BranchEnded,
        branch=counts,
        outcome=st.sampled_from(BranchOutcome),
        generated_tokens=counts,
        candidate=st.none() | counts,
    ),
    st.builds(
        CandidateFinished,
        index=counts,
        branch=st.none() | counts,
        finish_reason=st.none() | st.sampled_from([word for word in FinishReason if word != "pruned"]),
        generated_tokens=counts,
        samples=sample_lists,
    ),
    st.builds(
        TestFinished,
        index=counts,
        result=st.builds(
            TestReport, index=st.just(1), name=st.just("last"), verdict=st.sampled_from(Verdict), message=texts
        ),
    ),
    st.builds(CandidateJudged, candidate=candidates()),
    st.builds(
        SamplesJoined,
        index=counts,
        samples=sample_lists,
        sample_logprobs=st.lists(st.floats(-9, 0), max_size=2).map(tuple),
    ),
    st.builds(
        Summary,
        outcome=st.sampled_from(SolveOutcome),
        candidates=st.lists(candidates(), max_size=2).map(tuple),
        accounting=accountings(),
        escalation=st.builds(Escalation, recommended=st.booleans(), confidence=st.floats(0, 1), reason=texts),
        seed=counts,
        tiers=st.lists(tier_costs, max_size=2).map(tuple),
        lowered_limits=st.lists(lowered(3), max_size=2, unique=True).map(tuple),
        expected_draws=st.none() | st.floats(1, 1e6),
    ),
)


@given(bodies, st.integers(1, 1 << 40), halves)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_an_event_arrives_as_it_was(body: Any, sequence: int, elapsed: float) -> None:
    event = SolveEvent(sequence, elapsed, body)
    assert EventReader(ASKED).event(EventWriter(ASKED).event(event)) == event


def test_a_model_arrives_as_it_was() -> None:
    tiers = (TierInfo("small", "m"), TierInfo("big", "", ("unix:/a", "unix:/b")))
    model = ModelInfo(
        name="x", context_length=9, chat=True, infill=False, dtype="int8", device="cpu", deterministic=True, tiers=tiers
    )
    assert model_info_in(model_out(model)) == model
    assert model_info_in(info_service_pb2.Model(name="models/x")).name == "x"


def judged_event(change: Callable[[solve_pb2.Candidate], object]) -> solve_pb2.SolveEvent:
    report = Report(verdict=Verdict.PASSED, tests=(TestReport(index=1, verdict=Verdict.PASSED),), tests_total=2)
    candidate = Candidate(
        index=0,
        code="x",
        finish_reason=FinishReason.LENGTH,
        generated_tokens=3,
        samples=(0,),
        sample_logprobs=(-1.0,),
        model="m",
        report=report,
    )
    event = EventWriter(ASKED).event(SolveEvent(3, 0.5, CandidateJudged(candidate=candidate)))
    change(event.candidate_judged.candidate)
    return event


def no_logprob(candidate: solve_pb2.Candidate) -> None:
    candidate.ClearField("sample_logprobs")


def hidden_test(candidate: solve_pb2.Candidate) -> None:
    candidate.report.results[0].test_index = 1


def unknown_verdict(candidate: solve_pb2.Candidate) -> None:
    candidate.report.verdict = 77  # type: ignore[assignment]


def no_source(candidate: solve_pb2.Candidate) -> None:
    candidate.ClearField("source")


def unknown_reason(candidate: solve_pb2.Candidate) -> None:
    candidate.finish_reason = 77  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (no_logprob, "sample_logprobs"),
        (hidden_test, "test_index"),
        (unknown_verdict, "verdict"),
        (no_source, "source"),
        (unknown_reason, "finish_reason"),
    ],
)
def test_what_cannot_be_is_an_error(change: Callable[[solve_pb2.Candidate], object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EventReader(ASKED).event(judged_event(change))


def test_an_unknown_event_is_an_error() -> None:
    with pytest.raises(ValueError, match="not known here"):
        EventReader(ASKED).event(solve_pb2.SolveEvent(sequence=1))
