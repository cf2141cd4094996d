"""Memory of a solve with many samples: slots in pages against tokens that differ, step by step.

    python -m benchmarks.tree.memory [--k 1024] [--out FILE.json]

HumanEval problems through the real scheduler, runner and stop rules, without drafts. Tokens that differ are the prompt
and every node of the tree. Those whose branches have ended are given back while the solve goes on, so the second figure
is stricter: the same slots against the tokens that lie in them at that moment. Nothing is timed.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.decode import serve
from benchmarks.record import provenance, write
from benchmarks.tree.humaneval import data_folder, load
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import CoreRequest, Filters, Prompt, SolveEnded
from engine.loop.engine import TextStopper
from engine.runner.arithmetic import best_arithmetic
from engine.runner.choice import runner_for
from engine.text.stops import ProgramEnd, StopRules


def held(scheduler: Scheduler) -> tuple[int, int, int]:
    """Slots of the pages that solves hold, computed tokens in them, and all tokens of the tree."""
    slots = (scheduler.pool.capacity - scheduler.pool.free - scheduler.pool.idle) * scheduler.page_size
    solves = scheduler._running  # pyright: ignore[reportPrivateUsage]
    parts = [part for solve in solves for tree in solve.trees for part in tree.segments()]
    return slots, sum(part.computed for part in parts), sum(len(part.tokens) for part in parts)


def measure(model: str, document: dict[str, Any], k: int, page_size: int) -> dict[str, Any]:
    """Draw k samples to their ends; the largest figures of all steps."""
    served = serve(model, best_arithmetic())
    runner = runner_for(served.decoder, kv_bytes=4 << 30, page_size=page_size)
    scheduler = Scheduler(pages=runner.pages, page_size=runner.page_size, limits=Limits(rows=64, drafting=False))
    text = document["completion"]["text"]
    rules = StopRules(served.tokenizer, program=ProgramEnd.COMPLETION, entry_point=document["entry_point"], prompt=text)
    tokens = [*served.tokenizer.start_ids, *served.tokenizer.encode(text, special=False)]
    scheduler.submit(
        CoreRequest(
            solve=1,
            prompts=(Prompt(tokens, TextStopper(rules)),),
            k=k,
            filters=(Filters(temperature=0.8, top_p=0.95),),
            seed=1,
            max_new_tokens=256,
        )
    )
    largest, at_largest, distinct, steps, ended = 0, 0, 0, 0, None
    while ended is None:
        plan, events = scheduler.plan()
        if plan is not None:
            events += scheduler.finish(plan, runner.run(plan.step), 0.05)
            steps += 1
        slots, computed, tokens_of_tree = held(scheduler)
        distinct = max(distinct, tokens_of_tree)
        if slots > largest:
            largest, at_largest = slots, computed
        ended = next((event for event in events if isinstance(event, SolveEnded)), None)
    counts = ended.counts
    return {
        "problem": document["problem_id"],
        "page_tokens": page_size,
        "steps": steps,
        "branches": counts.branches,
        "tokens_of_all_samples": counts.generated_tokens + k * len(tokens),
        "rows": counts.rows,
        "slots_at_most": largest,
        "distinct_tokens": distinct,
        "slots_per_distinct_token": round(largest / distinct, 3),
        "tokens_in_them": at_largest,
        "slots_per_token_in_them": round(largest / at_largest, 3),
        "preemptions": counts.preemptions,
    }


def main(arguments: list[str]) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tree.memory", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--k", type=int, default=1024)
    parser.add_argument("--problems", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--page-tokens", type=int, nargs="+", default=[16])
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/tree-memory.json"))
    given = parser.parse_args(arguments)
    result: dict[str, Any] = {
        "experiment": "tree-memory",
        "provenance": provenance(["python", "-m", "benchmarks.tree.memory", *arguments]),
        "model": given.model,
        "k": given.k,
        "solves": [],
    }
    for number in given.problems:
        for page_size in given.page_tokens:
            (document,) = load(data_folder(given.data), number, 1)
            result["solves"].append(measure(given.model, document, given.k, page_size))
            print(result["solves"][-1], flush=True)
            write(given.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
