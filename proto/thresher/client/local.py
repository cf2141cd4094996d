"""The server of this user on this machine: the one that runs, or one that is started."""

import os
import shutil
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Self

import grpc

from thresher.client.channel import Endpoint, find_server
from thresher.client.errors import ThresherError
from thresher.client.runtime import UnsafeRuntimeDir, ensure_runtime_dir, read_runtime_file
from thresher.client.sync import Client

_STOP_SECONDS = 60.0
_LOG_LINES = 15


class LocalServer:
    """A server on this machine. One that was started here ends with `close`, the `with` block, or this process.

    `endpoint` is what clients call: `Client(server.endpoint)`. `started` says whether it was started here, and `log` is
    the file that it then writes to.
    """

    def __init__(
        self, endpoint: Endpoint, process: subprocess.Popen[bytes] | None = None, log: Path | None = None
    ) -> None:
        self.endpoint = endpoint
        self.started = process is not None
        self.log = log
        self._stop = weakref.finalize(self, _stop, process) if process is not None else None

    def client(self) -> Client:
        """A new client of it."""
        return Client(self.endpoint)

    def close(self) -> None:
        """Stops it in good order, if this started it. May be called twice."""
        if self._stop is not None:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def local_server(*flags: str, timeout: float = 300.0) -> LocalServer:
    """The server that this user runs here, ready to serve; one is started where none runs.

    `flags` are those of `thresher serve`, such as `"--model", "smollm2-135m-instruct"`; they are for a server that is
    started, and refused where one runs already. `timeout`: seconds that it may take to be ready.

    Raises:
        ThresherError: it cannot be started or does not get ready; the message holds the end of its log.
        ValueError: there are flags, and a server runs already.
    """
    if (endpoint := _running()) is not None:
        if flags:
            raise ValueError(f"flags: {' '.join(flags)} cannot be given to the server that runs at {endpoint.target}")
        with Client(endpoint) as client:
            client.wait_ready(timeout)
        return LocalServer(endpoint)
    try:
        log = ensure_runtime_dir() / "started.log"
    except (UnsafeRuntimeDir, OSError) as error:
        raise _not_started(str(error)) from error
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_command(), "serve", *flags],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which then stops it in good order
        )
    try:
        endpoint = _until_ready(process, log, time.monotonic() + timeout)
    except BaseException:
        _stop(process)
        raise
    return LocalServer(endpoint, process, log)


def _running() -> Endpoint | None:
    """The server of the runtime file, whatever the environment names; None where none runs."""
    try:
        info = read_runtime_file()
    except (UnsafeRuntimeDir, ValueError) as error:
        raise _not_started(str(error)) from error
    if info is None or not info.alive:
        return None
    # The token and the issuers of certificates are still the user's to give.
    return find_server(environ={name: value for name, value in os.environ.items() if name != "THRESHER_ADDRESS"})


def _until_ready(process: subprocess.Popen[bytes], log: Path, end: float) -> Endpoint:
    """Waits until the process has said where it listens, and serves there."""

    def still_there() -> None:
        if process.poll() is not None:
            raise _not_started(f"it ended with status {process.returncode}:\n{_tail(log)}")

    while (info := read_runtime_file()) is None or info.pid != process.pid:
        still_there()
        if time.monotonic() > end:
            raise _not_started(f"it does not listen:\n{_tail(log)}")
        time.sleep(0.05)
    endpoint = _running()
    if endpoint is None:
        raise _not_started(f"it ended at once:\n{_tail(log)}")
    with Client(endpoint) as client:
        client.wait_ready(max(0.1, end - time.monotonic()), between=still_there)
    return endpoint


def _command() -> list[str]:
    """The `thresher` of this environment, else the one on PATH."""
    found = shutil.which("thresher", path=Path(sys.executable).parent) or shutil.which("thresher")
    if found is None:
        raise _not_started("there is no thresher command here; run: pip install 'thresher[server]'")
    return [found]


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:])


def _not_started(why: str) -> ThresherError:
    message = f"no server could be started: {why}"
    return ThresherError(
        grpc.StatusCode.UNAVAILABLE, "NOT_STARTED", message, advice="`thresher doctor` says what is missing"
    )
