"""Who says whether a program passes: always our executor, in this process or behind a server."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from thresher.client import AsyncClient, program
from thresher.client.channel import find_server
from thresher.client.plain import enum_word
from thresher.v1 import verdict_pb2

from benchmarks.data import TestDocument, program_of
from benchmarks.experiments.errors import CannotRun, RunFailed
from benchmarks.experiments.experiment import Task
from benchmarks.experiments.outcome import PASSED
from executor import Executor, ExecutorConfig, Limits

Tests = Sequence[TestDocument]

_QUEUED_PER_SLOT = 4
_MESSAGE = 200
_FAILED = "sandbox_failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What came of a program; the fields are those of outcome.Candidate. runs: how often it was sent to the sandbox."""

    verdict: str
    tests: tuple[str, ...] = ()
    tests_total: int = 0
    message: str = ""
    held_out: str = ""
    values: tuple[str, ...] = ()
    runs: int = 1


class Judge(ABC):
    """Judges programs. Use as an async context manager."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(1)

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The sandbox, for the protocol. Known once entered."""

    @abstractmethod
    def check(self, tasks: Sequence[Task]) -> None:
        """Raises CannotRun for tasks that it cannot judge."""

    @abstractmethod
    async def _run(self, task: Task, code: str, tests: Tests, *, run_all: bool, held_out: bool) -> Judged:
        """Run one program against these tests of the task, which are the held-out ones or those that decide."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def __aexit__(self, *exception: object) -> None: ...

    async def judge(self, task: Task, code: str) -> Judged:
        """Run the tests that decide, and on a pass the held-out ones. Raises RunFailed, ThresherError."""
        visible, hidden = split(task.document["tests"])
        found = await self._sound(task, code, visible, run_all=task.run_all)
        has_more = task.make_held_out is not None if task.make is not None else bool(hidden)
        if found.verdict != PASSED or not has_more:
            return found
        held_out = await self._sound(task, code, hidden, run_all=True, held_out=True)
        return Judged(
            verdict=found.verdict,
            tests=found.tests,
            tests_total=found.tests_total,
            held_out=held_out.verdict,
            message=held_out.message,
            runs=2,
        )

    async def _sound(self, task: Task, code: str, tests: Tests, *, run_all: bool, held_out: bool = False) -> Judged:
        async with self._room:
            found = await self._run(task, code, tests, run_all=run_all, held_out=held_out)
        require_sound(found.verdict, found.tests, found.message)
        return found


class ExecutorJudge(Judge):
    """An executor of our own in this process."""

    def __init__(self, *, slots: int = 0) -> None:
        super().__init__()
        config = ExecutorConfig(slots=slots)
        self._executor = Executor(config)
        # The executor's own queue has an end; ours wait here.
        self._room = asyncio.Semaphore(_QUEUED_PER_SLOT * config.effective_slots)

    def described(self) -> dict[str, Any]:
        """The sandbox of this machine."""
        info = self._executor.info
        return {"sandbox": info.backend, "sandbox_version": info.version, "weaknesses": list(info.weaknesses)}

    def check(self, tasks: Sequence[Task]) -> None:
        """Whatever a task says can be run here."""

    async def _run(self, task: Task, code: str, tests: Tests, *, run_all: bool, held_out: bool) -> Judged:
        make = task.make_held_out if held_out else task.make
        if make is not None:
            report = await self._executor.run(make(code))
            if task.read is not None and not held_out:
                return task.read(report)
        else:
            asked = replace(
                task.record,
                entry_point=task.document.get("entry_point", ""),
                setup_code=task.document.get("setup_code", ""),
            )
            limits = limits_of(task.document)
            report = await self._executor.run(program_of(asked, code, limits, tests=tests, run_all=run_all))
        return Judged(
            verdict=report.verdict.value,
            tests=tuple(test.verdict.value for test in report.tests),
            tests_total=report.tests_total,
            message=shortened(report.detail or next((test.message for test in report.tests if test.message), "")),
        )

    async def __aenter__(self) -> Self:
        await self._executor.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._executor.close()


class ServerJudge(Judge):
    """The ExecutionService of a running server."""

    def __init__(self, address: str, token: str | None = None) -> None:
        super().__init__()
        self._server = find_server(address, token)
        self._client: AsyncClient | None = None
        self._described: dict[str, Any] = {}

    def described(self) -> dict[str, Any]:
        """The sandbox of the server."""
        return self._described

    def check(self, tasks: Sequence[Task]) -> None:
        """Programs that only an executor here can be given."""
        require_documents(tasks)

    async def _run(self, task: Task, code: str, tests: Tests, *, run_all: bool, held_out: bool) -> Judged:
        assert self._client is not None
        asked = program(code, {**task.document, "tests": list(tests)}, run_all=run_all)
        return judged(await self._client.execute(asked))

    async def __aenter__(self) -> Self:
        self._client = AsyncClient(self._server)
        try:
            load = await self._client.load()
            self._room = asyncio.Semaphore(_QUEUED_PER_SLOT * max(1, load.executor_slots))
            self._described = await sandbox_of(self._client)
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        if self._client is not None:
            await self._client.close()


async def sandbox_of(client: AsyncClient) -> dict[str, Any]:
    """What a server says of its sandbox, for the protocol."""
    sandbox = (await client.server_info()).sandbox
    return {
        "sandbox": sandbox.backend,
        "sandbox_version": sandbox.version,
        "weaknesses": list(sandbox.weaknesses),
    }


def judged(report: verdict_pb2.ExecutionReport) -> Judged:
    """A server's report. Raises RunFailed where it lowered a limit: the protocol did not hold then."""
    require_limits(report.lowered_limits)
    words = verdict_pb2.Verdict.DESCRIPTOR
    return Judged(
        verdict=enum_word(words, report.verdict),
        tests=tuple(enum_word(words, test.verdict) for test in report.results),
        tests_total=report.tests_total,
        message=shortened(report.detail or next((test.message for test in report.results if test.message), "")),
    )


