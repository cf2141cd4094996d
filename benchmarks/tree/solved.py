"""Problems solved against rows: distinct, independent and separate draws, each way at its best temperature.

    python -m benchmarks.tree.solved [--problems 100] [--rows 300 450 600] [--seeds 1 2] [--out FILE.json]

HumanEval, its check decides, every sample is judged (policy ALL). A problem's draws end when the budget of rows is
spent. Rows of a solve are those of the whole tree, so equal rows are equal work of the model: independent draws that
agree share theirs. "separate" is what independent draws are worth where every sample pays for all its tokens, as in
engines without a sampling tree: the samples of one solve in their order, as long as their tokens fit into the budget.
Nothing is timed. Each way's temperature is the one with which it solves most of the first 30 problems; the others are
drawn with that one only. One seed is luck: with several, a problem counts by the share of them that solve it. A killed
run goes on where it was.
"""

import argparse
import json
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from thresher.client import Client, solve_spec
from thresher.v1 import solve_pb2, verdict_pb2

from benchmarks.record import provenance, write
from benchmarks.server import own_server
from benchmarks.tree.humaneval import data_folder, load

_WAYS = ("independent", "distinct", "separate")
_SEPARATE = 32
"""Separate samples at most: more than fit."""
_FEWER = 0.75
"""Part of another way's rows with which distinct draws are to solve as many problems."""
_CHOOSING = 30
"""Problems on which the temperatures are chosen."""
_WIDTH = 2
"""Rows of a solve at once: the fewer, the fewer are spent on texts that the budget does not see the end of."""
_AT_ONCE = 8
"""Solves at once, to fill the machine: what each draws does not depend on the others."""


def draw(
    client: Client, document: dict[str, Any], way: str, temperature: float, rows: int, seed: int, *, model: str
) -> dict[str, Any]:
    """One solve up to its budget."""
    if way == "separate":
        return _separate(client, document, temperature, rows, seed, model=model)
    sampling = {"temperature": temperature, "top_p": 0.95, "max_new_tokens": 256, "seed": seed, "mode": way, "k": 1024}
    more = {"model": model, "policy": "all", "budget": {"rows": rows}, "sampling": sampling | {"width": _WIDTH}}
    for event in client.solve(solve_spec({**document, **more})):
        if event.HasField("summary"):
            books = event.summary.accounting
            return {
                "problem": document["problem_id"],
                "way": way,
                "temperature": temperature,
                "solved": event.summary.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED or books.candidates_passed > 0,
                "programs": books.candidates_finished,
                "programs_passed": books.candidates_passed,
                "samples": books.samples_finished,
                "rows": books.rows_computed,
            }
    raise RuntimeError("a solve without a summary")


def _separate(
    client: Client, document: dict[str, Any], temperature: float, rows: int, seed: int, *, model: str
) -> dict[str, Any]:
    sampling = {"temperature": temperature, "top_p": 0.95, "max_new_tokens": 256, "seed": seed, "k": _SEPARATE}
    for event in client.solve(solve_spec({**document, "model": model, "policy": "all", "sampling": sampling})):
        if event.HasField("summary"):
            by_sample = {sample: one for one in event.summary.candidates for sample in one.samples}
            spent, used = 0, list[solve_pb2.Candidate]()
            for sample in sorted(by_sample):
                if spent + by_sample[sample].generated_tokens > rows:
                    break
                spent += by_sample[sample].generated_tokens
                used.append(by_sample[sample])
            passed = {one.index for one in used if one.report.verdict == verdict_pb2.VERDICT_PASSED}
            return {
                "problem": document["problem_id"],
                "way": "separate",
                "temperature": temperature,
                "solved": bool(passed),
                "programs": len({one.index for one in used}),
                "programs_passed": len(passed),
                "samples": len(used),
                "rows": spent,
            }
    raise RuntimeError("a solve without a summary")


def sums(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one way at one temperature and one budget; `solved` is a mean over the seeds."""
    seeds = max(len({line["seed"] for line in lines}), 1)
    return {
        "problems": len({line["problem"] for line in lines}),
        "seeds": seeds,
        "solved": round(sum(line["solved"] for line in lines) / seeds, 2),
        "programs": sum(line["programs"] for line in lines),
        "programs_passed": sum(line["programs_passed"] for line in lines),
        "samples": sum(line["samples"] for line in lines),
        "rows": sum(line["rows"] for line in lines),
    }


def sign_test(more: int, fewer: int) -> float:
    """Two-sided p-value of McNemar's exact test: so many problems solved by one way only, so many by the other only."""
    n, k = more + fewer, min(more, fewer)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n) if n else 1.0


