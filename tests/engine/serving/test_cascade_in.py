"""CascadeContext: from proto to domain; what cannot be served is refused by name."""

from collections.abc import Callable

import pytest
from thresher.v1 import solve_pb2, verdict_pb2

from engine.config import LimitSettings
from engine.serving.cascade_in import cascade_in
from engine.solving.errors import InvalidRequest, SolveError, Unsupported
from engine.solving.spec import Cascade, ChatMessage, ChatPrompt, CompletionPrompt, HeldTest, PriorAttempt, Prompt
from executor.types import SnippetTest
from executor.verdict import Verdict

CHAT = ChatPrompt((ChatMessage("user", "Write f."),))
TEXT = CompletionPrompt("def f():")
TESTS = (HeldTest(SnippetTest(code="a")), HeldTest(SnippetTest(code="b"), hidden=True), HeldTest(SnippetTest(code="c")))
FAILED = verdict_pb2.ExecutionReport(
    verdict=verdict_pb2.VERDICT_WRONG_ANSWER,
    tests_total=2,
    results=[verdict_pb2.TestResult(test_index=2, verdict=verdict_pb2.VERDICT_WRONG_ANSWER, message="got 3")],
)


def read(message: solve_pb2.CascadeContext, *prompts: Prompt) -> Cascade:
    return cascade_in(message, "spec.cascade", prompts or (CHAT,), TESTS, LimitSettings(max_prior_attempts=3))


def context(*attempts: solve_pb2.PriorAttempt, **fields: object) -> solve_pb2.CascadeContext:
    return solve_pb2.CascadeContext(prior_attempts=attempts, **fields)  # type: ignore[arg-type]


def test_nothing_asks_for_nothing() -> None:
    assert read(solve_pb2.CascadeContext()) == Cascade()


def test_all_of_it_arrives() -> None:
    found = read(
        context(
            solve_pb2.PriorAttempt(code="x", mean_logprob=-0.5),
            tier=2,
            upstream_model="small",
            attempts_in_prompt=True,
            difficulty=0.0,
        )
    )
    assert found.attempts == (PriorAttempt(code="x", mean_logprob=-0.5),)
    assert (found.tier, found.upstream_model, found.in_prompt, found.difficulty) == (2, "small", True, 0.0)


def test_a_failure_is_believed_and_a_pass_is_not() -> None:
    passed = verdict_pb2.ExecutionReport(verdict=verdict_pb2.VERDICT_PASSED, tests_total=2)
    broken = verdict_pb2.ExecutionReport(verdict=verdict_pb2.VERDICT_SANDBOX_FAILURE, tests_total=2)
    skipped = verdict_pb2.ExecutionReport(verdict=verdict_pb2.VERDICT_SKIPPED, tests_total=2)
    reports = [FAILED, passed, broken]
    found = read(context(*(solve_pb2.PriorAttempt(code=str(n), report=one) for n, one in enumerate(reports))))
    assert found.attempts[0].report is not None
    assert found.attempts[0].report.verdict is Verdict.WRONG_ANSWER
    assert found.attempts[0].report.tests[0].message == "got 3"
    assert found.attempts[0].report.tests[0].index == 1, "the second of the visible ones, the third of all"
    assert [attempt.report for attempt in found.attempts[1:]] == [None, None]
    assert read(context(solve_pb2.PriorAttempt(code="x", report=skipped))).attempts[0].report is None


def other_test() -> solve_pb2.CascadeContext:
    report = verdict_pb2.ExecutionReport()
    report.CopyFrom(FAILED)
    report.results[0].test_index = 1
    return context(solve_pb2.PriorAttempt(code="x", report=report))


def no_verdict() -> solve_pb2.CascadeContext:
    return context(solve_pb2.PriorAttempt(code="x", report=verdict_pb2.ExecutionReport(tests_total=2)))


def spent() -> solve_pb2.CascadeContext:
    message = context()
    message.time_spent.seconds = 3
    return message


@pytest.mark.parametrize(
    ("field", "kind", "made"),
    [
        ("prior_attempts", InvalidRequest, lambda: context(*[solve_pb2.PriorAttempt(code="x")] * 4)),
        ("prior_attempts[0].code", InvalidRequest, lambda: context(solve_pb2.PriorAttempt())),
        ("prior_attempts[0].code", InvalidRequest, lambda: context(solve_pb2.PriorAttempt(code="x" * 300_000))),
        (
            "prior_attempts[0].mean_logprob",
            InvalidRequest,
            lambda: context(solve_pb2.PriorAttempt(code="x", mean_logprob=float("nan"))),
        ),
        ("prior_attempts[0].report.test_index", InvalidRequest, other_test),
        ("prior_attempts[0].report.verdict", InvalidRequest, no_verdict),
        ("tier", InvalidRequest, lambda: context(tier=256)),
        ("difficulty", InvalidRequest, lambda: context(difficulty=1.5)),
        ("upstream_model", InvalidRequest, lambda: context(upstream_model="a\nb")),
        ("attempts_in_prompt", InvalidRequest, lambda: context(attempts_in_prompt=True)),
        ("time_spent", Unsupported, spent),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(
    field: str, kind: type[SolveError], made: Callable[[], solve_pb2.CascadeContext]
) -> None:
    with pytest.raises(kind) as caught:
        read(made())
    assert isinstance(caught.value, InvalidRequest | Unsupported)
    assert caught.value.field == f"spec.cascade.{field}"


def test_attempts_are_shown_in_chats_only() -> None:
    shown = context(solve_pb2.PriorAttempt(code="x"), attempts_in_prompt=True)
    with pytest.raises(Unsupported, match="chat"):
        read(shown, TEXT)
    assert read(shown, TEXT, CHAT).in_prompt, "one of the prompts can show them"
