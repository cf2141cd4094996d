"""How `gpu-check`, `gpu-bench` and `gpu-peers` begin and end: arguments, the device, the time they have, their file.

Nothing but torch, triton and numpy is needed. Without a GPU each ends with status 2; with --dry the smallest case of
everything runs on the CPU under Triton's interpreter, so that no script rots unseen: its times mean nothing.
"""

import argparse
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import provenance, write

_SECONDS = 460.0
"""A command is to be over in eight minutes; a case that has begun is ended."""


@dataclass(slots=True)
class Session:
    """One run of a command. `cases` are the rows of its file: what was asked, and what was found or what went wrong."""

    command: str
    results: Path
    dry: bool
    commit: str
    seconds: float = _SECONDS
    began: float = field(default_factory=time.monotonic)
    cases: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.dry else "cuda")

    @property
    def dtype(self) -> torch.dtype:
        """bfloat16; float16 in a dry run, since the interpreter gets bfloat16 wrong."""
        return torch.float16 if self.dry else torch.bfloat16

    def case(self, section: str, about: dict[str, Any], run: Callable[[], dict[str, Any]]) -> None:
        """Run one case and note what comes of it; a failure is noted, printed, and fails the command in the end."""
        row: dict[str, Any] = {"section": section, **about}
        began = time.monotonic()
        if began - self.began > self.seconds:
            row["failed"] = "left out: the command's time was over"
        else:
            try:
                row |= run()
            except Exception as error:  # whatever a kernel or a compiler raises is a result here
                row["failed"] = f"{type(error).__name__}: {error}"[:1000]
                traceback.print_exc()
            row["seconds"] = round(time.monotonic() - began, 2)
        self.cases.append(row)
        print(" ".join(f"{key}={_short(value)}" for key, value in row.items()), flush=True)

    def finish(self) -> int:
        """Write the file; the command's exit status: 1 if a case failed."""
        failed = [row for row in self.cases if "failed" in row]
        result = provenance([self.command, *sys.argv[1:]]) | {
            "gpu": {"name": "none (interpreted)"} if self.dry else gpu(),
            "dry": self.dry,
            "took_seconds": round(time.monotonic() - self.began, 1),
            "failed": len(failed),
            **self.extra,
            "cases": self.cases,
        }
        result["commit"] = self.commit or result["commit"]
        path = self.results / f"{self.command}.json"
        write(path, result)
        print(f"{len(self.cases)} cases, {len(failed)} failed, {result['took_seconds']} s: {path}", flush=True)
        return 1 if failed else 0


def session(command: str, description: str) -> Session:
    """Read the arguments and look for a GPU. Import no kernel before: a dry run tells Triton to interpret them."""
    parser = argparse.ArgumentParser(prog=command, description=description)
    parser.add_argument("--results", type=Path, required=True, help="folder for the one file that is written")
    parser.add_argument("--dry", action="store_true", help="the smallest cases on the CPU, under Triton's interpreter")
    parser.add_argument("--commit", default="", help="commit of these sources, where git cannot tell")
    given = parser.parse_args()
    if given.dry:
        os.environ["TRITON_INTERPRET"] = "1"
        return Session(command, given.results, True, given.commit)
    if not torch.cuda.is_available():
        print(f"{command}: no CUDA device here; --dry runs the smallest cases on the CPU", file=sys.stderr)
        raise SystemExit(2)
    return Session(command, given.results, False, given.commit)


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


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
