"""The solver: engines, executor and live solves of one server."""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from functools import partial

import structlog

from engine.core.types import EndReason
from engine.loop.arbiter import Arbiter
from engine.loop.client import EngineClient, EngineDown, Link, SubmitRefused
from engine.loop.messages import StepReport
from engine.metrics import Metrics
from engine.solving.backing import OwnedExecutor, watch_executor
from engine.solving.drawing import submission
from engine.solving.engine_side import refused
from engine.solving.errors import DeadlineExceeded, ModelNotFound, Unavailable
from engine.solving.events import SolveEvent
from engine.solving.memory import Memory, free_bytes
from engine.solving.served import Load, ModelInfo
from engine.solving.solve import Solve
from engine.solving.spans import SolveSpans, solve_span
from engine.solving.spec import SolveSpec
from engine.solving.tiers import Cut
from engine.solving.timers import Timer
from executor import ExecutorLike, SandboxInfo

_SEED_BITS = 53  # exact in a JSON number
_RATE_SECONDS = 10.0
_LEAVE_SECONDS = 2.5
_CUTS = {EndReason.CUT_OFF: Timer.CUT, EndReason.CANCELLED: Timer.LEFT}

_log = structlog.stdlib.get_logger("solver")


class Status(StrEnum):
    """How the server is."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class _Engine:
    """One served model: its client, and what its last steps said."""

    def __init__(self, client: EngineClient) -> None:
        self.client = client
        self.last: StepReport | None = None
        self.steps: deque[tuple[float, int]] = deque()

    @property
    def rows_per_second(self) -> float:
        since = time.monotonic() - _RATE_SECONDS
        return sum(rows for when, rows in self.steps if when >= since) / _RATE_SECONDS


class Solver:
    """Runs solves of at most `max_k` samples.

    `starters` start the engine of each model, the first of them that of the default model. All compute on one device:
    those that were started as `shared` take turns, by `weights` (1 where none is named).
    """

    def __init__(
        self,
        *,
        starters: dict[str, Callable[[], Awaitable[Link]]],
        executor: OwnedExecutor,
        metrics: Metrics,
        max_k: int,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.default_model = next(iter(starters))
        self._metrics = metrics
        self._max_k = max_k
        self._executor = executor
        self._status = Status.STARTING
        self._watchers: list[Callable[[str], None]] = []
        arbiter = Arbiter(lambda seconds, callback: asyncio.get_running_loop().call_later(seconds, callback))
        self._engines = {
            name: _Engine(
                EngineClient(
                    start,
                    on_report=partial(self._on_report, name),
                    on_change=self._on_engine_change,
                    seat=arbiter.seat(name, (weights or {}).get(name, 1.0)),
                )
            )
            for name, start in starters.items()
        }
        self._live: set[Solve] = set()
        self._counted: set[Solve] = set()
        self._burying: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stats: asyncio.Task[None] | None = None

    # State

    @property
    def status(self) -> str:
        """A value of Status."""
        return self._status.value

    @property
    def executor(self) -> ExecutorLike:
        """The sandbox, for programs that come from elsewhere."""
        return self._executor

    @property
    def sandbox(self) -> SandboxInfo:
        """What isolates the programs."""
        return self._executor.info

    def on_status(self, callback: Callable[[str], None], /) -> None:
        """Call `callback` with the new status at each change, and whenever a model's engine comes or goes."""
        self._watchers.append(callback)

    def _set_status(self, status: Status) -> None:
        if status is not self._status:
            self._status = status
            self._tell_watchers()

    def _tell_watchers(self) -> None:
        for watcher in self._watchers:
            watcher(self._status.value)

    def _on_engine_change(self) -> None:
        if self._status in (Status.READY, Status.FAILED):
            whole = all(engine.client.facts is not None for engine in self._engines.values())
            self._status = Status.READY if whole else Status.FAILED
            # Told also where it is the same: another engine may be the one that is down.
            self._tell_watchers()

    def _on_report(self, model: str, report: StepReport) -> None:
        engine = self._engines[model]
        engine.last = report
        now = time.monotonic()
        engine.steps.append((now, report.rows))
        while engine.steps[0][0] < now - _RATE_SECONDS:
            engine.steps.popleft()
        if report.seconds:
            seconds = report.seconds + report.overhead_seconds
            self._metrics.step(model, report.rows, seconds, report.prefill_tokens, report.token_gaps)
        if report.seconds or report.turn_seconds:
            self._metrics.device(model, report.seconds, report.turn_seconds)
        self._metrics.engine_state(model, report.branches, report.kv_usage, report.pages_shared)
        if report.idle_seconds:
            self._metrics.engine_idle("waiting_executor" if self._live else "no_work", report.idle_seconds)

    def load(self) -> Load:
        """How busy the server is."""
        reports = [engine.last for engine in self._engines.values() if engine.last is not None]
        stats = self._executor.stats()
        return Load(
            solves_running=sum(1 for solve in self._live if solve.started),
            solves_waiting=self._waiting(),
            branches_running=sum(report.branches for report in reports),
            kv_cache_usage=max((report.kv_usage for report in reports), default=0.0),
            executor_slots=stats.slots,
            executor_queue=stats.queue_depth,
            rows_per_second=sum(engine.rows_per_second for engine in self._engines.values()),
            draining=self._status is Status.DRAINING,
        )

    def _waiting(self) -> int:
        return sum(1 for solve in self._live if not solve.started)

    def models(self) -> tuple[ModelInfo, ...]:
        """The models whose engines are up."""
        return tuple(
            ModelInfo(
                name=name,
                context_length=facts.context_length,
                chat=facts.chat,
                infill=facts.infill,
                dtype=facts.dtype,
                device=facts.device,
                deterministic=facts.deterministic,
            )
            for name, engine in self._engines.items()
            if (facts := engine.client.facts) is not None
        )

    # Life

    async def start(self) -> None:
        """Start the executor, then the engines, and wait until all models are loaded.

        Raises:
            SandboxUnavailable, ExecutorDied, EngineDown, ModelsDoNotFit: the message says what is missing.
        """
        memory = Memory(free_bytes())
        await self._executor.__aenter__()
        self._stats = asyncio.create_task(watch_executor(self._executor, self._metrics))
        for name, engine in self._engines.items():
            facts = await engine.client.start()
            memory.take(name, facts)
            self._metrics.kv_pages(name, facts.pages)
            _log.info(
                "model_ready",
                model=name,
                seconds=round(facts.load_seconds, 2),
                dtype=facts.dtype,
                kv_tokens=facts.pages * facts.page_size,
            )
        self._set_status(Status.READY)
        self._on_engine_change()  # one may have died while another was loading

    async def drain(self, seconds: float) -> None:
        """Refuse new solves, wait up to `seconds` for the live ones, then end them."""
        self._set_status(Status.DRAINING)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        for solve in self._live:
            solve.interrupt(Timer.DRAIN)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), _LEAVE_SECONDS)

    async def close(self) -> None:
        """Release everything: jails first, then the engines."""
        self._set_status(Status.DRAINING)
        if self._stats is not None:
            self._stats.cancel()
        await self._executor.close()
        await asyncio.gather(*(engine.client.close() for engine in self._engines.values()))
        if self._burying:
            await asyncio.wait(self._burying, timeout=_LEAVE_SECONDS)

    # Solves

    async def solve(
        self, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent, None]:
        """Events of one solve; `deadline` is in seconds from now.

        Closing the generator, or cancelling the task that reads it, ends the solve everywhere; `cut`, once done, ends
        it with its summary.

        Raises:
            SolveError: one of `engine.solving.errors`.
        """
        began = time.monotonic()
        self._require_open()
        name = spec.model or self.default_model
        if name not in self._engines:
            raise ModelNotFound(name, tuple(self._engines))
        if deadline is not None and deadline <= 0:
            raise DeadlineExceeded(queued=True)
        client = self._engines[name].client
        seed = secrets.randbits(_SEED_BITS) if spec.sampling.seed is None else spec.sampling.seed
        k = spec.samples(self._max_k)
        solve = Solve(
            spec,
            model=name,
            seed=seed,
            k=k,
            executor=self._executor,
            slots=self._executor.stats().slots,
            engine=client,
            metrics=self._metrics,
            spans=SolveSpans(solve_span(spec, name, seed, k)),
        )
        # From here on a drain waits for it, and ends it.
        self._live.add(solve)
        self._idle.clear()
        if cut is not None:
            cut.add_done_callback(lambda done: solve.interrupt(_CUTS[done.result()]))
        left = None if deadline is None else deadline - (time.monotonic() - began)
        try:
            async with asyncio.timeout(left):
                await self._begin(solve, client, left)
        except BaseException as error:
            late = "deadline" if isinstance(error, TimeoutError) else "error"
            solve.outcome = late if isinstance(error, Exception) else "cancelled"
            if solve.engine.submitted:
                self._count(solve)  # the engine may have begun with it
            if solve in self._counted:
                self._bury_later(solve, client)
            else:
                solve.stop_timers()
                self._leave(solve)
            match error:
                case TimeoutError():
                    raise DeadlineExceeded(queued=True) from error
                case EngineDown():
                    raise Unavailable("ENGINE_RESTARTING", str(error), retry_after=5.0) from error
                case SubmitRefused():
                    raise refused(error.refusal, self._waiting()) from error
                case _:
                    raise
        try:
            async with contextlib.aclosing(solve.events()) as events:
                async for event in events:
                    yield event
        finally:
            self._bury_later(solve, client)

    async def _begin(self, solve: Solve, client: EngineClient, left: float | None) -> None:
        """Have the prior attempts judged, and the engine draw unless one has passed; `left`: seconds to the end."""
        began = time.monotonic()
        solve.start_timers(left)
        if solve.spec.cascade.attempts:
            self._count(solve)
            if await solve.judge_attempts():
                return
        asked = submission(
            solve.spec,
            k=solve.k,
            most=self._max_k,
            seed=solve.seed,
            judges=self._executor.stats().slots,
            seconds_left=None if left is None else left - (time.monotonic() - began),
            attempts=solve.attempts,
        )
        solve.submit()
        try:
            admitted = await client.submit(asked, solve.take)
        except (EngineDown, SubmitRefused):
            solve.refuse()
            raise
        solve.admit(admitted)
        self._count(solve)

    def _count(self, solve: Solve) -> None:
        """It is more than a refused request: the metrics hear of it, once."""
        if solve not in self._counted:
            self._counted.add(solve)
            self._metrics.solve_waiting(solve.model)

    def _bury_later(self, solve: Solve, client: EngineClient) -> None:
        task = asyncio.create_task(self._bury(solve, client))
        self._burying.add(task)
        task.add_done_callback(self._burying.discard)

    async def _bury(self, solve: Solve, client: EngineClient) -> None:
        """See to it that nothing of a solve is left, then close its books."""
        try:
            try:
                await asyncio.wait_for(solve.abandon(), _LEAVE_SECONDS)
            except TimeoutError:
                _log.error("solve_did_not_end", request_id=solve.spec.request_id)
                solve.give_up()
            if solve in self._counted:
                self._metrics.solve_ended(
                    solve.model,
                    solve.outcome,
                    solve.spec.priority.value,
                    solve.accounting,
                    solve.seconds,
                    started=solve.started,
                    trace_id=solve.spans.trace_id,
                )
                self._log_end(solve)
        finally:
            if solve.engine.admitted is not None:
                client.forget(solve.engine.admitted.solve)
            self._leave(solve)

    def _log_end(self, solve: Solve) -> None:
        """The receipt of a solve: what the metrics have counted of it, also where its caller has left unanswered."""
        spent = {name: value for name, value in asdict(solve.accounting).items() if value}
        _log.info(
            "solve_ended",
            request_id=solve.spec.request_id,
            model=solve.model,
            outcome=solve.outcome,
            priority=solve.spec.priority.value,
            seconds=round(solve.seconds, 4),
            accounting=spent,
            verdicts=solve.verdicts,
        )

    def _leave(self, solve: Solve) -> None:
        solve.spans.end(solve.outcome, solve.accounting)
        self._counted.discard(solve)
        self._live.discard(solve)
        if not self._live:
            self._idle.set()

    def _require_open(self) -> None:
        """Whether an engine is up is asked of the engine itself: one that has died does not close the others."""
        if self._status is Status.STARTING:
            raise Unavailable("STARTING", "the server is still loading its model", retry_after=2.0)
        if self._status is Status.DRAINING:
            raise Unavailable("DRAINING", "the server is shutting down; ask another one")
