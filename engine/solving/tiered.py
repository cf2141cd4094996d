"""A server with a cascade beside its models: both behind one front."""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from engine.solving.cascade import CascadeSolver
from engine.solving.errors import ModelNotFound, Unavailable
from engine.solving.events import SolveEvent
from engine.solving.served import Load, ModelInfo
from engine.solving.spec import SolveSpec
from engine.solving.tiers import Cut, Solving
from executor import ExecutorLike


class Elsewhere(Protocol):
    """A tier on other servers, as the life of this one goes."""

    @property
    def name(self) -> str: ...
    @property
    def up(self) -> bool:
        """Whether it takes solves."""
        ...

    @property
    def trouble(self) -> str:
        """Why those of its servers are down that are."""
        ...

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to look for its servers; `changed` is called when one comes up or goes down."""
        ...

    async def asked(self) -> None:
        """Until it is known of each of its servers whether it is up."""
        ...

    def loads(self) -> list[tuple[int, int, int]]:
        """Of each of its servers that is up: solves that run and wait, and slots of its sandbox."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class OwnSolver(Solving, Protocol):
    """The solver of a server's own models, as the front sees it, too."""

    @property
    def status(self) -> str: ...
    @property
    def default_model(self) -> str: ...
    @property
    def executor(self) -> ExecutorLike: ...
    def on_status(self, callback: Callable[[str], None], /) -> None: ...
    async def start(self) -> None: ...
    def load(self) -> Load: ...
    async def drain(self, seconds: float) -> None: ...
    async def close(self) -> None: ...


class TieredSolver:
    """Solves by the server's own models, or, for the cascade's name, by the cascade."""

    def __init__(self, own: OwnSolver, cascade: CascadeSolver, elsewhere: Sequence[Elsewhere]) -> None:
        self._own = own
        self._cascade = cascade
        self._elsewhere = tuple(elsewhere)
        self._watchers: list[Callable[[str], None]] = []
        self._draining = False
        own.on_status(lambda _: self._tell_watchers())

    @property
    def status(self) -> str:
        """That of the server's own models; a tier elsewhere that is down is another one's trouble."""
        return "draining" if self._draining else self._own.status

    @property
    def default_model(self) -> str:
        """The model of requests that name none."""
        return self._own.default_model

    @property
    def executor(self) -> ExecutorLike:
        """The sandbox."""
        return self._own.executor

    def on_status(self, callback: Callable[[str], None], /) -> None:
        """Call `callback` with the status at each change."""
        self._watchers.append(callback)

    def _tell_watchers(self) -> None:
        for watcher in self._watchers:
            watcher(self.status)

    async def start(self) -> None:
        """Start the server's own models. Tiers elsewhere are looked for meanwhile, and may come later."""
        for tier in self._elsewhere:
            tier.start(self._tell_watchers)
        await self._own.start()

    async def solve(
        self, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent, None]:
        """Events of one solve, see Solver.solve."""
        if self._draining:
            raise Unavailable("DRAINING", "the server is shutting down; ask another one")
        solver = self._cascade if spec.model == self._cascade.name else self._own
        events = solver.solve(spec, deadline=deadline, cut=cut)
        try:
            async for event in events:
                yield event
        except ModelNotFound as error:
            raise ModelNotFound(error.model, (*error.known, self._cascade.name)) from error
        finally:
            await events.aclose()

    def load(self) -> Load:
        """How busy the server itself is."""
        return replace(self._own.load(), draining=self._draining)

    def models(self) -> tuple[ModelInfo, ...]:
        """The models whose engines are up, and the cascade."""
        return (*self._own.models(), self._cascade.info())

    async def drain(self, seconds: float) -> None:
        """Refuse new solves, wait up to `seconds` for the live ones, then end them.

        The models go on as long as a cascade may need them for its next tier.
        """
        self._draining = True
        self._tell_watchers()
        ends_at = time.monotonic() + seconds
        await self._cascade.drain(seconds)
        await self._own.drain(max(0.0, ends_at - time.monotonic()))

    async def close(self) -> None:
        """Release everything."""
        self._draining = True
        await self._own.close()
        for tier in self._elsewhere:
            await tier.close()
