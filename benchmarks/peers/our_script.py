"""Our engine in a process of its own, as the race runs it: one JSON request a line in, one JSON answer a line out.

python -m benchmarks.peers.our_script MODEL ARITHMETIC
"""

import json
import os
import sys
import time
from typing import Any

from benchmarks.decode import Served, decode, serve
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import CoreRequest, Filters, FinishReason, Prompt, SolveEnded
from engine.runner.arithmetic import best_arithmetic
from engine.runner.choice import runner_for


class Recorder:
    """Writes tokens down; no text rule ends anything."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.text = ""
        self.mask = None

    def push(self, token: int) -> FinishReason | None:
        """Take the next token."""
        self.tokens.append(token)
        return None

    def fork(self) -> "Recorder":
        """Itself: there is one sample only."""
        return self


def draw(served: Served, request: dict[str, Any]) -> dict[str, Any]:
    """k samples that part at their first token."""
    k, new_tokens = request["k"], request["new_tokens"]
    line = decode(served, k, new_tokens, seed=1)
    return {
        # decode has made sure of it, by the rows that were computed.
        "counts": [new_tokens] * k,
        # decode's own time: a server has its pool of pages already.
        "seconds": k * new_tokens / line["tokens_per_second"],
        "decode_rate": line["decode_tokens_per_second"],
    }


def greedy(served: Served, request: dict[str, Any]) -> dict[str, Any]:
    """One sample of the most likely tokens."""
    runner = runner_for(served.decoder, kv_bytes=1 << 28, page_size=16)
    limits = Limits(rows=1, step_seconds=0.1, waiting=1)
    scheduler = Scheduler(pages=runner.pages, page_size=runner.page_size, limits=limits)
    recorder = Recorder()
    scheduler.submit(
        CoreRequest(
            solve=0,
            prompts=(Prompt(request["prompt"], recorder),),
            k=1,
            filters=(Filters(temperature=0.0),),
            seed=1,
            max_new_tokens=request["new_tokens"],
        )
    )
    while True:
        plan, events = scheduler.plan()
        assert plan is not None
        began = time.perf_counter()
        results = runner.run(plan.step)
        events += scheduler.finish(plan, results, time.perf_counter() - began)
        if any(isinstance(event, SolveEnded) for event in events):
            return {"tokens": recorder.tokens}


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    model, wanted = sys.argv[1:]
    arithmetic = best_arithmetic() if wanted == "auto" else wanted
    served = serve(model, arithmetic)  # pyright: ignore[reportArgumentType]  # load_decoder refuses what it does not know
    decode(served, 1, 2, seed=1)
    answers.write(json.dumps({"prompt": served.prompt, "arithmetic": arithmetic}) + "\n")
    does = {"draw": draw, "greedy": greedy}
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(does[request["do"]](served, request)) + "\n")


if __name__ == "__main__":
    main()
