"""A server over a scripted engine in a process of its own, for tests that put a load on it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from thresher.client import Client

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class LoadServer:
    """Its address, host:port of its metrics, its log, and its process."""

    address: str
    metrics: str
    log: Path
    pid: int


@contextmanager
def load_server(*, waiting: int = 12, step_seconds: float = 0.0005) -> Iterator[LoadServer]:
    """Serve until the end of the block; it must then stop with status 0.

    waiting: solves that may wait; one more is refused. step_seconds: what each step takes at least.
    """
    # Paths of sockets are short, and those of pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="thr") as folder:
        log, path = Path(folder) / "log", f"{folder}/s"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.serve_scripted_engine", path, str(waiting), str(step_seconds)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"XDG_RUNTIME_DIR": folder},
            )
        try:
            with Client(f"unix:{path}") as client:
                try:
                    client.wait_ready(180.0)
                except Exception as error:
                    raise AssertionError(log.read_text()) from error
            yield LoadServer(f"unix:{path}", f"127.0.0.1:{_metrics_port(log)}", log, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        assert status == 0, log.read_text()[-4000:]


def _metrics_port(log: Path) -> int:
    """The port that the server has found for its metrics, which it tells before it is ready."""
    lines = (line for line in log.read_text().splitlines() if '"listening"' in line)
    return int(json.loads(next(lines))["metrics_port"])
