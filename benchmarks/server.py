"""A server of one's own for a measurement: started, waited for, stopped."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from thresher.client import Client, ThresherError

_START_SECONDS = 300.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its address, its front's process id, and the file that its log goes to."""

    address: str
    pid: int
    log: Path


def free_port() -> int:
    """A TCP port of the loopback that nobody listens on.

    If it can, it is below those that Linux hands out by itself: no connection takes it before somebody listens there.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    for port in (*random.sample(range(first // 2, first), 100), 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise RuntimeError("no port of the loopback is free")


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    """Until the server is ready; a RuntimeError if it ends instead."""
    until = time.monotonic() + _START_SECONDS
    with Client(address) as client:
        while True:
            try:
                client.wait_ready(2.0)
            except ThresherError as error:
                if process.poll() is not None:
                    raise RuntimeError(
                        f"the server ended with status {process.returncode} before it was ready"
                    ) from error
                if time.monotonic() > until:
                    raise
            else:
                return


@contextmanager
def own_server(*flags: str) -> Generator[Server]:
    """`thresher serve` with these flags on a Unix socket in a temporary folder.

    A SIGTERM to this process ends it too.

    Raises:
        RuntimeError: it does not get ready, or does not stop with status 0; the message holds the end of its log.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="thresher-") as folder:
        address = f"unix:{folder}/s.sock"
        log = Path(folder) / "server.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "engine.cli.main", "serve", "--listen", address, *flags],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | {"XDG_RUNTIME_DIR": folder},
                start_new_session=True,
            )
        try:
            _wait(process, address)
            yield Server(address, process.pid, log)
        except Exception as error:
            raise RuntimeError(f"{error}\nthe server's log ends with:\n{log.read_text()[-4000:]}") from error
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
        if status != 0:
            raise RuntimeError(f"the server ended with status {status}:\n{log.read_text()[-4000:]}")