def require_limits(lowered: Iterable[verdict_pb2.LoweredLimit]) -> None:
    """Raises RunFailed where a server has lowered a limit."""
    for one in lowered:
        raise RunFailed(
            f"the server lowered {one.limit} from {one.asked:g} to {one.applied:g}; ask for less, or raise the "
            "server's maximum (executor.max_* of its settings)"
        )


def require_sound(verdict: str, tests: tuple[str, ...], message: str) -> None:
    """A failure of the sandbox is never counted against a program. Raises RunFailed."""
    if verdict == _FAILED or _FAILED in tests:
        raise RunFailed(f"the sandbox failed: {message or 'no reason given'}; run `thresher doctor`")


def split(tests: Tests) -> tuple[list[TestDocument], list[TestDocument]]:
    """The tests that decide, and the held-out ones."""
    parts: tuple[list[TestDocument], list[TestDocument]] = ([], [])
    for test in tests:
        parts[isinstance(test, dict) and bool(test.get("hidden", False))].append(test)
    return parts


def limits_of(document: Mapping[str, Any]) -> Limits:
    """The limits of a problem document for the executor, which has its own name for one of them."""
    given = dict(document.get("limits", {}))
    if "max_processes" in given:
        given["processes"] = given.pop("max_processes")
    return Limits(**given)


def require_documents(tasks: Sequence[Task]) -> None:
    """Raises CannotRun where a server would have to judge what a problem document cannot say."""
    for task in tasks:
        if task.make is not None:
            raise CannotRun(
                f"{task.id}: programs made by {task.made_by} are judged here, not by a server; leave out --server"
            )


def shortened(message: str) -> str:
    """The first line of a message, of bounded length."""
    return message.strip().partition("\n")[0][:_MESSAGE]
