"""Random schedules of the scheduler with every invariant checked after each step: `python -m benchmarks.schedules`.

No times: it counts what happened in schedules that all held. The first that does not hold is reported by its seed.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.record import provenance, write
from tests.support import random_schedule
from tests.support.random_schedule import Tally


def main(arguments: list[str]) -> int:
    """Run the schedules, every other one with steps submitted ahead, and write their sums."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1_000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/schedules.json"))
    given = parser.parse_args(arguments)
    tally = Tally()
    for seed in range(given.first, given.first + given.schedules):
        try:
            tally += random_schedule.run(seed, ahead=bool(seed % 2))
        except AssertionError as error:
            print(f"schedule {seed} does not hold: {error}", file=sys.stderr)
            return 1
    result = {"experiment": "schedules", "provenance": provenance(["python", "-m", "benchmarks.schedules", *arguments])}
    write(given.out, {**result, **asdict(tally)})
    print(tally)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
