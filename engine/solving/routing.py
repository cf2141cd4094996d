"""A front without models and without a sandbox: a cascade whose tiers are all elsewhere. It keeps no solve."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from engine.solving.cascade import CascadeSolver
from engine.solving.errors import ModelNotFound, Unsupported
from engine.solving.events import SolveEvent
from engine.solving.served import Load, ModelInfo
from engine.solving.spec import SolveSpec
from engine.solving.tiered import Elsewhere
from engine.solving.tiers import Cut

_PATIENCE = 30.0


class NoTier(Exception):
    """No tier could be reached at the start; the text says what each of them answered."""


class Router:
    """Takes a solver's place. A solve may go on as long as any tier is up."""

    executor = None
    """It runs no programs: which server would judge them is its caller's to choose, not its own."""

    def __init__(self, cascade: CascadeSolver, elsewhere: Sequence[Elsewhere], *, patience: float = _PATIENCE) -> None:
        self._cascade = cascade
        self._elsewhere = tuple(elsewhere)
        self._patience = patience
        self._status = "starting"
        self._some_up = asyncio.Event()
        self._watchers: list[Callable[[str], None]] = []

    @property
    def status(self) -> str:
        """One of starting, ready, draining, failed (no tier is up)."""
        return self._status

    @property
    def default_model(self) -> str:
        """The cascade."""
        return self._cascade.name

    def on_status(self, callback: Callable[[str], None], /) -> None:
        """Call `callback` with the new status at each change."""
        self._watchers.append(callback)

    def _set_status(self, status: str) -> None:
        self._status = status
        for watcher in self._watchers:
            watcher(status)

    def _on_change(self) -> None:
        up = any(tier.up for tier in self._elsewhere)
        if up:
            self._some_up.set()
        if self._status in ("ready", "failed"):
            self._set_status("ready" if up else "failed")

    async def start(self) -> None:
        """Look for the tiers, and wait for the first one that is up. Raises NoTier."""
        for tier in self._elsewhere:
            tier.start(self._on_change)
        try:
            async with asyncio.timeout(self._patience):
                await self._some_up.wait()
                for tier in self._elsewhere:
                    await tier.asked()
        except TimeoutError:
            if not self._some_up.is_set():
                told = "; ".join(f"{tier.name}: {tier.trouble}" for tier in self._elsewhere)
                raise NoTier(f"no tier can be reached ({told})") from None
        self._set_status("ready")
        self._on_change()

    def solve(
        self, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent, None]:
        """Events of one solve, see CascadeSolver.solve. Raises ModelNotFound for any other model."""
        if spec.model not in ("", self._cascade.name):
            raise ModelNotFound(spec.model, (self._cascade.name,))
        return self._cascade.solve(spec, deadline=deadline, cut=cut)

    def load(self) -> Load:
        """Solves that are here, and the slots of all tiers' sandboxes."""
        loads = [load for tier in self._elsewhere for load in tier.loads()]
        return Load(
            solves_running=self._cascade.running,
            solves_waiting=self._cascade.waits,
            branches_running=0,
            kv_cache_usage=0.0,
            executor_slots=sum(slots for _, _, slots in loads),
            executor_queue=0,
            rows_per_second=0.0,
            draining=self._status == "draining",
        )

    def models(self) -> tuple[ModelInfo, ...]:
        """The cascade."""
        return (self._cascade.info(),)

    async def drain(self, seconds: float) -> None:
        """Refuse new solves, wait up to `seconds` for the live ones, then end them."""
        self._set_status("draining")
        await self._cascade.drain(seconds)

    async def close(self) -> None:
        """Hang up."""
        self._set_status("draining")
        for tier in self._elsewhere:
            await tier.close()


def no_sandbox() -> Unsupported:
    """The error of a program that reaches a front without a sandbox."""
    return Unsupported(
        "program",
        "this front only passes solves on (thresher route); send programs to a server with a sandbox, whose verdict "
        "you then get",
        reason="ROUTER",
    )
