"""A server over a scripted engine in a process of its own, for tests that put a load on it."""

import os
import signal
import socket
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
def load_server() -> Iterator[LoadServer]:
    """Serve until the end of the block; it must then stop with status 0."""
    # Paths of sockets are short, and those of pytest's folders are not.
    with tempfile.TemporaryDirectory(prefix="thr") as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            metrics = f"127.0.0.1:{probe.getsockname()[1]}"
        log, path = Path(folder) / "log", f"{folder}/s"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.serve_scripted_engine", path, metrics],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=os.environ | {"XDG_RUNTIME_DIR": folder},
            )
        try:
            with Client(f"unix:{path}") as client:
                try:
                    client.wait_ready(60.0)
                except Exception as error:
                    raise AssertionError(log.read_text()) from error
            yield LoadServer(f"unix:{path}", metrics, log, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(30.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        assert status == 0, log.read_text()[-4000:]
