"""The runner on this device: steps submitted ahead of their tokens draw what steps one after the other draw."""

from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.engine_times import random_decoder
from benchmarks.gpu.errors import require
from benchmarks.gpu.problems import TINY
from benchmarks.gpu.session import Session
from benchmarks.gpu.step_times import Weights, weights
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import BranchFinished, CoreEvent, CoreRequest, Filters, FinishReason, Mask, Prompt, SolveEnded
from engine.loop.steps import Steps
from engine.runner.cuda import CudaRunner

_ENDS = 12
"""Tokens below this one end a text, so that rows ahead are in vain now and then."""


class Spelled:
    """The core's view of a text whose words are its tokens."""

    mask: Mask | None = None

    def __init__(self, tokens: tuple[int, ...] = ()) -> None:
        self._tokens = tokens

    def push(self, token: int) -> FinishReason | None:
        """Take the next token."""
        self._tokens += (token,)
        return FinishReason.END_OF_TEXT if token < _ENDS else None

    def fork(self) -> "Spelled":
        """An independent copy."""
        return Spelled(self._tokens)

    @property
    def text(self) -> str:
        """The tokens so far."""
        return " ".join(map(str, self._tokens))


def run(session: Session) -> None:
    """Few samples and many, greedy ones among them."""
    # Last bits depend on the batch, and with them which token a number on an edge draws: in float32 next to never.
    made = weights(session, TINY, torch.float32)
    for k in [3] if session.dry else [1, 8, 64]:
        session.case("runner", {"what": "steps ahead", "k": k}, partial(_ahead, session, made, k))


def _ahead(session: Session, made: Weights, k: int) -> dict[str, Any]:
    new = 12 if session.dry else 60
    kv_bytes = (300 + (k + 2) * (new + 128)) * TINY.layers * TINY.kv_bytes * 2
    decoder = random_decoder(session, TINY, made, 400 + new)
    runner = CudaRunner(decoder, kv_bytes=kv_bytes, rows=min(k, 32))
    tokens = np.random.default_rng(k).integers(_ENDS, TINY.vocab, 70 if session.dry else 300).tolist()
    request = CoreRequest(
        solve=0,
        prompts=(Prompt(tokens, Spelled()),),
        k=k,
        filters=(Filters(temperature=1.0, top_p=0.98),),
        seed=k,
        max_new_tokens=new,
        greedy_first=True,
    )
    (ahead, planned), (waiting, _) = (_texts(runner, request, ahead=ahead) for ahead in (True, False))
    require(planned > 2, f"{planned} steps were planned ahead")
    require(ahead == waiting, "steps ahead have drawn other texts")
    return {"planned_ahead": planned, "samples": len(ahead)}


def _texts(runner: CudaRunner, request: CoreRequest, *, ahead: bool) -> tuple[dict[int, str], int]:
    """Texts by sample, and how many steps were planned ahead."""
    limits = Limits(rows=max(request.k, 2), step_seconds=0.03, waiting=1, drafting=False)
    scheduler = Scheduler(pages=runner.pages, page_size=runner.page_size, limits=limits)
    scheduler.submit(request)
    steps = Steps(scheduler, runner, ahead=ahead)
    found: dict[int, str] = {}
    planned = 0
    events: list[CoreEvent] = []
    while not any(isinstance(event, SolveEnded) for event in events):
        events = steps.start()
        require(steps.flying, "the scheduler has no step and the solve has not ended")
        computed = steps.wait()
        planned += bool(computed.plan.step.after)
        events += steps.take(computed)
        for event in events:
            if isinstance(event, BranchFinished):
                found |= dict.fromkeys(event.samples, event.text)
    if steps.flying:
        steps.wait()
    return found, planned
