"""A fake server whose programs depend on what it is asked: which problem, which draw, how many failures it is told."""

import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import grpc
from thresher.v1 import info_service_pb2, refine_pb2, solve_pb2, synthesis_service_pb2, verdict_pb2

from benchmarks.experiments.experiment import Draw
from tests.support.fake_server import Event, FakeServer

FAILED = verdict_pb2.ExecutionReport(
    verdict=verdict_pb2.VERDICT_WRONG_ANSWER,
    tests_total=1,
    results=[verdict_pb2.TestResult(verdict=verdict_pb2.VERDICT_WRONG_ANSWER, message="returned 1, expected 2")],
)
PASSED = verdict_pb2.ExecutionReport(
    verdict=verdict_pb2.VERDICT_PASSED,
    tests_passed=1,
    tests_total=1,
    results=[verdict_pb2.TestResult(verdict=verdict_pb2.VERDICT_PASSED)],
)
PROMPT, CACHED, GENERATED = 40, 30, 20
"""Tokens of a call that is told of nothing; each failure that it is told adds TOLD to its prompt."""
TOLD = 60

Passes = Callable[[str, int, int], bool]
"""Whether a call passes: the problem, the failures it is told, and which of its plain draws the seed stands for."""


class TaughtServer(FakeServer):
    """`passes` decides. After `breaks_after` solves every further one fails.

    `asked` holds the problem of each solve or turn, and how many failures it was told; `said` the words of sessions.
    """

    def __init__(self, passes: Passes, *, breaks_after: int | None = None) -> None:
        super().__init__()
        self.passes = passes
        self.breaks_after = breaks_after
        self.asked: list[tuple[str, int]] = []
        self.said: list[tuple[str, str]] = []
        self.sessions_ended = 0
        self.turn_fails = False
        self._lock = threading.Lock()

    def Solve(self, request: Any, context: Any) -> Iterator[Any]:
        spec: solve_pb2.SolveSpec = request.spec
        told = len(spec.cascade.prior_attempts)
        number = 0 if told else _number(spec.problem.problem_id, spec.sampling.seed)
        _, events = self._drawn(spec, told, number, context)
        for event in events:
            yield synthesis_service_pb2.SolveResponse(event=event)

    def Refine(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """A session: turns begin by themselves while they fail, up to the rounds of the start, then by Resample."""
        reply = synthesis_service_pb2.RefineResponse
        start = next(requests).start
        yield reply(session_opened=refine_pb2.SessionOpened(session="sessions/one"))
        turn, rounds, asked = 0, max(1, start.rounds), True
        while True:
            while rounds:
                turn, rounds = turn + 1, rounds - 1
                yield reply(turn_started=refine_pb2.TurnStarted(turn=turn, automatic=not asked))
                asked = False
                passed, events = self._drawn(start.spec, turn - 1, 0, context)
                for event in events:
                    yield reply(event=event)
                rounds = 0 if passed else rounds
                outcome = refine_pb2.TURN_OUTCOME_SOLVED if passed else refine_pb2.TURN_OUTCOME_UNSOLVED
                if self.turn_fails:
                    outcome = refine_pb2.TURN_OUTCOME_FAILED
                failure = refine_pb2.TurnFailure(message="the engine died") if self.turn_fails else None
                ended = refine_pb2.TurnEnded(turn=turn, outcome=outcome, failure=failure, another_follows=rounds > 0)
                yield reply(turn_ended=ended)
            request = next(requests, None)
            if request is None or request.WhichOneof("action") == "end_session":
                self.sessions_ended += 1
                yield reply(session_ended=refine_pb2.SessionEnded())
                return
            if request.WhichOneof("action") == "feedback":
                self.said.append((start.spec.problem.problem_id, request.feedback.comment))
            asked = request.WhichOneof("action") == "resample"
            rounds = int(asked)

    def _drawn(self, spec: solve_pb2.SolveSpec, told: int, number: int, context: Any) -> tuple[bool, list[Event]]:
        """Whether a solve passes, and its events."""
        problem = spec.problem.problem_id
        with self._lock:
            if self.breaks_after is not None and len(self.asked) >= self.breaks_after:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "broken")
            self.asked.append((problem, told))
            self.specs.append(spec)
        passed = self.passes(problem, told, number)
        earlier = [
            solve_pb2.Candidate(
                index=index, code=one.code, report=one.report, source=solve_pb2.CANDIDATE_SOURCE_PRIOR_ATTEMPT
            )
            for index, one in enumerate(spec.cascade.prior_attempts)
        ]
        candidate = solve_pb2.Candidate(
            index=len(earlier),
            code=f"# {problem} {told} {number}\n",
            samples=[0],
            sample_logprobs=[-1.0],
            report=PASSED if passed else FAILED,
            generated_tokens=GENERATED,
        )
        books = solve_pb2.Accounting(
            samples_requested=1,
            samples_finished=1,
            generated_tokens=GENERATED,
            prompt_tokens=PROMPT + TOLD * told,
            cached_prompt_tokens=CACHED,
            rows_computed=GENERATED - 1,
            candidates_executed=1,
        )
        ending = "SOLVE_OUTCOME_SOLVED" if passed else "SOLVE_OUTCOME_EXHAUSTED"
        index = candidate.index
        return passed, [
            Event(accepted=solve_pb2.Accepted(request_id="r", model="models/one", seed=1)),
            Event(branch_ended=solve_pb2.BranchEnded(outcome=1, generated_tokens=GENERATED, candidate=index)),
            Event(candidate_finished=solve_pb2.CandidateFinished(index=index, samples=[0])),
            Event(summary=solve_pb2.Summary(outcome=ending, candidates=[*earlier, candidate], accounting=books)),
        ]

    def GetServerInfo(self, request: Any, context: Any) -> Any:
        return info_service_pb2.GetServerInfoResponse(version="1", max_k=64, default_model="models/one")

    def ListModels(self, request: Any, context: Any) -> Any:
        return info_service_pb2.ListModelsResponse(models=[info_service_pb2.Model(name="models/one", chat=True)])


@cache
def _number(problem: str, seed: int) -> int:
    """0 for the first draw, i + 1 for plain sample i."""
    draw = Draw(samples=1)
    seeds = [draw.seed_of(problem), *(draw.seed_of(f"{problem}/sample {number}") for number in range(100))]
    return seeds.index(seed)
