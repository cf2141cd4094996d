"""How fast the executor is, beside other people's checkers, and what it leaves behind.

    THRESHER_DATA=FOLDER python -m benchmarks.executor [--part latency ...] [--mode jail ...] [--out FILE.json]

Each part runs in a process and a control group of its own, so that it can count all CPU time, that of killed jails
included; it notes what starting a bare Python costs before and after, since machines are not equally fast all day.
With --out a part that was measured replaces its earlier figures in the file and leaves the others.
Whether verdicts stay the same under load is measured by `python -m benchmarks.replay_evalplus`.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.executing import ending, endurance, race, speed
from benchmarks.executing.meter import Ledger, ledger
from benchmarks.executing.programs import available_modes
from benchmarks.record import provenance, write

Part = Callable[[tuple[str, ...], Ledger], Awaitable[dict[str, Any]]]

PARTS: dict[str, Part] = {
    "latency": speed.latency,
    "throughput": speed.throughput,
    "humaneval": race.humaneval,
    "evalplus": race.evalplus,
    "kill": ending.kill,
    "cancel": ending.cancel,
    "endurance": endurance.endurance,
}


def measure(part: str, modes: tuple[str, ...]) -> dict[str, Any]:
    """One part, in this process."""
    with ledger() as book:
        yardstick = [book.yardstick()]
        figures = asyncio.run(_awaited(PARTS[part](modes, book)))
        yardstick.append(book.yardstick())
    command = ["python", "-m", "benchmarks.executor", "--part", part]
    return {"provenance": provenance(command), "python_start_cpu_ms_before_and_after": yardstick, **figures}


async def _awaited(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return await work


def merged(path: Path | None, parts: dict[str, Any]) -> dict[str, Any]:
    """The file's content with these parts put in."""
    before: dict[str, Any] = {"experiment": "executor", "parts": {}}
    if path is not None and path.exists():
        before = json.loads(path.read_text())
    together = before["parts"] | parts
    return before | {"parts": {name: together[name] for name in PARTS if name in together}}


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--part", action="append", choices=list(PARTS), help="all of them if not given")
    parser.add_argument("--mode", action="append", choices=available_modes(), help="all of them if not given")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    parts: list[str] = options.part or list(PARTS)
    modes = tuple(options.mode or available_modes())
    measured: dict[str, Any] = {}
    if len(parts) == 1:
        measured[parts[0]] = measure(parts[0], modes)
    else:
        for part in parts:
            print(f"measuring {part} ...", file=sys.stderr)
            command = [sys.executable, "-m", "benchmarks.executor", "--part", part]
            for mode in modes:
                command += ["--mode", mode]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            measured |= json.loads(done.stdout)["parts"]
    result = merged(options.out, measured)
    if options.out is not None:
        write(options.out, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
