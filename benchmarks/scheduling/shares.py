"""Eight clients, one of them greedy: how long the others wait, against eight modest ones.

    python -m benchmarks.scheduling.shares [--seconds 90] [--out FILE.json]

Every client has one solve at a time. A modest one asks for 8 samples of 64 tokens; eight of those fill a step of 64
rows, so that an eighth of the machine is what each has: its fair share. Then one of the eight asks for 256 samples
instead. What the other seven wait may not grow by more than 1.3. The samples go on for 64 tokens each, so that every
modest solve is the same work. The second part does the same with 4 samples, where eight modest clients leave rows
unused that a greedy one may take. For both, eight times what a modest client waits that is alone: what an eighth of the
machine would be if it were one's own.
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

_CLIENTS = 8
_TOKENS = 64


def asked(documents: list[dict[str, Any]], k: int, seed: int) -> list[dict[str, Any]]:
    """Solves of k samples of `_TOKENS` tokens each, hardly two of which agree; they are not judged by a pass."""
    sampling = {
        "k": k,
        "temperature": 1.0,
        "top_p": 1.0,
        "max_new_tokens": _TOKENS,
        "seed": seed,
        "keep_after_program": True,
    }
    # What is measured is the engine: judging these texts is to take the same little time everywhere.
    plain = [
        {"problem_id": one["problem_id"], "completion": one["completion"], "tests": ["assert True"]}
        for one in documents
    ]
    return [{**one, "policy": "all", "sampling": sampling} for one in plain]


async def phase(address: str, documents: list[dict[str, Any]], k: int, greedy: int | None, seconds: float) -> Any:
    """All clients for so long; the seconds of the solves of all but the last client."""
    count = _CLIENTS - 1
    share = len(documents) // _CLIENTS
    mine = [asked(documents[share * one : share * (one + 1)], k, one) for one in range(_CLIENTS)]
    if greedy is not None:
        mine[-1] = asked(documents[-share:], greedy, _CLIENTS)
    async with load(address, {"last": mine[-1]}):
        await asyncio.sleep(3)  # the last client is there first, as is its prompt
        until = time.monotonic() + seconds
        found = await asyncio.gather(*(keep_asking(address, f"client {n}", mine[n], until) for n in range(count)))
    return percentiles([one["seconds"] for lines in found for one in lines])


async def alone(address: str, documents: list[dict[str, Any]], k: int, seconds: float) -> Any:
    """A modest client and nobody else."""
    mine = asked(documents[: len(documents) // _CLIENTS], k, 0)
    found = await keep_asking(address, "alone", mine, time.monotonic() + seconds)
    return percentiles([one["seconds"] for one in found])


async def run(address: str, documents: list[dict[str, Any]], result: dict[str, Any], given: argparse.Namespace) -> None:
    """All phases, after one to warm up."""
    await phase(address, documents, 8, None, 10.0)
    for k in (8, 4):
        found: dict[str, Any] = {"alone": await alone(address, documents, k, given.seconds / 3)}
        for name, greedy in (("eight modest", None), ("seven modest, one greedy", given.greedy)):
            found[name] = await phase(address, documents, k, greedy, given.seconds)
        fair, other = found["eight modest"], found["seven modest, one greedy"]
        found["greedy_over_eight_times_alone"] = round(other["p50"] / _CLIENTS / found["alone"]["p50"], 3)
        found["ratio"] = {part: round(other[part] / fair[part], 3) for part in ("p50", "p90", "p99")}
        result["results"][f"{k} samples"] = found
        print(k, found, flush=True)
        write(given.out, result)


def main(arguments: list[str]) -> int:
    """Modest and greedy in turns."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling.shares", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--greedy", type=int, default=256)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/shares.json"))
    given = parser.parse_args(arguments)
    documents = problems(data_folder(given.data), 0, 5 * _CLIENTS)
    result: dict[str, Any] = {
        "experiment": "shares",
        "provenance": provenance(["python", "-m", "benchmarks.scheduling.shares", *arguments]),
        "model": given.model,
        "clients": _CLIENTS,
        "greedy_samples": given.greedy,
        "tokens_a_sample": _TOKENS,
        "results": {},
    }
    with own_server("--model", given.model) as server:
        asyncio.run(run(server.address, documents, result, given))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
