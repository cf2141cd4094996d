"""What a step costs beside the model's arithmetic, and what waiting solves cost a step.

    python -m benchmarks.scheduling.overhead [--out FILE.json]

First an engine's own loop with steps of 60 to 64 rows and no prompt in them: six solves of 24 samples, the stop rules
of programs for each, their text every 0.1 s, messages over a socket. What passes between the end of one call of the
runner and the beginning of the next is the loop's; inside the runner, laying out the step and drawing are told apart
from the model. Then the scheduler alone, with a runner that computes nothing and 64 rows: the median step with 5,000
solves waiting over that with 5, in turns; whenever a solve begins another comes.
"""

import argparse
import socket
import statistics
import sys
import threading
import time
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decode import PROMPT
from benchmarks.record import provenance, write
from benchmarks.stopwatch import Stopwatch
from engine.core.distribution import Distribution, from_probabilities
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import CoreRequest, Filters, FinishReason, Mask, Mode, Prompt, Runner, SolveStarted, Step
from engine.loop.engine import Engine
from engine.loop.messages import Submit, Turn, frame
from engine.models.catalogue import fetch
from engine.runner import answers, attention_cpu, compiled
from engine.runner.arithmetic import best_arithmetic, load_decoder
from engine.runner.choice import runner_for
from engine.text.model_text import read_model_text

_ROWS = 64
_NEARLY = 60
_SOLVES = 6
_STEPS = 400
"""Steps timed for each number of waiting solves and round."""


