"""The engine's own loop with random weights: scheduler, runner, draws, no front. What of a step is the host's."""

import statistics
import time
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.errors import require
from benchmarks.gpu.problems import HALF, SEVEN, TINY, Model
from benchmarks.gpu.session import Session
from benchmarks.gpu.step_times import Weights, weights
from benchmarks.gpu.timing import Ceilings
from engine.core.limits import Limits
from engine.core.scheduler import Scheduler
from engine.core.types import CoreRequest, Filters, FinishReason, Mask, Prompt, SolveEnded
from engine.loop.steps import Steps
from engine.models import decoder as decoders
from engine.models.decoder import Decoder, DecoderConfig
from engine.runner.cuda import CudaRunner
from engine.runner.device_layer import DeviceLinear

_FILTERS = Filters(temperature=0.8, top_p=0.95)
_ROWS = 256


class Endless:
    """Text that goes on: the core's view of a branch whose rules cost nothing."""

    text = ""
    mask: Mask | None = None

    def push(self, token: int) -> FinishReason | None:
        """Take the next token."""
        return None

    def fork(self) -> "Endless":
        """It has no state."""
        return self


def random_decoder(session: Session, model: Model, given: Weights, context: int) -> Decoder:
    """A decoder with these weights, of their type, on the session's device."""
    config = DecoderConfig(
        architecture="qwen2", layers=model.layers, heads=model.heads, kv_heads=model.kv_heads,
        head_dim=model.head_dim, hidden=model.hidden, intermediate=model.intermediate, vocab=model.vocab,
        rope_theta=1e6, norm_eps=1e-6, context_length=context, qkv_bias=True, qk_norm=False, tied_embeddings=True,
    )  # fmt: skip
    layers = tuple(
        decoders.Layer(
            attention_norm=layer.norm,
            qkv=DeviceLinear(layer.qkv, layer.bias),
            q_norm=None,
            k_norm=None,
            attention_out=DeviceLinear(layer.out, None),
            mlp_norm=layer.mlp_norm,
            gate_up=DeviceLinear(layer.gate_up, None),
            down=DeviceLinear(layer.down, None),
        )
        for layer in given.layers
    )
    head = DeviceLinear(given.embedding, None)
    found = Decoder(config, decoders.Weights(given.embedding, layers, given.norm, head), given.embedding.dtype)
    found.cos, found.sin = found.cos.to(session.device), found.sin.to(session.device)
    return found


def run(session: Session, found: Ceilings) -> None:
    """One solve of k samples that never end early, for both models."""
    del found
    for model in [TINY] if session.dry else [SEVEN, HALF]:
        prompt, new = (70, 3) if session.dry else (2048, 96)
        rows = 3 if session.dry else _ROWS
        made = weights(session, model)
        # What is kept for the longest case, with pages that are not full.
        tokens = prompt + 64 + rows * (new + 128)
        kv_bytes = tokens * model.layers * model.kv_bytes
        runner = CudaRunner(random_decoder(session, model, made, prompt + new + 8), kv_bytes=kv_bytes, rows=rows)
        for k in [3] if session.dry else [1, 64, 256]:
            about: dict[str, Any] = {"model": model.name, "k": k, "P": prompt, "new_tokens": new}
            session.case("engine", about, partial(_time, session, runner, model, k, prompt, new))
        del made, runner


def _time(session: Session, runner: CudaRunner, model: Model, k: int, prompt: int, new: int) -> dict[str, Any]:
    """With each step submitted while the one before it is computed, as the engine does, and one after the other."""
    tokens = np.random.default_rng(k).integers(0, model.vocab, prompt).tolist()
    request = CoreRequest(
        solve=0, prompts=(Prompt(tokens, Endless()),), k=k, filters=(_FILTERS,), seed=k, max_new_tokens=new
    )
    row = _drawn(runner, request, ahead=True)
    waiting = _drawn(runner, request, ahead=False)
    row |= {"waiting_step_ms": waiting["step_ms"], "waiting_tokens_per_second": waiting["tokens_per_second"]}
    if not session.dry:
        row["device_ms"] = round(_device_ms(runner, tokens, k), 3)
        row["host_share"] = round(1 - row["device_ms"] / row["step_ms"], 4)
        row["waiting_host_share"] = round(1 - row["device_ms"] / row["waiting_step_ms"], 4)
    return row


def _drawn(runner: CudaRunner, request: CoreRequest, *, ahead: bool) -> dict[str, Any]:
    """One solve, step by step: `step_ms`, the median from one step's results to the next one's."""
    scheduler = Scheduler(
        pages=runner.pages,
        page_size=runner.page_size,
        limits=Limits(rows=max(request.k, 2), step_seconds=0.03, waiting=1, drafting=False),
    )
    scheduler.submit(request)
    steps = Steps(scheduler, runner, ahead=ahead)
    between: list[float] = []
    planned_ahead = 0
    ended: SolveEnded | None = None
    began = done = time.perf_counter()
    while ended is None:
        events = steps.start()
        require(steps.flying, "the scheduler has no step and the solve has not ended")
        computed = steps.wait()
        events += steps.take(computed)
        now = time.perf_counter()
        if not computed.plan.prefill_tokens:
            between.append(now - done)
            planned_ahead += bool(computed.plan.step.after)
        done = now
        ended = next((event for event in events if isinstance(event, SolveEnded)), None)
    took = time.perf_counter() - began
    if steps.flying:
        steps.wait()
    expected = request.k * request.max_new_tokens
    require(ended.counts.generated_tokens == expected, f"{ended.counts.generated_tokens} tokens, not {expected}")
    require(bool(between), "no step without prefill")
    return {
        "tokens_per_second": round(expected / took, 1),
        "step_ms": round(1e3 * statistics.median(between), 3),
        "steps": len(between),
        "planned_ahead": planned_ahead,
        "rows": ended.counts.rows,
    }


def _device_ms(runner: CudaRunner, tokens: list[int], k: int) -> float:
    """What the device takes for a step's kernels, by the profiler: the host's part of a step is the rest."""
    scheduler = Scheduler(
        pages=runner.pages,
        page_size=runner.page_size,
        limits=Limits(rows=max(k, 2), step_seconds=0.03, waiting=1, drafting=False),
    )
    request = CoreRequest(
        solve=0, prompts=(Prompt(tokens, Endless()),), k=k, filters=(_FILTERS,), seed=k, max_new_tokens=48
    )
    scheduler.submit(request)
    spans: list[float] = []
    while True:
        plan, _ = scheduler.plan()
        if plan is None:
            break
        timed = not plan.prefill_tokens and 10 <= len(spans) < 16
        if timed:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                results = runner.run(plan.step)
                torch.cuda.synchronize()
            spans.append(sum(event.self_device_time_total for event in profile.key_averages()) / 1e3)
        else:
            results = runner.run(plan.step)
            if not plan.prefill_tokens:
                spans.append(0.0)
        scheduler.finish(plan, results, 0.01)
    measured = [span for span in spans if span > 0]
    require(bool(measured), "no step was measured")
    return statistics.median(measured)
