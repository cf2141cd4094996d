"""A whole server over a scripted engine, as a process.

    python -m tests.support.serve_scripted_engine SOCKET WAITING STEP_SECONDS

Front, solver, scheduler and gRPC are the real ones; texts come from a script and verdicts from words in them
(tests.support.scripted_engine). The prompt says which texts may be drawn: see PROGRAMS. So many solves may wait; one
more is refused. Its metrics are at a port of the loopback that its log tells.
"""

import sys

from engine.config import LogFormat, LogLevel, Settings
from engine.logs import configure_logs
from engine.metrics import Metrics
from engine.serving.app import run
from engine.solving.solver import Solver
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver

PROGRAMS = {
    "easy": {"x = 'PASS a'\n": 2.0, "x = 'FAIL b'\n": 1.0, "x = 'FAIL c'\n": 1.0},
    "hard": {"x = 'FAIL a'\n": 3.0, "x = 'FAIL b'\n": 3.0, "x = 'PASS'\n": 0.2, "x = 'FAIL c'\n": 1.0},
    "hopeless": {"x = 'FAIL a'\n": 1.0, "x = 'FAIL b'\n": 1.0, "x = 'FAIL c'\n": 1.0},
    "race": {"PASS = 1\n": 1.0, f"FAIL = '{'z' * 300}'\n": 3.0},
    "long": {f"FAIL = '{'z' * 600}'\n": 1.0, f"x = '{'y' * 600}'\n": 1.0},
    "slow": {"x = 'PASS'\n": 1.0, "x = 'SLOW FAIL'\n": 3.0},
    "stuck": {"x = 'SLOW FAIL'\n": 1.0},
    "broken": {"x = 'BROKEN'\n": 1.0},
    "dies": {"x = 'DIES'\n": 1.0},
}


def main() -> int:
    """Serve, and return the exit code of the server."""
    socket, waiting, step_seconds = sys.argv[1:]
    configure_logs(LogLevel.INFO, LogFormat.JSON)
    listen = {"listen": (f"unix:{socket}",), "metrics_listen": "127.0.0.1:0", "drain_seconds": 1}
    settings = Settings.model_validate({"serving": listen})

    def factory(settings: Settings, metrics: Metrics) -> Solver:
        script = Script(PROGRAMS, step_seconds=float(step_seconds))
        return scripted_solver(script, FakeExecutor(0.002), rows=32, waiting=int(waiting), metrics=metrics)

    return run(settings, factory)


if __name__ == "__main__":
    sys.exit(main())
