"""A small model before a big one, against each of them alone, at the same number of samples in all.

    python -m benchmarks.cascades.solved --data DIR [--problems 60] [--k 16] [--first 4] [--arm NAME ...] [--out FILE]

One server serves both models and the cascade; MBPP sanitized, test split, one solve after the other, FIRST_PASS. The
arms: `small` and `big` draw up to k samples, `cascade` up to `first` from the small model and k - `first` from the big
one. `attempt` sends each problem with its reference solution as a prior attempt: what an answer costs that a cheaper
tier already had. With --out an arm that was measured replaces its earlier figures in the file and leaves the others.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thresher.client import Client, solve_spec
from thresher.v1 import solve_pb2

from benchmarks import data
from benchmarks.record import provenance, write
from benchmarks.server import own_server

SMALL, BIG = "smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"
ARMS = {"small": SMALL, "big": BIG, "cascade": "cascade", "attempt": BIG}
"""The model that each arm asks for."""


def documents(folder: Path, count: int) -> list[tuple[dict[str, Any], str]]:
    """The first `count` problems of the test split, each with its reference solution."""
    records = [record for record in data.load("mbpp-sanitized", data=folder).records if record.split == "test"]
    records.sort(key=lambda record: int(record.id))
    return [(data.document(record, problem_id=f"mbpp/{record.id}"), record.references[0]) for record in records[:count]]


def config(first: int, k: int) -> str:
    """Settings, as TOML, of a server with both models and the cascade."""
    tiers = "".join(
        f'[[cascade.tiers]]\nname = "{name}"\nmodel = "{model}"\nk = {samples}\n'
        for name, model, samples in (("small", SMALL, first), ("big", BIG, k - first))
    )
    return f'[models]\nserve = ["{SMALL}", "{BIG}"]\n{tiers}'


@contextmanager
def server(first: int, k: int) -> Generator[Client]:
    """A client of such a server."""
    with tempfile.TemporaryDirectory(prefix="thresher-") as folder:
        path = Path(folder) / "cascade.toml"
        path.write_text(config(first, k))
        with own_server("--config", str(path)) as running, Client(running.address) as client:
            yield client


def solve(client: Client, document: dict[str, Any], model: str, k: int, seed: int) -> dict[str, Any]:
    """One solve; the figures of its summary."""
    sampling = {"k": k, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 256, "seed": seed}
    began = time.monotonic()
    summary = client.solve_once(solve_spec({**document, "model": model, "sampling": sampling})).summary
    books = summary.accounting
    return {
        "problem": document["problem_id"],
        "solved": summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED,
        "seconds": round(time.monotonic() - began, 4),
        "generated_tokens": books.generated_tokens,
        "samples_started": books.samples_started,
        "programs_run": books.candidates_executed,
        "tiers": {
            tier.name: {
                "outcome": solve_pb2.TierOutcome.Name(tier.outcome).removeprefix("TIER_OUTCOME_").lower(),
                "generated_tokens": tier.accounting.generated_tokens,
                "samples_started": tier.accounting.samples_started,
            }
            for tier in summary.tiers
        },
    }


def report(solves: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of an arm. Per solved problem: what all problems took together, by the number of the solved."""
    solved = [one for one in solves if one["solved"]]
    seconds, tokens = (sum(one[name] for one in solves) for name in ("seconds", "generated_tokens"))
    return {
        "problems": len(solves),
        "solved": len(solved),
        "seconds": round(seconds, 1),
        "generated_tokens": tokens,
        "seconds_per_solved": round(seconds / len(solved), 2) if solved else None,
        "tokens_per_solved": round(tokens / len(solved), 1) if solved else None,
        "seconds_median": round(statistics.median(one["seconds"] for one in solves), 4),
        "solved_by": {
            name: sum(one["tiers"].get(name, {}).get("outcome") == "solved" for one in solved)
            for name in sorted({name for one in solves for name in one["tiers"]})
        },
        "solves": solves,
    }


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("THRESHER_DATA"))
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--first", type=int, default=4, help="samples of the cascade's small model")
    parser.add_argument("--arm", action="append", choices=list(ARMS), default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data or THRESHER_DATA must name the folder that holds mbpp/")
    if not 0 < options.first < options.k:
        parser.error(f"--first {options.first}: both models need samples; choose 1 to {options.k - 1}")
    protocol = {
        "problems": f"MBPP sanitized, test split, first {options.problems} by id",
        "prompt": "chat; all tests of a problem shown; see thresher.client.prompts",
        "k": options.k,
        "first": options.first,
        "temperature": 0.8,
        "top_p": 0.95,
        "max_new_tokens": 256,
        "seed": "index of the problem",
        "small": SMALL,
        "big": BIG,
    }
    result: dict[str, Any] = {"experiment": "cascade", "protocol": protocol, "arms": {}}
    if options.out is not None and options.out.exists():
        result = json.loads(options.out.read_text())
        if result["protocol"] != protocol:
            parser.error(f"--out {options.out}: measured by another protocol; choose another file")
    with server(options.first, options.k) as client:
        for arm in options.arm or list(ARMS):
            solves: list[dict[str, Any]] = []
            for seed, (document, reference) in enumerate(documents(options.data, options.problems)):
                known = {"cascade": {"prior_attempts": [reference]}} if arm == "attempt" else {}
                solves.append(solve(client, document | known, ARMS[arm], options.k, seed))
                print(f"{arm} {len(solves)}/{options.problems} {solves[-1]}", file=sys.stderr)
            about = provenance(["python", "-m", "benchmarks.cascades.solved", *sys.argv[1:]])
            result["arms"][arm] = {"provenance": about, **report(solves)}
            if options.out is not None:
                write(options.out, result)
            shown = {name: value for name, value in result["arms"][arm].items() if name not in ("solves", "provenance")}
            print(json.dumps({arm: shown}, indent=2))


if __name__ == "__main__":
    main()
