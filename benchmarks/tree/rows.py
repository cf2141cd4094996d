"""Rows that the sampling tree saves: HumanEval, all k samples to their natural ends, at several temperatures.

    python -m benchmarks.tree.rows [--problems 50] [--k 64] [--temperatures 0.2 0.4 0.8 1.0] [--out FILE.json]

A row is one token that the model computes for a branch. k separate draws compute one for each token but the first of
each sample; samples with equal tokens so far share theirs. Nothing here is timed: it may run beside other work. A run
that was killed goes on where it was: what FILE has is not drawn again.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from thresher.client import Client, solve_spec
from thresher.v1 import solve_pb2

from benchmarks.record import provenance, write
from benchmarks.server import own_server
from benchmarks.tree.humaneval import data_folder, load


def draw(client: Client, document: dict[str, Any], k: int, temperature: float, model: str) -> dict[str, Any]:
    """One solve to its end; what its books say."""
    sampling = {"k": k, "temperature": temperature, "top_p": 0.95, "max_new_tokens": 256, "seed": 1}
    spec = solve_spec({**document, "model": model, "policy": "all", "sampling": sampling})
    summary = next(event.summary for event in client.solve(spec) if event.HasField("summary"))
    books = summary.accounting
    return {
        "problem": document["problem_id"],
        "temperature": temperature,
        "solved": summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED,
        "samples_passed": books.samples_passed,
        "distinct_programs": books.candidates_finished,
        "generated_tokens": books.generated_tokens,
        "rows_computed": books.rows_computed,
        "rows_saved": books.rows_saved,
    }


def sums(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the problems of one temperature."""
    computed, saved = (sum(line[name] for line in lines) for name in ("rows_computed", "rows_saved"))
    return {
        "problems": len(lines),
        "rows_computed": computed,
        "rows_saved": saved,
        "share_saved": round(saved / (saved + computed), 4),
        "tokens_per_row": round(sum(line["generated_tokens"] for line in lines) / computed, 3),
        "distinct_programs_per_problem": round(sum(line["distinct_programs"] for line in lines) / len(lines), 2),
        "solved": sum(line["solved"] for line in lines),
    }


def main(arguments: list[str]) -> int:
    """Draw what is missing in the file, problem by problem."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree.rows", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--problems", type=int, default=50)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.2, 0.4, 0.8, 1.0])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/tree-rows.json"))
    given = parser.parse_args(arguments)
    documents = load(data_folder(given.data), 0, given.problems)
    result: dict[str, Any] = {
        "experiment": "tree-rows",
        "model": given.model,
        "k": given.k,
        "top_p": 0.95,
        "solves": [],
    }
    if given.out.exists():
        result = json.loads(given.out.read_text())
        if (result["model"], result["k"]) != (given.model, given.k):
            raise SystemExit(f"{given.out} holds another experiment: name another file")
    done = {(line["problem"], line["temperature"]) for line in result["solves"]}
    result["provenance"] = provenance(["python", "-m", "benchmarks.tree.rows", *arguments])
    with own_server("--model", given.model) as server, Client(server.address) as client:
        for temperature in given.temperatures:
            for document in documents:
                if (document["problem_id"], temperature) in done:
                    continue
                line = draw(client, document, given.k, temperature, given.model)
                result["solves"].append(line)
                mine = [line for line in result["solves"] if line["temperature"] == temperature]
                result.setdefault("temperatures", {})[str(temperature)] = sums(mine)
                write(given.out, result)
                print(line, flush=True)
    for temperature, line in result["temperatures"].items():
        print(temperature, line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
