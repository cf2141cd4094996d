"""What prune=syntax saves and what it costs: HumanEval, the same samples with and without.

    python -m benchmarks.tree.pruning [--problems 100] [--k 16] [--temperature 1.0] [--out FILE.json]

Both prompts that HumanEval is asked with: the stub to be continued, and a chat that asks for a code block. One seed, so
that each sample draws the same tokens both times (int8 arithmetic does not depend on the batch). Nothing is timed.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from thresher.client import Client, solve_spec
from thresher.v1 import verdict_pb2

from benchmarks.record import provenance, write
from benchmarks.server import own_server
from benchmarks.tree.humaneval import data_folder, load

_AT_ONCE = 8
"""Problems at once, to fill the machine: what each draws does not depend on the others."""
_ASK = "Complete this Python function. Answer with one code block that holds the whole function.\n\n```python\n{}```\n"


def draw(client: Client, document: dict[str, Any], k: int, temperature: float, prune: str) -> dict[str, Any]:
    """One solve to its end; which samples passed."""
    sampling = {"k": k, "temperature": temperature, "top_p": 1.0, "max_new_tokens": 256, "seed": 1, "prune": prune}
    for event in client.solve(solve_spec({**document, "policy": "all", "sampling": sampling})):
        if event.HasField("summary"):
            books = event.summary.accounting
            passed = [
                s
                for one in event.summary.candidates
                if one.report.verdict == verdict_pb2.VERDICT_PASSED
                for s in one.samples
            ]
            return {
                "tokens": books.generated_tokens,
                "rows": books.rows_computed,
                "pruned": books.samples_pruned,
                "passed": sorted(passed),
            }
    raise RuntimeError("a solve without a summary")


def main(arguments: list[str]) -> int:
    """Both ways, problem by problem."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree.pruning", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/pruning.json"))
    given = parser.parse_args(arguments)
    documents = load(data_folder(given.data), 0, given.problems)
    result: dict[str, Any] = {
        "experiment": "pruning",
        "provenance": provenance(["python", "-m", "benchmarks.tree.pruning", *arguments]),
        "model": given.model,
        "k": given.k,
        "temperature": given.temperature,
        "prompts": {},
    }
    with (
        own_server("--model", given.model) as server,
        Client(server.address) as client,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        for form in ("completion", "chat"):
            total: dict[str, Any] = dict.fromkeys(
                (
                    "problems",
                    "tokens",
                    "tokens_pruning",
                    "rows",
                    "rows_pruning",
                    "pruned_samples",
                    "passed",
                    "passed_pruning",
                ),
                0,
            ) | {"solved": 0, "solved_pruning": 0, "lost_samples": 0, "lost_problems": 0}

            def both(document: dict[str, Any], form: str = form) -> tuple[dict[str, Any], dict[str, Any]]:
                asked = dict(document)
                if form == "chat":
                    text = _ASK.format(asked.pop("completion")["text"])
                    asked["chat"] = [{"role": "user", "content": text}]
                k, temperature = given.k, given.temperature
                return draw(client, asked, k, temperature, "none"), draw(client, asked, k, temperature, "syntax")

            for plain, pruned in pool.map(both, documents):
                total["problems"] += 1
                for name in ("tokens", "rows"):
                    total[name] += plain[name]
                    total[f"{name}_pruning"] += pruned[name]
                total["pruned_samples"] += pruned["pruned"]
                total["passed"] += len(plain["passed"])
                total["passed_pruning"] += len(pruned["passed"])
                total["solved"] += bool(plain["passed"])
                total["solved_pruning"] += bool(pruned["passed"])
                total["lost_samples"] += len(set(plain["passed"]) - set(pruned["passed"]))
                total["lost_problems"] += bool(plain["passed"]) and not pruned["passed"]
                total["tokens_saved_share"] = round(1 - total["tokens_pruning"] / total["tokens"], 4)
                total["rows_saved_share"] = round(1 - total["rows_pruning"] / total["rows"], 4)
                result["prompts"][form] = total
                write(given.out, result)
            print(form, total, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
