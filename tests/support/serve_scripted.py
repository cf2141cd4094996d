"""A server process with a scripted solver: `python -m tests.support.serve_scripted SOCKET SCENARIO DRAIN_SECONDS`.

What a solve does is in its problem_id: "quick" passes at once, "drained" once the server drains, "endless" never ends.
In the scenario "never-ends" none does.
"""

import asyncio
import sys
from collections.abc import Iterable

from engine.config import LogFormat, LogLevel, Settings
from engine.logs import configure_logs
from engine.metrics import Metrics
from engine.serving.app import run
from engine.solving.spec import SolveSpec
from tests.support.scripted_solver import ScriptedSolver, Step, forever, passing_script


def _endless(spec: SolveSpec) -> Iterable[Step]:
    first, *_ = passing_script(spec)
    return [first, forever]


async def _fail() -> None:
    raise RuntimeError("no model here")


class _Scenario(ScriptedSolver):
    """A scripted solver whose start or end goes as the scenario says."""

    def __init__(self, scenario: str) -> None:
        super().__init__(_endless if scenario == "never-ends" else self._script, status="starting")
        self.scenario = scenario
        self.drains = asyncio.Event()
        self.on_start = {"start-hangs": forever, "start-fails": _fail}.get(scenario)

    def _script(self, spec: SolveSpec) -> Iterable[Step]:
        first, *rest = passing_script(spec)
        between: dict[str, list[Step]] = {"drained": [self._drain_begins], "endless": [forever]}
        return [first, *between.get(spec.problem_id, []), *rest]

    async def _drain_begins(self) -> None:
        await self.drains.wait()

    async def drain(self, seconds: float) -> None:
        self.drains.set()
        await super().drain(seconds)

    async def close(self) -> None:
        await super().close()
        if self.scenario == "close-hangs":
            await forever()


def main() -> int:
    """Serve, and return the exit code of the server."""
    socket, scenario, drain_seconds = sys.argv[1:]
    configure_logs(LogLevel.INFO, LogFormat.JSON)
    settings = Settings.model_validate({"serving": {"listen": (f"unix:{socket}",), "drain_seconds": drain_seconds}})

    def factory(settings: Settings, metrics: Metrics) -> ScriptedSolver:
        return _Scenario(scenario)

    return run(settings, factory)


if __name__ == "__main__":
    sys.exit(main())
