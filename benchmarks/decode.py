"""How fast a model decodes on this machine, and what a step's time goes to.

One prompt of about 192 tokens, k samples of 128 new tokens each at temperature 0.8 and top-p 0.95, through the real
scheduler, runner, sampler and stop rules, without the front. The samples are made to part at their first token, so that
each is a row of its own from there on: nothing is saved by the sampling tree. No sample ends early.
"""

import os
import time
from dataclasses import dataclass
from typing import Any

# libgomp reads it when it is loaded; the server's engine runs with the same.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")

import numpy as np

from benchmarks.stopwatch import Stopwatch
from engine.core.distribution import Distribution, from_probabilities
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import CoreRequest, Filters, FinishReason, Prompt, Runner, SolveEnded, Step
from engine.loop.engine import TextStopper
from engine.models import load
from engine.models.catalogue import fetch
from engine.models.decoder import Decoder
from engine.runner import answers, attention_cpu, compiled
from engine.runner.arithmetic import Arithmetic, load_decoder
from engine.runner.choice import runner_for
from engine.text.model_text import read_model_text
from engine.text.stops import ProgramEnd, StopRules
from engine.text.tokenizer import Tokenizer
from kernels.cpu import attention, float_linear, float_rows, int8_linear, rotation, rows

FILTERS = Filters(temperature=0.8, top_p=0.95)
PROMPT = '''Complete this Python function. Answer with the whole function in one code block.

from typing import List


def below_zero_at(operations: List[int], limit: int) -> int:
    """You are given a list of deposit and withdrawal operations on a bank account that starts with zero balance. Find
    the index of the first operation after which the balance of the account falls below the limit, and return it. If
    the balance never falls below the limit, return -1. Operations are applied in order, one after the other.
    >>> below_zero_at([1, 2, 3], 0)
    -1
    >>> below_zero_at([1, 2, -4, 5], 0)
    2
    >>> below_zero_at([-1], 0)
    0
    """
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model ready to run, and what it took."""

    name: str
    arithmetic: Arithmetic
    decoder: Decoder
    tokenizer: Tokenizer
    prompt: list[int]
    load_seconds: float


class EndlessStopper(TextStopper):
    """Does the work of the stop rules and never stops."""

    def push(self, token: int) -> FinishReason | None:
        """Take the next token."""
        super().push(token)
        return None

    def fork(self) -> "EndlessStopper":
        """An independent copy."""
        return EndlessStopper(self._rules.fork())


class PartingRunner:
    """A runner under which the k samples of a prompt draw k different first tokens, `firsts` [k] ascending."""

    def __init__(self, runner: Runner, prompt_tokens: int, firsts: np.ndarray) -> None:
        self._runner = runner
        self._prompt_tokens = prompt_tokens
        self._firsts = firsts
        self.page_size = runner.page_size
        self.pages = runner.pages

    def run(self, step: Step) -> list[list[Distribution]]:
        """As the runner, but for the distribution after the prompt."""
        results = self._runner.run(step)
        for chunk, found in zip(step.chunks, results, strict=True):
            if chunk.start + len(chunk.tokens) != self._prompt_tokens:
                continue
            numbers = np.sort(chunk.asks[0].numbers)
            edges = np.concatenate([[0.0], (numbers[1:] + numbers[:-1]) / 2, [1.0]])
            found[0] = from_probabilities(self._firsts, np.diff(edges), np.zeros(len(numbers), np.float32), 0)
        return results


def serve(name: str, arithmetic: Arithmetic, *, strict: bool | None = None) -> Served:
    """Load a model and encode the prompt; `strict` as in load_decoder."""
    path = fetch(name)
    began = time.perf_counter()
    text = read_model_text(path)
    tokenizer = text.tokenizer
    decoder = load_decoder(path, arithmetic=arithmetic, tokenizer=tokenizer, strict=strict)
    if text.template is None:
        prompt = tokenizer.encode(PROMPT, special=False)
    else:
        prompt = tokenizer.encode(text.template.render([{"role": "user", "content": PROMPT}]), special=True)
    return Served(
        name=name,
        arithmetic=arithmetic,
        decoder=decoder,
        tokenizer=tokenizer,
        prompt=prompt,
        load_seconds=time.perf_counter() - began,
    )


def decode(served: Served, k: int, new_tokens: int, seed: int, watch: Stopwatch | None = None) -> dict[str, Any]:
    """Draw k samples; rates and mean times of the steps. Times are in milliseconds, rates in tokens a second."""
    runner = runner_for(served.decoder, kv_bytes=1 << 30, page_size=16)
    firsts = np.unique(served.tokenizer.encode(PROMPT + (__doc__ or "") + _WORDS, special=False))[:k].astype(np.int32)
    if len(firsts) < k:
        raise ValueError(f"k: {k} is more than the {len(firsts)} first tokens at hand")
    parting = PartingRunner(runner, len(served.prompt), firsts)
    scheduler = Scheduler(
        pages=runner.pages,
        page_size=runner.page_size,
        limits=Limits(rows=k, step_seconds=0.1, waiting=1, drafting=False),
    )
    rules = StopRules(served.tokenizer, stop=(), program=ProgramEnd.NONE, entry_point=None, prompt="")
    request = CoreRequest(
        solve=0,
        prompts=(Prompt(served.prompt, EndlessStopper(rules)),),
        k=k,
        filters=(FILTERS,),
        seed=seed,
        max_new_tokens=new_tokens,
    )
    began = time.perf_counter()
    scheduler.submit(request)
    steps: list[tuple[int, float, float]] = []  # rows, seconds of the runner, seconds of the whole
    parts = _parts(scheduler) if watch else {}
    prefilled = 0.0
    ended = None
    while ended is None:
        step_began = time.perf_counter()
        plan, events = scheduler.plan()
        assert plan is not None
        context = watch.watching(parts) if watch and not plan.prefill_tokens else None
        if context:
            context.__enter__()
        ran = time.perf_counter()
        results = parting.run(plan.step)
        seconds = time.perf_counter() - ran
        events += scheduler.finish(plan, results, seconds)
        if context:
            context.__exit__(None, None, None)
            _split(runner, watch)
        now = time.perf_counter()
        if plan.prefill_tokens:
            prefilled = now - began
        else:
            steps.append((plan.rows, seconds, now - step_began))
        ended = next((event for event in events if isinstance(event, SolveEnded)), None)
    whole = time.perf_counter() - began
    if ended.counts.rows != k * (new_tokens - 1):
        raise RuntimeError(f"{ended.counts.rows} rows were computed instead of {k * (new_tokens - 1)}")
    decoding = sum(total for *_, total in steps)
    result: dict[str, Any] = {
        "k": k,
        "new_tokens": new_tokens,
        "prompt_tokens": len(served.prompt),
        "tokens_per_second": round(k * new_tokens / whole, 1),
        "decode_tokens_per_second": round(ended.counts.rows / decoding, 1),
        "prefill_ms": round(1000 * prefilled, 1),
        "step_ms": round(1000 * decoding / len(steps), 2),
        "runner_ms": round(1000 * sum(seconds for _, seconds, _ in steps) / len(steps), 2),
    }
    if watch:
        result["profile_ms"] = {
            part: round(1000 * seconds / len(steps), 3) for part, seconds in sorted(watch.seconds.items())
        }
    return result


def _split(runner: Runner, watch: Stopwatch | None) -> None:
    """Tell the parts of a compiled step apart: it is one call from outside."""
    if watch is None or not isinstance(runner, compiled.CompiledRunner):
        return
    seconds = watch.seconds.pop(_LAYERS)
    for kernel, share in runner.shares().items():
        watch.seconds[_KERNELS[kernel]] += share * seconds


def _parts(scheduler: Scheduler) -> dict[str, list[tuple[Any, str]]]:
    """What is timed: parts that the two runners have, each under its own names."""
    return {
        "matrix products": [
            (load._Packed, "__call__"),  # pyright: ignore[reportPrivateUsage]
            (load._Plain, "__call__"),  # pyright: ignore[reportPrivateUsage]
        ],
        "attention": [(attention_cpu.StepAttention, "attend")],
        "layout": [(attention_cpu.StepAttention, "__init__"), (compiled, "lay_out")],
        "norms, rotation, activation": [(Decoder, "hidden")],
        _LAYERS: [(compiled.CompiledRunner, "_hidden")],
        "LM head": [(Decoder, "logits"), (compiled.CompiledRunner, "_head_of")],
        "sampler": [(answers, "distributions")],
        "scheduler": [(scheduler, "plan"), (scheduler, "finish")],
    }


_LAYERS = "layers"
_KERNELS = {
    int8_linear.multiply_kernel: "matrix products",
    int8_linear.multiply_matrices_kernel: "matrix products",
    attention.attend_kernel: "attention",
    float_linear.multiply_kernel: "matrix products",
    float_rows.norm_kernel: "norms, rotation, activation",
    float_rows.activate_kernel: "norms, rotation, activation",
    float_rows.copy_kernel: "norms, rotation, activation",
    rows.norm_kernel: "norms, rotation, activation",
    rows.activate_kernel: "norms, rotation, activation",
    rows.bytes_kernel: "norms, rotation, activation",
    rotation.place_kernel: "norms, rotation, activation",
}
_WORDS = """def return class import from while if else elif for in not and or is lambda try except finally raise with as
pass break continue yield global assert del None True False self print range len list dict set tuple str int float bool
sorted sum min max abs map filter zip enumerate open read write append extend insert remove pop index count sort reverse
The This Here To We You I It A An What When Where How Why Which There First Next Then Let Now So But Because Solution"""
