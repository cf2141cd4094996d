"""One call of Solve, and what came of it as its client saw it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import grpc
from thresher.client import AsyncClient, ThresherError, to_plain
from thresher.client.plain import enum_word
from thresher.v1 import solve_pb2, verdict_pb2

from benchmarks.load.arrivals import Call
from benchmarks.load.mix import Entry

CANCELLED = "cancelled"
"""The client gave it up, as the mix wants it."""
UNFINISHED = "unfinished"
"""The run was over and the call was not; its client gave it up then."""
FAILED = "failed"
ANSWERED = ("solved", "exhausted", "budget_time", "budget_tokens", "budget_executions", "budget_rows")
"""Ends that are an answer: a summary came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a call. Times are seconds since the run's beginning; `first_pass` is None where nothing passed.

    end: one of ANSWERED, CANCELLED, UNFINISHED or FAILED; then `code` is the gRPC status and `reason` the server's word
    for it, empty where it came from the connection. accepted: the server has said that it took the solve. accounting:
    of its summary. verdicts: of its programs, as they were told.
    """

    id: str
    entry: str
    problem: str
    model: str
    priority: str
    due: float
    sent: float
    ended: float
    end: str
    code: str
    reason: str = ""
    accepted: bool = False
    first_pass: float | None = None
    accounting: dict[str, Any] = field(default_factory=dict[str, Any])
    verdicts: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def answered(self) -> bool:
        """Whether a summary came."""
        return self.end in ANSWERED

    @property
    def seconds(self) -> float:
        """From when it was due to its end, whenever it was sent."""
        return self.ended - self.due

    @property
    def pass_seconds(self) -> float | None:
        """From when it was due to the first pass."""
        return None if self.first_pass is None else self.first_pass - self.due

    def within(self, slo: float) -> bool:
        """Whether its answer was there in time: the first pass, or that there is none."""
        if not self.answered:
            return False
        pass_seconds = self.pass_seconds
        return (self.seconds if pass_seconds is None else pass_seconds) <= slo

    def counts(self, slo: float) -> bool:
        """Whether `within` says anything: not of a call that its client gave up before."""
        return self.end != CANCELLED or self.seconds > slo

    def plain(self) -> dict[str, Any]:
        """As JSON values, a line of OUT.calls.jsonl."""
        times = {name: round(getattr(self, name), 4) for name in ("due", "sent", "ended")}
        first = None if self.first_pass is None else round(self.first_pass, 4)
        return {**asdict(self), **times, "first_pass": first}


@dataclass(slots=True)
class _Heard:
    """What a stream has said so far."""

    accepted: bool = False
    model: str = ""
    first_pass: float | None = None
    verdicts: Counter[str] = field(default_factory=Counter[str])

    def take(self, event: solve_pb2.SolveEvent, now: float) -> None:
        match event.WhichOneof("event"):
            case "accepted":
                self.accepted = True
                self.model = event.accepted.model.removeprefix("models/")
            case "candidate_judged":
                verdict = event.candidate_judged.candidate.report.verdict
                self.verdicts[enum_word(verdict_pb2.Verdict.DESCRIPTOR, verdict)] += 1
                if verdict == verdict_pb2.VERDICT_PASSED and self.first_pass is None:
                    self.first_pass = now
            case _:
                pass


async def solve(
    client: AsyncClient, entry: Entry, call: Call, name: str, now: Callable[[], float], tell: Callable[[Answer], None]
) -> None:
    """Make a call, read it to its end and tell what came of it; cancelling the task gives it up, and that is told, too.

    name: the call's request_id. now: seconds since the run's beginning.
    """
    spec = solve_pb2.SolveSpec()
    spec.CopyFrom(entry.specs[call.problem])
    spec.request_id = name
    if not spec.sampling.HasField("seed"):
        spec.sampling.seed = call.seed
    heard, sent = _Heard(), now()
    stream = client.solve(spec, timeout=entry.timeout)
    end, error = UNFINISHED, None
    try:
        left = None if call.cancel is None else max(0.0, call.due + call.cancel - now())
        async with asyncio.timeout(left):
            async for event in stream:
                heard.take(event, now())
    except TimeoutError:
        end = CANCELLED
    except ThresherError as failure:
        end, error = FAILED, failure
    finally:
        stream.cancel()
        code = grpc.StatusCode.CANCELLED if error is None else error.code
        if stream.summary is not None:
            # It came, whatever was decided in the same moment.
            end, code = enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, stream.summary.outcome), grpc.StatusCode.OK
        tell(
            Answer(
                id=name,
                entry=entry.name,
                problem=entry.problems[call.problem],
                model=heard.model,
                priority=enum_word(solve_pb2.Priority.DESCRIPTOR, spec.priority or solve_pb2.PRIORITY_INTERACTIVE),
                due=call.due,
                sent=sent,
                ended=now(),
                end=end,
                code=code.name,
                reason="" if error is None else error.reason,
                accepted=heard.accepted,
                first_pass=heard.first_pass,
                accounting={} if stream.summary is None else to_plain(stream.summary.accounting),
                verdicts=dict(heard.verdicts),
            )
        )
