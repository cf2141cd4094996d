"""Time to first pass by width: the engine's own choice against fixed widths of 1, 4, 16 and 64, in turns.

    python -m benchmarks.scheduling.widths [--each 20] [--rounds 2] [--out FILE.json]

HumanEval. By the model's own pass rate, of benchmarks.tree.rows (64 samples) where that has the problem, else of 32
samples drawn first, a problem is easy (at least a half), medium (at least a tenth) or hard (below, but not zero); the
first `--each` of each class are taken.
Then each is solved up to the first pass (k = 64) with each width, in an order that rotates from problem to problem:
what the first leaves in the cache of prompts helps the others alike. All draw with one seed, and so the same samples:
drafting is off, or each but the first would find its texts among the drafts. A solve that has not passed within the
limit counts as long as the limit. A killed run goes on where it was.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from thresher.client import Client, solve_spec
from thresher.v1 import solve_pb2

from benchmarks.record import provenance, write
from benchmarks.server import own_server
from benchmarks.tree.humaneval import data_folder, load

_WIDTHS: tuple[int | None, ...] = (None, 1, 4, 16, 64)
"""None: the engine's own choice."""
_LIMIT = 30.0
"""Seconds of a solve at most."""
_DRAWN = 32
_ALL = 164
_CLASSES = {"easy": 0.5, "medium": 0.1, "hard": 1 / _DRAWN}
"""Least pass rates."""
_DRAWING = {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 256}


def summary(client: Client, document: dict[str, Any]) -> solve_pb2.Summary:
    """A solve to its end."""
    for event in client.solve(solve_spec(document)):
        if event.HasField("summary"):
            return event.summary
    raise RuntimeError("a solve without a summary")


def pass_rate(client: Client, document: dict[str, Any]) -> float:
    """Of samples that the measured solves do not draw."""
    asked = {**document, "policy": "all", "sampling": {**_DRAWING, "k": _DRAWN, "seed": 1_000}}
    return summary(client, asked).accounting.samples_passed / _DRAWN


def known_rates(file: Path) -> dict[str, float]:
    """Pass rates in a result file of benchmarks.tree.rows at the temperature used here; none if there is no file."""
    if not file.exists():
        return {}
    result = json.loads(file.read_text())
    mine = [one for one in result["solves"] if one["temperature"] == _DRAWING["temperature"]]
    return {one["problem"]: one["samples_passed"] / result["k"] for one in mine}


def class_of(rate: float) -> str | None:
    """The class of a pass rate; None for a problem that was never solved."""
    return next((name for name, least in _CLASSES.items() if rate >= least), None)


def solve(client: Client, document: dict[str, Any], width: int | None, seed: int) -> dict[str, Any]:
    """One solve up to the first pass."""
    sampling: dict[str, Any] = {**_DRAWING, "k": 64, "seed": seed}
    if width is not None:
        sampling["width"] = width
    began = time.monotonic()
    found = summary(client, {**document, "sampling": sampling, "budget": {"wall_seconds": _LIMIT}})
    books = found.accounting
    solved = found.outcome == solve_pb2.SOLVE_OUTCOME_SOLVED
    return {
        "width": width or "chosen",
        "solved": solved,
        "seconds": round(books.time_to_first_pass.ToNanoseconds() / 1e9, 3) if solved else _LIMIT,
        "whole_seconds": round(time.monotonic() - began, 3),
        "rows": books.rows_computed,
        "samples": books.samples_finished,
    }


def table(solves: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and median seconds to the first pass by class and width, and the choice over the best fixed width."""
    found: dict[str, Any] = {}
    for name in [*_CLASSES, "all"]:
        lines: dict[str, Any] = {}
        for width in ("chosen", 1, 4, 16, 64):
            mine = [one for one in solves if one["width"] == width and name in (one["class"], "all")]
            if mine:
                lines[str(width)] = {
                    "problems": len({one["problem"] for one in mine}),
                    "solves": len(mine),
                    "solved": sum(one["solved"] for one in mine),
                    "mean_seconds": round(statistics.fmean(one["seconds"] for one in mine), 3),
                    "median_seconds": round(statistics.median(one["seconds"] for one in mine), 3),
                    "rows": sum(one["rows"] for one in mine),
                }
        fixed = {width: line for width, line in lines.items() if width != "chosen"}
        if fixed and "chosen" in lines:
            best = min(fixed, key=lambda width: fixed[width]["mean_seconds"])
            ratio = lines["chosen"]["mean_seconds"] / fixed[best]["mean_seconds"]
            found[name] = {"widths": lines, "best_fixed": best, "chosen_over_best_fixed": round(ratio, 3)}
    return found


def main(arguments: list[str]) -> int:
    """Class the problems, then solve them with every width."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling.widths", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--rates", type=Path, default=Path("benchmarks/results/cpu/tree-rows.json"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/widths.json"))
    parser.add_argument("--class-only", action="store_true", help="measure pass rates and stop")
    given = parser.parse_args(arguments)
    loaded = load(data_folder(given.data), 0, _ALL)
    documents = {document["problem_id"]: document for document in loaded}
    result: dict[str, Any] = {"experiment": "widths", "model": given.model, "pass_rates": {}, "solves": []}
    if given.out.exists():
        result = json.loads(given.out.read_text())
    result |= {"provenance": provenance(["python", "-m", "benchmarks.scheduling.widths", *arguments])}
    result |= {"limit_seconds": _LIMIT, "drawing": _DRAWING}
    rates: dict[str, float] = result["pass_rates"]
    rates |= known_rates(given.rates)
    os.environ["THRESHER_ENGINE_DRAFTING"] = "false"
    with own_server("--model", given.model) as server, Client(server.address) as client:
        order: list[tuple[str, str]] = []
        taken = Counter[str]()
        for name, document in documents.items():
            if all(taken[kind] >= given.each for kind in _CLASSES):
                break
            if name not in rates:
                rates[name] = pass_rate(client, document)
                write(given.out, result)
            kind = class_of(rates[name])
            if kind is not None and taken[kind] < given.each:
                taken[kind] += 1
                order.append((kind, name))
        print(Counter(kind for kind, _ in order), flush=True)
        if given.class_only:
            return 0
        done = {(one["problem"], one["width"], one["round"]) for one in result["solves"]}
        for turn in range(given.rounds):
            for number, (kind, name) in enumerate(order):
                first = (number + turn) % len(_WIDTHS)
                for width in (*_WIDTHS[first:], *_WIDTHS[:first]):
                    if (name, width or "chosen", turn) not in done:
                        line = solve(client, documents[name], width, seed=number + 100 * turn)
                        result["solves"].append({"problem": name, "class": kind, "round": turn, **line})
                result["table"] = table(result["solves"])
                write(given.out, result)
                ratios = {kind: line["chosen_over_best_fixed"] for kind, line in result["table"].items()}
                print(turn, number, name, kind, ratios, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
