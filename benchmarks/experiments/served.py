"""Samples of a model behind a server: `policy: all`, every sample drawn to its end and judged there."""

import time
from contextlib import ExitStack
from typing import Any, Self

from thresher.client import AsyncClient, solve_spec, to_plain
from thresher.client.plain import enum_word
from thresher.v1 import info_service_pb2, solve_pb2

from benchmarks.experiments.errors import CannotRun, RunFailed
from benchmarks.experiments.experiment import Arm, Draw, Task
from benchmarks.experiments.judging import judged, require_documents, require_limits, require_sound, sandbox_of
from benchmarks.experiments.outcome import WRONG, Candidate, Outcome
from benchmarks.server import own_server

_READY_SECONDS = 60.0


class ServerSource:
    """A model of a running server, or of one that is started for this run and stopped after it.

    `address` names the running one; None starts `thresher serve` with `flags`. `model` is a name of that server's list,
    empty for its default.
    """

    at_once = 1

    def __init__(
        self, address: str | None, *, token: str | None = None, model: str = "", flags: tuple[str, ...] = ()
    ) -> None:
        self._address = address
        self._token = token
        self._model = model
        self._flags = flags
        self._held = ExitStack()
        self._client: AsyncClient | None = None
        self._info = info_service_pb2.GetServerInfoResponse()
        self._served = info_service_pb2.Model()
        self._sandbox: dict[str, Any] = {}

    def described(self) -> dict[str, Any]:
        """The model as the server runs it, and its sandbox."""
        return {
            "model": self._served.name.removeprefix("models/"),
            "arithmetic": self._served.dtype,
            "device": self._served.device,
            "deterministic": self._served.deterministic,
            "context_length": self._served.context_length,
            "server_version": self._info.version,
            **self._sandbox,
        }

    def check(self, arm: Arm) -> None:
        """Refuses what the server cannot do, and what a protocol must not leave open. See Source."""
        if self._info.max_k and arm.draw.samples > self._info.max_k:
            raise CannotRun(
                f"{arm.draw.samples} samples a problem are more than the server draws ({self._info.max_k}); ask for "
                "fewer, or raise limits.max_k of its settings"
            )
        require_documents(arm.tasks)
        sampling = arm.draw.sampling
        if sampling.get("mode", "independent") != "beam" and not {"temperature", "temperatures"} & sampling.keys():
            raise CannotRun(f"arm {arm.name!r}: no temperature is given, and the server's default is not ours to guess")
        if not self._served.chat and any(_is_chat(task) for task in arm.tasks):
            raise CannotRun(
                f"{self._served.name} has no chat template, so that a chat prompt means nothing to it; take a "
                "completion prompt (--prompt)"
            )

    async def outcome(self, task: Task, draw: Draw) -> Outcome:
        """See Source."""
        began = time.monotonic()
        tokens = TokensBySample()
        summary = await self.solved(self.spec(task, draw), tokens)
        return outcome_of(task, draw, summary, tokens, time.monotonic() - began)

    def spec(self, task: Task, draw: Draw) -> solve_pb2.SolveSpec:
        """The request for all samples of a task, each drawn to its end."""
        return solve_spec(
            {
                "problem_id": task.id,
                **task.document,
                "model": self._served.name,
                "policy": "all",
                "priority": "batch",
                "sampling": {**draw.sampling, "k": draw.samples, **_seed(task, draw)},
                "events": {"branches": True},
                **({"budget": {"rows": draw.rows}} if draw.rows else {}),
            }
        )

    async def solved(self, spec: solve_pb2.SolveSpec, tokens: "TokensBySample") -> solve_pb2.Summary:
        """The summary of a solve, while `tokens` reads its events. Raises ThresherError."""
        async with self.client.solve(spec) as stream:
            async for event in stream:
                tokens.take(event)
        assert stream.summary is not None  # the client raises where there is none
        return stream.summary

    @property
    def client(self) -> AsyncClient:
        """The connection; there once entered."""
        assert self._client is not None
        return self._client

    async def __aenter__(self) -> Self:
        try:
            address = self._address
            if address is None:
                address = self._started()
            self._client = AsyncClient(address, token=self._token)
            await self._client.wait_ready(_READY_SECONDS)
            self._info = await self._client.server_info()
            self._served = _named(self._model or self._info.default_model, await self._client.models())
            self._sandbox = await sandbox_of(self._client)
        except BaseException as error:
            await self.__aexit__(type(error), error, None)
            raise
        return self

    async def __aexit__(self, *exception: Any) -> None:
        if self._client is not None:
            await self._client.close()
        # Not with the exception: own_server would put the server's log below what is no fault of the server.
        try:
            self._held.close()
        except RuntimeError as error:
            raise RunFailed(str(error)) from error

    def _started(self) -> str:
        try:
            return self._held.enter_context(own_server(*self._flags)).address
        except RuntimeError as error:  # it tells what the server said
            raise CannotRun(str(error)) from error


