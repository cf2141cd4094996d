"""A process with all that it starts: paused, resumed, weighed and ended together."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from benchmarks.peers.lane import LaneFailed


class Family:
    """Starts at once. What it writes to stderr (and to stdout, unless `talk`) goes to the file `log`."""

    def __init__(
        self, command: Sequence[str], *, log: Path, environment: Mapping[str, str], talk: bool = False
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else file,
                stderr=file,
                env=dict(environment),
                text=True,
            )
        self._root = psutil.Process(self._process.pid)

    @property
    def pipes(self) -> tuple[IO[str], IO[str]]:
        """Where to write and where to read; only with `talk`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Ask `ready` until it says yes. Raises LaneFailed when the process ends before, or after `seconds`."""
        end = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None:
                raise LaneFailed(f"it ended with status {self._process.returncode}: {self.last_words()}")
            if time.monotonic() > end:
                raise LaneFailed(f"it was not ready after {seconds:.0f} s: {self.last_words()}")
            time.sleep(0.02)

    def last_words(self, characters: int = 1000) -> str:
        """The end of the log, in one line."""
        return " | ".join(self.log.read_text(errors="replace")[-characters:].split("\n")).strip(" |")

    def resident_mib(self) -> float:
        """Proportional set size of all its processes (pages that they share count once), in MiB."""
        total = 0
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return round(total / (1 << 20), 1)

    def pause(self) -> None:
        """Stop all processes."""
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let them go on."""
        for process in self._members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def end(self) -> None:
        """Kill all processes and wait for them."""
        members = self._members()
        for process in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(members, timeout=30)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _members(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
