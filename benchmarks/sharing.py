"""Whether sampling, sandbox and front starve each other on one machine's cores.

    python -m benchmarks.sharing [--model NAME] [--seconds 20] [--out FILE.json]

A real server with a real model, in four phases: a quiet one; solves that draw all the time; programs that arrive at a
steady rate, judged by Execute; and both at once. In each: how long the front takes to answer (GetLoad), a program's way
to its verdict, and the rows computed in a second. What both phases lose beside the phases alone is what sharing costs.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from thresher.client import AsyncClient, program, solve_spec

from benchmarks.record import provenance, write
from benchmarks.server import own_server
from benchmarks.steady import document

_PROGRAM = "def f(x):\n    return x * x\n"
_TESTS = {"tests": ["assert f(3) == 9"], "entry_point": "f"}


class Phase:
    """What is measured while a phase lasts; times in seconds."""

    def __init__(self, client: AsyncClient, seconds: float) -> None:
        self._client = client
        self._end = time.monotonic() + seconds
        self.answers: list[float] = []
        self.verdicts: list[float] = []
        self.rows = 0

    async def watch(self) -> None:
        """Ask the front 20 times a second."""
        while time.monotonic() < self._end:
            began = time.monotonic()
            await self._client.load()
            self.answers.append(time.monotonic() - began)
            await asyncio.sleep(0.05)

    async def judge(self, rate: float) -> None:
        """Send programs at a steady rate, whether the ones before are back or not."""
        request = program(_PROGRAM, _TESTS)
        running: list[asyncio.Task[None]] = []

        async def one() -> None:
            began = time.monotonic()
            await self._client.execute(request)
            self.verdicts.append(time.monotonic() - began)

        while time.monotonic() < self._end:
            running.append(asyncio.create_task(one()))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*running)

    async def draw(self, first: int) -> None:
        """One solve of 16 samples after the other."""
        number = first
        while time.monotonic() < self._end:
            number += 2
            sampling = {"k": 16, "seed": number, "max_new_tokens": 120, "keep_after_program": True}
            done = await self._client.solve_once(solve_spec(document(number, sampling=sampling, policy="all")))
            self.rows += done.summary.accounting.rows_computed


async def measure(address: str, seconds: float, rate: float) -> dict[str, Any]:
    """All phases, one after the other."""
    phases: dict[str, Any] = {}
    async with AsyncClient(address) as client:
        for name, draws, judges in (
            ("warm-up", True, True),
            ("quiet", False, False),
            ("drawing", True, False),
            ("judging", False, True),
            ("both", True, True),
        ):
            phase = Phase(client, seconds)
            began = time.monotonic()
            jobs = [phase.watch()]
            if draws:
                jobs += [phase.draw(0), phase.draw(1)]
            if judges:
                jobs.append(phase.judge(rate))
            await asyncio.gather(*jobs)
            if name != "warm-up":
                phases[name] = {
                    "front_ms": _quantiles(phase.answers),
                    "verdict_ms": _quantiles(phase.verdicts),
                    "rows_per_second": round(phase.rows / (time.monotonic() - began), 1),
                }
    both = phases["both"]
    return {
        "phases": phases,
        "programs_per_second": rate,
        "rows_kept": round(both["rows_per_second"] / phases["drawing"]["rows_per_second"], 3),
        "verdict_p50_ratio": round(both["verdict_ms"]["p50"] / phases["judging"]["verdict_ms"]["p50"], 2),
    }


def _quantiles(times: list[float]) -> dict[str, float]:
    if not times:
        return {}
    values = {f"p{q}": round(1000 * float(np.percentile(times, q)), 2) for q in (50, 90, 99)}
    return {"count": len(times), **values}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a phase")
    parser.add_argument("--rate", type=float, default=10.0, help="programs a second")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with own_server("--model", arguments.model) as server:
        measured = asyncio.run(measure(server.address, arguments.seconds, arguments.rate))
    command = ["python", "-m", "benchmarks.sharing", *sys.argv[1:]]
    result = {"experiment": "sharing", "provenance": provenance(command), "model": arguments.model, **measured}
    if arguments.out is not None:
        write(arguments.out, result)
    print(result)


if __name__ == "__main__":
    main()