class TokensBySample:
    """Reads from the events of one solve how many tokens each sample has.

    A branch's end tells its length, and the event after it which samples it carried; samples that join a finished text
    later have its length, and are known by the same log-probability to the bit.
    """

    def __init__(self) -> None:
        self._ended: solve_pb2.BranchEnded | None = None
        self._tokens: dict[int, int] = {}

    def take(self, event: solve_pb2.SolveEvent) -> None:
        """The next event."""
        kind = event.WhichOneof("event")
        if kind == "branch_ended":
            self._ended = event.branch_ended if event.branch_ended.HasField("candidate") else None
            return
        if kind == "candidate_finished":
            self._place(event.candidate_finished.index, list(event.candidate_finished.samples))
        elif kind == "samples_joined":
            self._place(event.samples_joined.index, list(event.samples_joined.samples))
        self._ended = None

    def of(self, candidate: solve_pb2.Candidate) -> tuple[int, ...]:
        """The tokens of a candidate's samples, in their order."""
        lengths = {
            logprob: self._tokens[sample]
            for sample, logprob in zip(candidate.samples, candidate.sample_logprobs, strict=False)
            if sample in self._tokens
        }
        found: list[int] = []
        for sample, logprob in zip(candidate.samples, candidate.sample_logprobs, strict=False):
            known = self._tokens.get(sample, lengths.get(logprob))
            if known is None:
                return ()
            found.append(known)
        return tuple(found)

    def _place(self, index: int, samples: list[int]) -> None:
        if self._ended is not None and self._ended.candidate == index:
            self._tokens |= dict.fromkeys(samples, self._ended.generated_tokens)


def outcome_of(task: Task, draw: Draw, summary: solve_pb2.Summary, tokens: TokensBySample, seconds: float) -> Outcome:
    """The outcome of a solve by its summary. Raises RunFailed where it did not run to its end as asked."""
    require_limits(summary.lowered_limits)
    ending = enum_word(solve_pb2.SolveOutcome.DESCRIPTOR, summary.outcome)
    if ending not in ("solved", "exhausted", *(("budget_rows",) if draw.rows else ())):
        raise RunFailed(f"{task.id}: the solve ended with {ending} before all its samples were drawn")
    books = summary.accounting
    return Outcome(
        id=task.id,
        asked=draw.samples,
        finished=books.samples_finished,
        candidates=tuple(_candidate(task, one, tokens) for one in summary.candidates),
        seconds=round(seconds, 3),
        generated_tokens=books.generated_tokens,
        rows=books.rows_computed,
        executed=books.candidates_executed,
        facts={"accounting": to_plain(books)},
    )


def _candidate(task: Task, one: solve_pb2.Candidate, tokens: TokensBySample) -> Candidate:
    report = judged(one.report)
    require_sound(report.verdict, report.tests, report.message)
    held_out = judged(one.held_out) if one.HasField("held_out") else None
    if held_out is not None:
        require_sound(held_out.verdict, held_out.tests, held_out.message)
    why = task.refused(one.code)
    return Candidate(
        code=one.code,
        samples=tuple(one.samples),
        verdict=WRONG if why else report.verdict,
        tests=report.tests,
        tests_total=report.tests_total,
        held_out=held_out.verdict if held_out is not None else "",
        message=why or report.message,
        tokens=tokens.of(one),
        logprobs=tuple(one.sample_logprobs),
        finish=enum_word(solve_pb2.FinishReason.DESCRIPTOR, one.finish_reason),
    )


def _seed(task: Task, draw: Draw) -> dict[str, int]:
    """A beam draws nothing, and a server refuses a seed for it."""
    return {} if draw.sampling.get("mode") == "beam" else {"seed": draw.seed_of(task.id)}


def _named(name: str, models: list[info_service_pb2.Model]) -> info_service_pb2.Model:
    wanted = name if name.startswith("models/") else f"models/{name}"
    for model in models:
        if model.name == wanted:
            return model
    have = ", ".join(model.name.removeprefix("models/") for model in models) or "none"
    raise CannotRun(f"the server has no model {name!r}; it has: {have}")


def _is_chat(task: Task) -> bool:
    return "chat" in task.document or "prompt" in task.document
