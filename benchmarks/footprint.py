"""How long a server takes to get ready, and the memory it holds with many samples alive.

    python -m benchmarks.footprint [--model NAME] [--samples 64] [--starts 3] [--out FILE.json]

Starts a server several times, from warm caches (the first start, which may compile and pack, is told apart). Then one
solve draws so many samples at once, and the memory of the server's processes is read while they are alive: resident
set, and proportional set, in which pages that processes share count once.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from thresher.client import AsyncClient, solve_spec

from benchmarks.record import provenance, write
from benchmarks.server import Server, own_server
from benchmarks.steady import document

_PERIOD = 0.1
_WATCHED = 25.0


def memory(server: Server) -> dict[str, int]:
    """Bytes of the server's own processes, jails left out."""
    front = psutil.Process(server.pid)
    mine = front.uids().real
    total = {"resident_bytes": 0, "proportional_bytes": 0}
    for process in (front, *front.children(recursive=True)):
        # Jails and what starts them come and go.
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.uids().real == mine:
                found = process.memory_full_info()
                total["resident_bytes"] += found.rss
                total["proportional_bytes"] += found.pss
    return total


async def alive(server: Server, samples: int) -> dict[str, Any]:
    """The most branches seen alive at once, and the most memory meanwhile."""
    sampling: dict[str, Any] = {"k": samples, "seed": 1, "width": samples, "max_new_tokens": 200}
    sampling |= {"keep_after_program": True, "temperature": 1.5}  # so that they part, and all live long
    most: dict[str, Any] = {"branches": 0, "resident_bytes": 0, "proportional_bytes": 0}
    async with AsyncClient(server.address) as client:
        solving = asyncio.create_task(client.solve_once(solve_spec(document(3, sampling=sampling, policy="all"))))
        end = time.monotonic() + _WATCHED
        while not solving.done() and time.monotonic() < end:
            most["branches"] = max(most["branches"], (await client.load()).branches_running)
            for name, value in memory(server).items():
                most[name] = max(most[name], value)
            await asyncio.sleep(_PERIOD)
        # What the candidates do in the sandbox is of no interest here.
        solving.cancel()
        await asyncio.wait([solving])
    return most


def measure(model: str, samples: int, starts: int) -> dict[str, Any]:
    """Both."""
    seconds: list[float] = []
    result: dict[str, Any] = {}
    for number in range(starts + 1):
        began = time.monotonic()
        with own_server("--model", model) as server:
            seconds.append(round(time.monotonic() - began, 2))
            if number == starts:
                result = {"at_rest": memory(server), "samples": samples, "alive": asyncio.run(alive(server, samples))}
    return {"first_start_seconds": seconds[0], "start_seconds": seconds[1:], **result}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    measured = measure(arguments.model, arguments.samples, arguments.starts)
    command = ["python", "-m", "benchmarks.footprint", *sys.argv[1:]]
    result = {"experiment": "footprint", "provenance": provenance(command), "model": arguments.model, **measured}
    if arguments.out is not None:
        write(arguments.out, result)
    print(result)


if __name__ == "__main__":
    main()
