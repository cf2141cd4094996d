"""A special judge: the caller's own Python, in a jail without the candidate, reads what the candidate printed.

The printed output reaches it as a value and never as code. What the judge says is believed; what it does otherwise
(raises, spins, answers nonsense) is its own failure, for which no candidate is blamed.
"""

from collections.abc import Callable

from executor.answers import Answers
from executor.settle import PASSED, Outcome, limit_outcome, silent_outcome
from executor.trial import Facts, Trial
from executor.types import Limits, StdioTest
from executor.verdict import Verdict

LIMITS = Limits(cpu_seconds=10.0, memory_bytes=512 << 20)
_ANSWER_BYTES = 1 << 16
_MOST_SHOWN = 300


async def judge_output(
    make_trial: Callable[[Limits, Callable[[bytes], None]], Trial], test: StdioTest, printed: bytes
) -> Outcome:
    """Ask the judge, which is loaded in the trial's jail. Text that is not UTF-8 comes with surrogate escapes."""
    answers = Answers(1)
    trial = make_trial(LIMITS, answers.on_frame)
    answers.trial = trial
    trial.start("calls", (_ANSWER_BYTES,))
    texts = [("lit", data.decode("utf-8", "surrogateescape")) for data in (test.stdin, test.expected_stdout, printed)]
    trial.send(("eval", ("call", ("name", "judge"), texts, {}), False, False))
    return _sentence(await trial.done, answers)


def _sentence(facts: Facts, answers: Answers) -> Outcome:
    outcome = limit_outcome(facts, LIMITS) or answers.failure
    if outcome is None and not answers.complete:
        outcome = silent_outcome(facts)
    if outcome is not None:
        return _its_own_failure(outcome.message)
    raised = answers.raised.get(0)
    if raised is not None and raised.name != "AssertionError":
        return _its_own_failure(raised.outcome.message)
    if raised is not None:
        reason = raised.outcome.message.removeprefix("AssertionError").removeprefix(": ")
        return Outcome(Verdict.WRONG_ANSWER, reason or "the special judge rejects the printed output")
    match answers.values[0]:
        case True:
            return PASSED
        case False:
            return Outcome(Verdict.WRONG_ANSWER, "the special judge rejects the printed output")
        case other:
            return _its_own_failure(f"it returned {other!r}"[:_MOST_SHOWN] + ", neither True nor False")


def _its_own_failure(reason: str) -> Outcome:
    return Outcome(Verdict.SANDBOX_FAILURE, f"the special judge failed: {reason}")