def best_temperature(solves: list[dict[str, Any]], way: str, rows: int, problems: set[str]) -> float:
    """With which a way solves most of those problems; of equals the one with which more programs pass."""
    mine = [s for s in solves if (s["way"], s["budget"]) == (way, rows) and s["problem"] in problems]

    def worth(temperature: float) -> tuple[int, int]:
        total = sums([s for s in mine if s["temperature"] == temperature])
        return total["solved"], total["programs_passed"]

    return max(sorted({s["temperature"] for s in mine}), key=worth)


def compare(solves: list[dict[str, Any]], budgets: list[int], choosing: set[str]) -> dict[str, Any]:
    """By budget: each way at its best temperature, and by how much distinct draws are ahead and how sure that is."""
    found: dict[str, Any] = {}
    distinct: dict[int, dict[str, float]] = {}
    for rows in sorted(budgets):
        best: dict[str, tuple[dict[str, float], dict[str, Any]]] = {}
        for way in _WAYS:
            if not any(s["way"] == way for s in solves):
                continue
            temperature = best_temperature(solves, way, rows, choosing)
            mine = [s for s in solves if (s["way"], s["temperature"], s["budget"]) == (way, temperature, rows)]
            by_problem: dict[str, float] = {}
            for line in mine:
                share = line["solved"] / len({other["seed"] for other in mine})
                by_problem[line["problem"]] = by_problem.get(line["problem"], 0.0) + share
            best[way] = (by_problem, sums(mine) | {"temperature": temperature})
        found[str(rows)] = {way: total for way, (_, total) in best.items()}
        for other in ("independent", "separate"):
            if "distinct" in best and other in best:
                found[str(rows)][f"distinct_over_{other}"] = _ahead(best["distinct"][0], best[other][0])
                fewer = int(rows * _FEWER)
                if fewer in distinct:
                    found[str(rows)][f"distinct_with_{fewer}_over_{other}"] = _ahead(distinct[fewer], best[other][0])
        if "distinct" in best:
            distinct[rows] = best["distinct"][0]
    return found


def _ahead(one: dict[str, float], other: dict[str, float]) -> dict[str, Any]:
    """How many more problems `one` solves than `other`, of those given to both: shares of the seeds by problem."""
    common = sorted(set(one) & set(other))
    differences = np.array([one[name] - other[name] for name in common])
    gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
    solved = max(sum(other[name] for name in common), 1)
    resampled = np.random.default_rng(0).choice(differences, (10_000, len(differences))).sum(1) / solved
    return {
        "better_at": gained,
        "worse_at": lost,
        "more_solved": round(float(differences.sum()) / solved, 4),
        "interval_95": [round(float(value), 4) for value in np.percentile(resampled, [2.5, 97.5])],
        "p_value": round(sign_test(gained, lost), 4),
    }


def main(arguments: list[str]) -> int:
    """Draw what is missing in the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree.solved", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--rows", type=int, nargs="+", default=[300, 450, 600])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.4, 0.8, 1.2])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/tree-solved.json"))
    given = parser.parse_args(arguments)
    documents = load(data_folder(given.data), 0, given.problems)
    result: dict[str, Any] = {"experiment": "tree-solved", "model": given.model, "top_p": 0.95, "solves": []}
    if given.out.exists():
        result = json.loads(given.out.read_text())
        if result["model"] != given.model:
            raise SystemExit(f"{given.out} holds another experiment: name another file")
    result["provenance"] = provenance(["python", "-m", "benchmarks.tree.solved", *arguments])
    done = {(s["problem"], s["way"], s["temperature"], s["budget"], s["seed"]) for s in result["solves"]}
    # Wrong drafts are rows, too, and only independent draws are drafted.
    os.environ["THRESHER_ENGINE_DRAFTING"] = "false"
    with own_server("--model", given.model) as server, Client(server.address) as client:
        names = {document["problem_id"] for document in documents[:_CHOOSING]}
        for part in (documents[:_CHOOSING], documents[_CHOOSING:]):
            todo = [
                (document, way, temperature, rows, seed)
                for document in part
                for seed in given.seeds
                for rows in given.rows
                for way in _WAYS
                for temperature in (
                    given.temperatures
                    if document["problem_id"] in names
                    else [best_temperature(result["solves"], way, rows, names)]
                )
                if (document["problem_id"], way, temperature, rows, seed) not in done
            ]
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                lines = pool.map(
                    lambda one: draw(client, *one, model=given.model) | {"budget": one[3], "seed": one[4]}, todo
                )
                for number, line in enumerate(lines, start=1):
                    result["solves"].append(line)
                    if number % 10 == 0 or number == len(todo):
                        write(given.out, result)
                        print(number, "of", len(todo), flush=True)
        result["compared"] = compare(result["solves"], given.rows, names)
        write(given.out, result)
        print(json.dumps(result["compared"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
