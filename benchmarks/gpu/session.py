"""How `gpu-check`, `gpu-bench` and `gpu-peers` begin and end: arguments, the device, the time they have, their file.

Nothing but torch, triton and numpy is needed. Without a GPU each ends with status 2; with --dry the smallest case of
everything runs on the CPU under Triton's interpreter, so that no script rots unseen: its times mean nothing. The file
is there from the start, so that a process that dies leaves what it had found, and `ended` says that it did not end.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import provenance, write

_SECONDS = 450.0
_MOST_SECONDS = 475.0
"""A command is to be over in eight minutes: no case begins after the one, and one that still runs after the other is
given up, with the process."""

_DRY_SECONDS = 3600.0
_LEFT_OUT = "left out: the command's time was over"


@dataclass(slots=True)
class Session:
    """One run of a command. `cases` are the rows of its file: what was asked, and what was found or what went wrong.

    dry: whether cases are the smallest; interpreted: whether they run on the CPU. seconds: no case begins later;
    most_seconds: whatever runs then is given up.
    """

    command: str
    results: Path
    dry: bool
    commit: str
    seconds: float = _SECONDS
    most_seconds: float = _MOST_SECONDS
    interpreted: bool = False
    began: float = field(default_factory=time.monotonic)
    cases: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    _about: dict[str, Any] = field(default_factory=dict[str, Any])
    _now: tuple[dict[str, Any], float] | None = None
    _section_seconds: dict[str, float] = field(default_factory=dict[str, float])
    _writing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.interpreted else "cuda")

    @property
    def dtype(self) -> torch.dtype:
        """bfloat16; float16 on the CPU, since the interpreter gets bfloat16 wrong."""
        return torch.float16 if self.interpreted else torch.bfloat16

    @property
    def left(self) -> float:
        """Seconds in which cases may still begin."""
        return self.seconds - (time.monotonic() - self.began)

    def case(self, section: str, about: dict[str, Any], run: Callable[[], dict[str, Any]]) -> None:
        """Run one case and note what comes of it; a failure is noted, printed, and fails the command in the end."""
        row: dict[str, Any] = {"section": section, **about}
        began = time.monotonic()
        if self.left < 0:
            row["failed"] = _LEFT_OUT
        else:
            self._now = row, began
            try:
                row |= run()
            except Exception as error:  # whatever a kernel or a compiler raises is a result here
                row["failed"] = _told(error)
                traceback.print_exc()
            row["seconds"] = round(time.monotonic() - began, 2)
        with self._writing:
            self._now = None
            self.cases.append(row)
            self._write(ended=False)
        print(" ".join(f"{key}={_short(value)}" for key, value in row.items()), flush=True)

    def part(self, name: str, run: Callable[[], None]) -> None:
        """Run one section; what goes wrong outside of its cases is a case that failed. Its seconds are noted."""
        began = time.monotonic()
        try:
            run()
        except Exception as error:  # as in a case: the other sections still have their say
            self.cases.append({"section": name, "what": "what its cases need", "failed": _told(error)})
            traceback.print_exc()
        with self._writing:
            self._section_seconds[name] = round(time.monotonic() - began, 1)
            self._write(ended=False)

    def begin(self) -> None:
        """Write the file, and see to it that the process ends, with status 1, once `most_seconds` are over."""
        with self._writing:
            self._write(ended=False)
        timer = threading.Timer(self.most_seconds - (time.monotonic() - self.began), self._give_up)
        timer.daemon = True
        timer.start()

    def finish(self) -> int:
        """Write the file; the command's exit status: 1 if a case failed."""
        with self._writing:
            path, failed, took = self._write(ended=True)
        print(f"{len(self.cases)} cases, {failed} failed, {took} s: {path}", flush=True)
        for row in self.cases:
            if "failed" in row:
                print(f"FAILED: {' '.join(f'{key}={_short(value)}' for key, value in row.items())}", file=sys.stderr)
        return 1 if failed else 0

    def _give_up(self) -> None:
        with self._writing:
            row, began = self._now or ({"section": "session", "what": "between two cases"}, time.monotonic())
            told = f"given up: the command has had {self.most_seconds:g} s"
            self.cases.append({**row, "seconds": round(time.monotonic() - began, 1), "failed": told})
            path, failed, took = self._write(ended=False)
            print(f"given up: {len(self.cases)} cases, {failed} failed, {took} s: {path}", file=sys.stderr, flush=True)
            # A kernel that hangs cannot be stopped in any other way; nobody else writes meanwhile.
            os._exit(1)

    def _write(self, *, ended: bool) -> tuple[Path, int, float]:
        """Write the file as things stand: (where, cases that failed, seconds so far)."""
        if not self._about:
            self._about = provenance([self.command, *sys.argv[1:]])
            self._about["commit"] = self.commit or self._about["commit"]
            self._about["gpu"] = {"name": "none (interpreted)"} if self.interpreted else gpu()
        if ended and not self.interpreted:
            self._about["gpu_in_the_end"] = gpu()
        failed = sum("failed" in row for row in self.cases)
        took = round(time.monotonic() - self.began, 1)
        path = self.results / f"{self.command}.json"
        result = self._about | {
            "dry": self.dry,
            "ended": ended,
            "took_seconds": took,
            "section_seconds": self._section_seconds,
            "failed": failed,
            **self.extra,
            "cases": self.cases,
        }
        write(path, result)
        return path, failed, took


def session(command: str, description: str) -> Session:
    """Read the arguments and look for a GPU. Import no kernel before: a dry run tells Triton to interpret them."""
    parser = argparse.ArgumentParser(prog=command, description=description)
    parser.add_argument("--results", type=Path, required=True, help="folder for the one file that is written")
    parser.add_argument("--dry", action="store_true", help="the smallest cases on the CPU, under Triton's interpreter")
    parser.add_argument(
        "--smallest", action="store_true", help="the cases of --dry on the GPU, for tools that watch it"
    )
    parser.add_argument("--commit", default="", help="commit of these sources, where git cannot tell")
    given = parser.parse_args()
    if given.dry:
        os.environ["TRITON_INTERPRET"] = "1"
    elif not torch.cuda.is_available():
        print(f"{command}: no CUDA device here; --dry runs the smallest cases on the CPU", file=sys.stderr)
        raise SystemExit(2)
    found = Session(command, given.results, given.dry or given.smallest, given.commit, interpreted=given.dry)
    if found.dry:
        found.seconds = found.most_seconds = _DRY_SECONDS
    found.begin()
    return found


def gpu() -> dict[str, Any]:
    """What is to be known about the first device."""
    properties = torch.cuda.get_device_properties(0)
    found = {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "l2_bytes": properties.L2_cache_size,
        "cuda": torch.version.cuda,
    }
    query = "driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw"
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", "-i", "0"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        found |= dict(zip(query.split(","), (part.strip() for part in done.stdout.split(",")), strict=True))
    except (OSError, subprocess.SubprocessError, ValueError):
        found["driver_version"] = "unknown: nvidia-smi did not tell"
    return found


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
