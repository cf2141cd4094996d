"""The whole path on real problems: MBPP sanitized, test split, one solve after the other.

    python -m benchmarks.first_path --data DIR [--problems 60] [--k 16] [--out FILE.json]

Twice over the same problems: FIRST_PASS gives what a user waits for (solved, time to first pass), ALL gives the
measures of the field (pass@1 by the unbiased estimator, pass@k, each with a 95 % bootstrap interval over problems).
DIR holds mbpp/sanitized-mbpp.json.gz; THRESHER_DATA is its default.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from thresher.client import Client, solve_spec
from thresher.v1 import solve_pb2

from benchmarks import data
from benchmarks.experiments.resampling import mean
from benchmarks.record import provenance, write
from benchmarks.server import own_server


def load(folder: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` problems of the test split, as problem documents."""
    records = [record for record in data.load("mbpp-sanitized", data=folder).records if record.split == "test"]
    records.sort(key=lambda record: int(record.id))
    return [data.document(record, problem_id=f"mbpp/{record.id}") for record in records[:count]]


def solve(client: Client, document: dict[str, Any], policy: str, k: int, seed: int) -> dict[str, Any]:
    """One solve; the figures of its summary."""
    sampling = {"k": k, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 512, "seed": seed}
    began = time.monotonic()
    summary: solve_pb2.Summary | None = None
    for event in client.solve(solve_spec({**document, "policy": policy, "sampling": sampling})):
        if event.HasField("summary"):
            summary = event.summary
    if summary is None:
        raise RuntimeError("a solve without a summary")
    books = summary.accounting
    first = books.time_to_first_pass.ToNanoseconds() / 1e9 if books.HasField("time_to_first_pass") else None
    return {
        "problem": document["problem_id"],
        "solved": summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED,
        "seconds": round(time.monotonic() - began, 3),
        "time_to_first_pass": first,
        "samples_finished": books.samples_finished,
        "samples_passed": books.samples_passed,
        "distinct_programs": books.candidates_finished,
        "generated_tokens": books.generated_tokens,
        "rows_computed": books.rows_computed,
        "rows_saved": books.rows_saved,
        "wasted_tokens": books.wasted_tokens,
    }


def interval(values: list[float]) -> list[float]:
    """95 % percentile bootstrap interval of the mean, 10,000 resamples over problems."""
    found = mean(values)
    return [round(found.low, 4), round(found.high, 4)]


def first_pass_report(solves: list[dict[str, Any]]) -> dict[str, Any]:
    """What a user waits for."""
    times = [one["time_to_first_pass"] for one in solves if one["solved"]]
    return {
        "problems": len(solves),
        "solved": len(times),
        "time_to_first_pass_median_of_solved": round(statistics.median(times), 3) if times else None,
        "seconds_median_of_all": round(statistics.median(one["seconds"] for one in solves), 3),
        "generated_tokens": sum(one["generated_tokens"] for one in solves),
        "rows_computed": sum(one["rows_computed"] for one in solves),
        "wasted_tokens": sum(one["wasted_tokens"] for one in solves),
        "solves": solves,
    }


def all_report(solves: list[dict[str, Any]], k: int) -> dict[str, Any]:
    """The measures of the field; every sample is an independent, complete draw."""
    if any(one["samples_finished"] != k for one in solves):
        raise RuntimeError("a solve did not finish all its samples: pass@k cannot be computed from it")
    # With n = k samples the estimator 1 - C(n-c, j) / C(n, j) is c / n at j = 1, and [c > 0] at j = n.
    at_1 = [one["samples_passed"] / k for one in solves]
    at_k = [float(one["samples_passed"] > 0) for one in solves]
    rows, saved = sum(one["rows_computed"] for one in solves), sum(one["rows_saved"] for one in solves)
    return {
        "problems": len(solves),
        "pass@1": round(statistics.fmean(at_1), 4),
        "pass@1_interval_95": interval(at_1),
        f"pass@{k}": round(statistics.fmean(at_k), 4),
        f"pass@{k}_interval_95": interval(at_k),
        "seconds": round(sum(one["seconds"] for one in solves), 1),
        "generated_tokens": sum(one["generated_tokens"] for one in solves),
        "generated_tokens_per_second": round(
            sum(one["generated_tokens"] for one in solves) / sum(one["seconds"] for one in solves), 1
        ),
        "rows_computed": rows,
        "rows_saved_share": round(saved / (rows + saved), 4),
        "solves": solves,
    }


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("THRESHER_DATA"))
    parser.add_argument("--problems", type=int, default=60)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data or THRESHER_DATA must name the folder that holds mbpp/")
    documents = load(options.data, options.problems)
    result: dict[str, Any] = {
        "experiment": "first_path",
        "protocol": {
            "problems": "MBPP sanitized, test split, first by id",
            "prompt": "chat; all tests of a problem shown; see thresher.client.prompts",
            "k": options.k,
            "temperature": 0.8,
            "top_p": 0.95,
            "max_new_tokens": 512,
            "seed": "index of the problem",
            "model": options.model,
        },
        "provenance": provenance(["python", "-m", "benchmarks.first_path", *sys.argv[1:]]),
    }
    with own_server("--model", options.model) as server, Client(server.address) as client:
        for policy in ("first_pass", "all"):
            solves: list[dict[str, Any]] = []
            for seed, document in enumerate(documents):
                solves.append(solve(client, document, policy, options.k, seed))
                one = solves[-1]
                print(
                    f"{policy} {seed + 1}/{len(documents)} {one['problem']}: solved={one['solved']} "
                    f"{one['samples_passed']}/{one['samples_finished']} samples, {one['seconds']:.1f} s",
                    file=sys.stderr,
                )
            result[policy] = first_pass_report(solves) if policy == "first_pass" else all_report(solves, options.k)
    if options.out is not None:
        write(options.out, result)
    shown = {
        part: {name: value for name, value in result[part].items() if name != "solves"}
        for part in ("first_pass", "all")
    }
    print(json.dumps(shown, indent=2))


if __name__ == "__main__":
    main()
