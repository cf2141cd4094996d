"""What the host does for a step of rows, part by part, with a device that answers at once: it has to be less than the
device takes, for then steps that are submitted ahead hide it."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.engine_times import Endless
from benchmarks.gpu.problems import SEVEN
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings
from engine.core.distribution import from_probabilities
from engine.core.limits import Limits
from engine.core.plan import Plan
from engine.core.scheduler import Scheduler
from engine.core.types import CoreRequest, Filters, Prompt, SolveEnded
from engine.runner.asks import collect
from engine.runner.cuda import PAGE_SIZE
from engine.runner.layout_gpu import lay_out
from kernels.gpu.items import AttentionShape, make_items
from kernels.gpu.tiling import tiling

_KEPT = 40  # tokens of each distribution, about what the device lists


def run(session: Session, found: Ceilings) -> None:
    """Solves of one sample and of many, after a long prompt; the same in a dry run, for it needs no device."""
    del found
    for k in [1, 16, 64, 256]:
        session.case("host", {"model": SEVEN.name, "k": k}, partial(_parts, k, 120))


def _parts(k: int, new: int) -> dict[str, Any]:
    shape = AttentionShape(SEVEN.heads, SEVEN.kv_heads, SEVEN.head_dim, PAGE_SIZE, torch.bfloat16)
    probabilities = np.full(_KEPT, 1 / _KEPT)
    answer = from_probabilities(
        np.arange(_KEPT, dtype=np.int32), probabilities, np.log(probabilities).astype(np.float32), 0
    )
    scheduler = Scheduler(
        pages=64 + k * (new // PAGE_SIZE + 3),
        page_size=PAGE_SIZE,
        limits=Limits(rows=max(k, 2), step_seconds=0.03, waiting=1, drafting=False),
    )
    prompt = Prompt(list(range(2048)), Endless())
    filters = (Filters(temperature=0.8, top_p=0.95),)
    scheduler.submit(CoreRequest(solve=0, prompts=(prompt,), k=k, filters=filters, seed=k, max_new_tokens=new))
    spans: dict[str, list[float]] = {"plan": [], "plan_ahead": [], "layout": [], "items": [], "finish": []}

    def timed[T](part: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        found = work()
        spans[part].append(time.perf_counter() - began)
        return found

    following: Plan | None = None
    events: list[Any] = []
    while not any(isinstance(event, SolveEnded) for event in events):
        plan = following or timed("plan", scheduler.plan)[0]
        if plan is None:
            raise RuntimeError("the scheduler has no step and the solve has not ended")
        following = timed("plan_ahead", partial(scheduler.plan_ahead, plan))
        layout = timed("layout", partial(lay_out, plan.step, PAGE_SIZE))
        collect(plan.step, layout.first)
        if layout.rows:
            tiles = tiling(shape, layout.rows)
            timed("items", partial(make_items, layout.decode, layout.rows, shape, tiles.block, tiles.own))
        results = [[answer for _ in chunk.asks] for chunk in plan.step.chunks]
        events = timed("finish", partial(scheduler.finish, plan, results, 0.005))
    medians = {f"{part}_ms": 1e3 * statistics.median(found) for part, found in spans.items()}
    ahead = sum(medians[f"{part}_ms"] for part in ("plan_ahead", "layout", "items", "finish"))
    return {name: round(value, 3) for name, value in {**medians, "ahead_ms": ahead}.items()}