class TimedRunner:
    """A runner that notes when it was called: (began, ended, rows, tokens of prompts)."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.page_size = runner.page_size
        self.pages = runner.pages
        self.calls: list[tuple[float, float, int]] = []

    def run(self, step: Step) -> list[list[Distribution]]:
        """As the runner; steps with prompts in them count as of no rows."""
        began = time.perf_counter()
        found = self._runner.run(step)
        rows = len(step.chunks) if all(len(chunk.tokens) == 1 for chunk in step.chunks) else 0
        self.calls.append((began, time.perf_counter(), rows))
        return found


def loop_overhead(model: str) -> dict[str, Any]:
    """Mean milliseconds of full steps, by who spends them."""
    path = fetch(model)
    text = read_model_text(path)
    decoder = load_decoder(path, arithmetic=best_arithmetic(), tokenizer=text.tokenizer)
    runner = TimedRunner(runner_for(decoder, kv_bytes=1 << 30, page_size=16))
    limits = Limits(rows=_ROWS, drafting=False)
    scheduler = Scheduler(pages=runner.pages, page_size=runner.page_size, limits=limits)
    engine = Engine(scheduler=scheduler, runner=runner, text=text, context_length=decoder.config.context_length)
    ours, theirs = socket.socketpair()
    watch = Stopwatch()
    parts: dict[str, list[tuple[Any, str]]] = {
        "drawing": [(answers, "distributions")],
        "layout": [(attention_cpu.StepAttention, "__init__"), (compiled, "lay_out")],
    }
    with watch.watching(parts):
        thread = threading.Thread(target=engine.serve, args=(theirs,))
        thread.start()
        for solve in range(_SOLVES):
            ours.sendall(frame(_submit(solve)))
        received = 0
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            received += len(ours.recv(1 << 20))
            full = sum(rows >= _NEARLY for _, _, rows in runner.calls)
            if full >= 150 or (runner.calls and scheduler.idle):
                break
        ours.close()
        thread.join()
    calls = runner.calls
    pairs = [(a, b) for a, b in pairwise(calls) if min(a[2], b[2]) >= _NEARLY]
    steps = len(calls)
    between = 1000 * statistics.fmean(b[0] - a[1] for a, b in pairs)
    inside = 1000 * statistics.fmean(a[1] - a[0] for a, _ in pairs)
    # Of all steps, so a little less than in full ones.
    drawing, layout = (1000 * watch.seconds[part] / steps for part in ("drawing", "layout"))
    return {
        "full_steps": len(pairs),
        "step_ms": round(between + inside, 2),
        "runner_ms": round(inside, 2),
        "loop_ms": round(between, 2),
        "drawing_ms": round(drawing, 2),
        "layout_ms": round(layout, 2),
        "loop_share": round(between / (between + inside), 4),
        "loop_and_layout_share": round((between + layout) / (between + inside), 4),
        "all_but_the_model_share": round((between + layout + drawing) / (between + inside), 4),
    }


def _submit(solve: int) -> Submit:
    return Submit(
        solve=solve,
        prompts=((Turn("user", PROMPT),),),
        k=24,
        mode=Mode.INDEPENDENT,
        filters=(Filters(temperature=1.0, top_p=0.95),),
        length_penalty=1.0,
        seed=solve,
        max_new_tokens=256,
        stop=(),
        end_at_program=True,
        entry_point=None,
        prune=False,
        constraint=None,
        greedy_first=False,
        width=None,
        max_rows=None,
        max_tokens=None,
        interactive=True,
        delta_seconds=0.1,
        client="",
        seconds_left=None,
        first_pass=False,
        judges=2,
    )


class Nothing:
    """A runner that computes nothing: every row has the same distribution over eight tokens."""

    page_size = 16
    pages = 1 << 16

    def __init__(self) -> None:
        ids = np.arange(8, dtype=np.int32)
        self._found = from_probabilities(ids, np.full(8, 0.125), np.full(8, -2.08, np.float32), 0)

    def run(self, step: Step) -> list[list[Distribution]]:
        """The same for all."""
        return [[self._found for _ in chunk.asks] for chunk in step.chunks]


class Endless:
    """A text that goes on to its longest."""

    text = ""
    mask: Mask | None = None

    def push(self, token: int) -> FinishReason | None:
        """Never an end."""
        return None

    def fork(self) -> "Endless":
        """It has no state."""
        return self


def steps_beside(waiting: int) -> list[float]:
    """Milliseconds of the scheduler in each of `_STEPS` full steps with so many solves waiting."""
    runner = Nothing()
    scheduler = Scheduler(pages=runner.pages, page_size=16, limits=Limits(rows=_ROWS, waiting=waiting + 300))
    numbers = count()

    def come() -> None:
        number = next(numbers)
        scheduler.submit(
            CoreRequest(
                solve=number,
                prompts=(Prompt(list(range(number, number + 40)), Endless()),),
                k=4,
                filters=(Filters(temperature=1.0),),
                seed=number,
                max_new_tokens=60,
                client=f"client {number % 50}",
                interactive=number % 3 > 0,
            )
        )

    for _ in range(waiting + 1):
        come()
    found: list[float] = []
    warm = 60
    while len(found) < _STEPS:
        began = time.perf_counter()
        events = scheduler.apply_intents()
        plan, more = scheduler.plan()
        assert plan is not None
        planned = time.perf_counter()
        results = runner.run(plan.step)
        ran = time.perf_counter()
        events += more + scheduler.finish(plan, results, 0.05)
        ended = time.perf_counter()
        warm -= 1
        if warm < 0 and not plan.prefill_tokens:
            found.append(1000 * (ended - ran + planned - began))
        for event in events:
            if isinstance(event, SolveStarted):
                come()
    return found


def main(arguments: list[str]) -> int:
    """Both parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduling.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b-instruct")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cpu/overhead.json"))
    given = parser.parse_args(arguments)
    result: dict[str, Any] = {
        "experiment": "overhead",
        "provenance": provenance(["python", "-m", "benchmarks.scheduling.overhead", *arguments]),
        "model": given.model,
        "loop": loop_overhead(given.model),
    }
    print(result["loop"], flush=True)
    times: dict[int, list[float]] = {5: [], 5_000: []}
    for turn in range(given.rounds):
        for waiting in sorted(times, reverse=turn % 2 > 0):
            times[waiting] += steps_beside(waiting)
    medians = {str(waiting): round(statistics.median(found), 4) for waiting, found in times.items()}
    result["waiting"] = {"scheduler_ms": medians, "ratio": round(medians["5000"] / medians["5"], 3)}
    print(result["waiting"])
    write(given.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
