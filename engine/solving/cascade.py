"""A cascade: tiers in order, the cheap ones first; the tests decide whether the next one is needed.

Verify, then escalate: a tier draws until a program passes or until it is not worth going on; only then the next one is
asked, which is given the programs that failed (Chen et al., "Model cascading for code", 2024, with tests of the
problem's own in place of generated ones).
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from engine.metrics import Metrics
from engine.solving.ascent import Ascent
from engine.solving.errors import DeadlineExceeded, QueueFull, Unavailable
from engine.solving.events import SolveEvent
from engine.solving.served import ModelInfo, TierInfo
from engine.solving.spans import end_solve_span, solve_span
from engine.solving.spec import SolveSpec
from engine.solving.stage import Policy, Stage
from engine.solving.tiers import Cut

_SEED_BITS = 53  # exact in a JSON number
_LEAVE_SECONDS = 2.5


class CascadeSolver:
    """Solves by its tiers, and is called `name` as if it were a model.

    `most`: samples where a request leaves their number open. `waiting`: solves that wait for their first tier at most.
    """

    def __init__(
        self, name: str, stages: Sequence[Stage], policy: Policy, *, most: int, waiting: int, metrics: Metrics
    ) -> None:
        self.name = name
        self._stages = tuple(stages)
        self._policy = policy
        self._most = most
        self._waiting = waiting
        self._metrics = metrics
        self._live: set[Ascent] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @property
    def running(self) -> int:
        """Solves that a tier has accepted."""
        return sum(ascent.started for ascent in self._live)

    @property
    def waits(self) -> int:
        """Solves that wait for their first tier."""
        return len(self._live) - self.running

    def info(self) -> ModelInfo:
        """What it can do: what any of its tiers can, as far as they are known by now."""
        known = [info for stage in self._stages if (info := stage.tier.info()) is not None]
        return ModelInfo(
            name=self.name,
            context_length=max((info.context_length for info in known), default=0),
            chat=any(info.chat for info in known),
            infill=any(info.infill for info in known),
            dtype="",
            device="",
            # Which tier passes first, and when one gives up, depends on time and on other solves.
            deterministic=(
                not self._policy.hedged
                and not self._policy.learned
                and len(known) == len(self._stages)
                and all(info.deterministic for info in known)
            ),
            tiers=tuple(
                TierInfo(stage.tier.name, stage.tier.model, tuple(stage.tier.addresses)) for stage in self._stages
            ),
        )

    async def solve(
        self, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent, None]:
        """Events of one solve; `deadline` is in seconds from now.

        Closing the generator, or cancelling the task that reads it, ends the solve in every tier; `cut`, once done,
        ends it with its summary.

        Raises:
            SolveError: one of `engine.solving.errors`.
        """
        if self._draining:
            raise Unavailable("DRAINING", "the server is shutting down; ask another one")
        if deadline is not None and deadline <= 0:
            raise DeadlineExceeded(queued=True)
        if self.waits >= self._waiting:
            raise QueueFull(self.waits, retry_after=1.0)
        seed = secrets.randbits(_SEED_BITS) if spec.sampling.seed is None else spec.sampling.seed
        span = solve_span(spec, self.name, seed, spec.sampling.k)
        ascent = Ascent(
            spec,
            self._stages,
            self._policy,
            model=self.name,
            seed=seed,
            most=self._most,
            ends_at=None if deadline is None else time.monotonic() + deadline,
            metrics=self._metrics,
            span=span,
        )
        self._live.add(ascent)
        if cut is not None:
            cut.add_done_callback(lambda _: ascent.leave())
        self._idle.clear()
        self._metrics.solve_waiting(self.name)
        started = False
        try:
            async with aclosing(ascent.events()) as events:
                async for event in events:
                    if not started:
                        started = True
                        self._metrics.solve_started(self.name, spec.priority.value, ascent.seconds)
                    yield event
        finally:
            self._live.discard(ascent)
            if not self._live:
                self._idle.set()
            self._metrics.solve_ended(
                self.name,
                ascent.outcome,
                spec.priority.value,
                ascent.accounting,
                ascent.seconds,
                started=started,
                trace_id=None if span is None else span.trace_id,
            )
            if span is not None:
                end_solve_span(span, ascent.outcome, ascent.accounting)

    async def drain(self, seconds: float) -> None:
        """Refuse new solves, wait up to `seconds` for the live ones, then end them."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        for ascent in self._live:
            ascent.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), _LEAVE_SECONDS)
