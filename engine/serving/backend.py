"""What the front needs of the solver and the executor; their real classes and the scripted ones of the tests fit."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from engine.solving.events import SolveEvent
from engine.solving.served import Load, ModelInfo
from engine.solving.spec import SolveSpec
from engine.solving.tiers import Cut
from executor.sandbox import OnTest
from executor.types import Program
from executor.verdict import Report


class SandboxInfoLike(Protocol):
    """The sandbox found at start: back end, version, guarantees that it does not give, languages that it runs."""

    @property
    def backend(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def weaknesses(self) -> Sequence[str]: ...
    @property
    def runtimes(self) -> Sequence[str]: ...


class ExecutorLike(Protocol):
    """Runs programs in the sandbox."""

    @property
    def info(self) -> SandboxInfoLike: ...

    async def run(self, program: Program, *, group: str = "", on_test: OnTest | None = None) -> Report:
        """Run one program against its tests; cancelling the awaiting task kills its jail.

        `on_test` is called with each test's report as it is settled.
        """
        ...


class SolverLike(Protocol):
    """Draws programs, judges them, and ends each solve exactly once."""

    @property
    def status(self) -> str:
        """One of starting, ready, draining, failed (an engine has died and is starting again)."""
        ...

    @property
    def default_model(self) -> str: ...
    @property
    def executor(self) -> ExecutorLike | None:
        """The sandbox; None for a front that only passes solves on."""
        ...

    def on_status(self, callback: Callable[[str], None], /) -> None:
        """Call `callback` with the new status at each change, in the event loop's thread."""
        ...

    async def start(self) -> None: ...

    def solve(
        self, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent, None]:
        """Events of one solve; `deadline` is in seconds from now. Raises the errors of `engine.solving.errors`.

        Closing the generator, or cancelling the task that reads it, ends the solve everywhere; `cut`, once done, ends
        it with a summary.
        """
        ...

    def load(self) -> Load: ...
    def models(self) -> tuple[ModelInfo, ...]: ...

    async def drain(self, seconds: float) -> None:
        """Refuse new solves, wait up to `seconds` for live ones, then end them."""
        ...

    async def close(self) -> None:
        """Release everything: jails first, then the engine."""
        ...
