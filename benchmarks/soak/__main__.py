"""Soak a server of one's own.

    python -m benchmarks.soak [--minutes 30] [--model NAME] [--out FILE.json]

Rounds of a mixed load: solves whose callers wait, leave, or have little time, hostile programs, requests that are none.
After each round the server comes to rest and is looked at. Exit code 0 if nothing has grown since the warm-up (pages,
branches, jails, control groups, descriptors, threads, tasks, processes, memory), no call ended as none may, and the
clients' book agrees with the server's; 1 otherwise, with every fault in words.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from benchmarks.record import provenance, write
from benchmarks.server import free_port, own_server
from benchmarks.soak.rounds import Soaked, soak


def measure(minutes: float, model: str, seed: int) -> Soaked:
    """The soak, on a server that is started here and has to stop well."""
    metrics = f"127.0.0.1:{free_port()}"
    flags = ("--model", model, "--metrics", metrics, "--log-format", "json")
    with own_server(*flags) as server:
        work = soak(server.address, metrics, server.log, server.pid, minutes=minutes, seed=seed, say=_say)
        return asyncio.run(work)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    found = measure(options.minutes, options.model, options.seed)
    if options.out is not None:
        asked = {"minutes": options.minutes, "model": options.model, "seed": options.seed}
        command = ["python", "-m", "benchmarks.soak", *sys.argv[1:]]
        write(options.out, {"experiment": "soak", "provenance": provenance(command), **asked, **found.plain()})
    for name, counts in (("solves", found.solves), ("guests", found.guests)):
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.most_common()))
    for fault in found.faults:
        print(f"FAULT: {fault}")
    print("nothing has grown, and the books agree" if not found.faults else f"{len(found.faults)} faults")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
