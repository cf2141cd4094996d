"""The requests of `thresher.client.solve`, `refine` and `execute`."""

from collections.abc import Mapping, Sequence
from typing import Any

from thresher.client.document import Problem
from thresher.client.problems import ProblemError, program, solve_spec
from thresher.client.result import Result
from thresher.v1 import execution_service_pb2, solve_pb2

Asked = str | Problem | Mapping[str, Any] | solve_pb2.SolveSpec
"""A task in words, a problem document (docs/problem-files.md), or a request."""
Tests = Sequence[str | Mapping[str, Any]]
"""Tests as a problem document has them."""

LOADING_SECONDS = 240.0
"""How long a server may take to load its model."""
_GRACE_SECONDS = 30.0
"""How much longer than its budget of time a call may take: the server ends by itself there."""
_ATTEMPTS = 64
"""Failed programs that go along with a round; the server shows the model the best of them."""


def request(asked: Asked, tests: Tests | None, k: int | None, timeout: float | None) -> solve_pb2.SolveSpec:
    """The request of a solve. Raises ProblemError."""
    spec = solve_pb2.SolveSpec()
    if isinstance(asked, str):
        spec = solve_spec({"prompt": asked, "tests": list(tests or ())})
    elif tests is not None:
        raise ProblemError("tests", "are given with a task in words; a problem document holds its own")
    elif isinstance(asked, solve_pb2.SolveSpec):
        spec.CopyFrom(asked)
    else:
        spec = solve_spec(asked)
    if k is not None:
        spec.sampling.k = k
    if timeout is not None:
        _set_time(spec, timeout)
    spec.events.failing_code = True
    return spec


def round_after(result: Result, words: str, k: int | None, timeout: float | None) -> solve_pb2.SolveSpec:
    """The request of another round: the same problem, with what failed before and the user's words in the chat.

    Raises:
        ProblemError: the prompt is no chat, or there is nothing to say.
    """
    if result.spec.problem.WhichOneof("prompt") != "chat":
        raise ProblemError("prompt", "only a task in words or a chat can be refined: another prompt has no next turn")
    spec = request(result.spec, None, k, timeout)
    words, turns = words.strip(), spec.problem.chat.messages
    del spec.cascade.prior_attempts[:]  # those of the round before are among the result's programs
    spec.cascade.attempts_in_prompt = False
    if result.code is not None:
        if not words:
            raise ProblemError("words", "the problem is solved; say what should be different, or add tests that fail")
        turns.add(role="assistant", content=f"```python\n{result.code.strip()}\n```")
        turns.add(role="user", content=words)
        return spec
    if not result.failed and not words:
        raise ProblemError("words", "no program was judged, so there is nothing to tell but your words")
    if words:
        turns[-1].content += f"\n\n{words}"
    for one in [one for one in result.failed if one.code][:_ATTEMPTS]:
        spec.cascade.prior_attempts.add(code=one.code, report=one.report)
    spec.cascade.attempts_in_prompt = bool(spec.cascade.prior_attempts)
    return spec


def to_execute(code: str, tests: Tests | Problem | Mapping[str, Any]) -> execution_service_pb2.Program:
    """The program with its tests, all of which run. Raises ProblemError."""
    document: Mapping[str, Any] = {**tests} if isinstance(tests, Mapping) else {"tests": list(tests)}
    return program(code, document, run_all=True)


def deadline(spec: solve_pb2.SolveSpec) -> float | None:
    """Seconds after which the call itself fails; None where the request has no budget of time."""
    if not spec.budget.HasField("wall_time"):
        return None
    return spec.budget.wall_time.ToTimedelta().total_seconds() + _GRACE_SECONDS


def _set_time(spec: solve_pb2.SolveSpec, seconds: float) -> None:
    if not 0 < seconds < 10**9:
        raise ProblemError("timeout", f"expected seconds above 0, found {seconds:g}")
    spec.budget.wall_time.FromNanoseconds(round(seconds * 10**9))
