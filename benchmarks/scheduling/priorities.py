"""Interactive solves on a server that batch work keeps full: with and without the batch marked as such.

    python -m benchmarks.scheduling.priorities [--seconds 90] [--out FILE.json]

One client asks as an editor does, one solve of 8 samples up to the first pass after the other, half a second between
two, over twenty HumanEval problems. Meanwhile four clients have solves of 64 samples to be judged without end: nobody;
as `priority: batch`; and as `interactive` like the editor itself, which is the same load without priorities.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.record import provenance, write
from benchmarks.scheduling.crowd import keep_asking, load, percentiles
from benchmarks.server import own_server
from benchmarks.tree.humaneval import data_folder
from benchmarks.tree.humaneval import load as problems

_BATCH_CLIENTS = 4


def editor(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the editor asks for."""
    sampling = {"k": 8, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 128}
    return [{**one, "sampling": {**sampling, "seed": seed}} for seed, one in enumerate(documents)]


def batch(documents: list[dict[str, Any]], priority: str) -> list[dict[str, Any]]:
    """What the others ask for."""
    sampling = {"k": 64, "temperature": 1.0, "max_new_tokens": 256, "seed": 7}
    return [{**one, "policy": "all", "priority": priority, "sampling": sampling} for one in documents]


async def phase(
    address: str, mine: list[dict[str, Any]], others: dict[str, list[dict[str, Any]]], seconds: float
) -> Any:
    """The editor for so long beside the others."""
    async with load(address, others):
        await asyncio.sleep(5 if others else 0)
        found = await keep_asking(address, "editor", mine, time.monotonic() + seconds, pause=0.5)
    first = [one["first_pass"] for one in found if "first_pass" in one]
    return {"seconds": percentiles([one["seconds"] for one in found]), "first_pass": percentiles(first)}


async def run(
    address: str,
    mine: list[dict[str, Any]],
    loads: dict[str, dict[str, list[dict[str, Any]]]],
    result: dict[str, Any],
    given: argparse.Namespace,
) -> None:
    """The loads in their order."""
    await phase(address, mine, {}, 20.0)  # prompts and drafts as warm in every phase
    for name, others in loads.items():
        result["results"][name] = await phase(address, mine, others, given.seconds)
        print(name, result["results"][name], flush=True)
        write(given.out, result)


def main(arguments: list[str]) -> int:
    """The three loads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling.priorities", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/priorities.json"))
    given = parser.parse_args(arguments)
    folder = data_folder(given.data)
    mine, theirs = editor(problems(folder, 0, 20)), problems(folder, 40, 8 * _BATCH_CLIENTS)
    loads: dict[str, dict[str, list[dict[str, Any]]]] = {"no load": {}}
    for name, priority in (("batch load", "batch"), ("the same load without priorities", "interactive")):
        loads[name] = {f"batch {n}": batch(theirs[8 * n : 8 * (n + 1)], priority) for n in range(_BATCH_CLIENTS)}
    result: dict[str, Any] = {
        "experiment": "priorities",
        "provenance": provenance(["python", "-m", "benchmarks.scheduling.priorities", *arguments]),
        "model": given.model,
        "results": {},
    }
    with own_server("--model", given.model) as server:
        asyncio.run(run(server.address, mine, loads, result, given))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
