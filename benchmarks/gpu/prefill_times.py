"""Prefill attention of one layer, chunk by chunk: our kernel over pages, and torch's over copies of them."""

from functools import partial
from typing import Any

import torch

from benchmarks.gpu.errors import relative, require
from benchmarks.gpu.problems import HALF, SEVEN, TINY, Model, Paths
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings, measure, sets
from kernels.gpu.items import AttentionShape, Capacity, Run
from kernels.gpu.prefill import TritonPrefill
from kernels.gpu.prefill_choice import GatheredPrefill, Prefill, sdpa
from kernels.reference import prefill_attention

_PAGE = 64

CHUNKS = [(1, 512, 0), (1, 2048, 0), (1, 1024, 1024), (4, 512, 0), (1, 512, 7680)]
"""(chunks, tokens of each, tokens before each)."""


def run(session: Session, found: Ceilings) -> None:
    """Each set of chunks for both models."""
    for model in [TINY] if session.dry else [SEVEN, HALF]:
        for chunks, tokens, before in [(2, 20, 70)] if session.dry else CHUNKS:
            about: dict[str, Any] = {"model": model.name, "chunks": chunks, "tokens": tokens, "before": before}
            session.case("prefill", about, partial(_time, session, found, model, chunks, tokens, before))


def check(session: Session) -> None:
    """Correctness, on fewer tokens than the times are of: the reference takes them one by one."""
    for model in [TINY] if session.dry else [SEVEN, HALF]:
        for chunks, tokens, before in [(2, 20, 70)] if session.dry else [(1, 200, 0), (3, 70, 130), (1, 3, 1500)]:
            about: dict[str, Any] = {"model": model.name, "chunks": chunks, "tokens": tokens, "before": before}
            session.case("prefill", about, partial(_check, session, model, chunks, tokens, before))


def _chunks(session: Session, model: Model, chunks: int, tokens: int, before: int) -> tuple[AttentionShape, list[Run]]:
    shape = AttentionShape(model.heads, model.kv_heads, model.head_dim, _PAGE, session.dtype)
    paths = Paths(_pages(chunks, tokens, before), _PAGE)
    return shape, [Run(chunk * tokens, tokens, paths.segment(0, before + tokens)) for chunk in range(chunks)]


def _pages(chunks: int, tokens: int, before: int) -> int:
    return chunks * (-(-(tokens + before) // _PAGE) + 1)


def _random(session: Session, *size: int) -> torch.Tensor:
    return torch.empty(size, dtype=session.dtype, device=session.device).normal_()


def _triton(session: Session, shape: AttentionShape, runs: list[Run], rows: int) -> TritonPrefill:
    blocks = len(runs) * (-(-rows * shape.group // 16) + 1)
    tiles = sum(len(run.tiles) for run in runs)
    prefill = TritonPrefill(shape, Capacity(rows, blocks, tiles, 1), session.device)
    prefill.load(runs, rows)
    return prefill


def _time(session: Session, found: Ceilings, model: Model, chunks: int, tokens: int, before: int) -> dict[str, Any]:
    shape, runs = _chunks(session, model, chunks, tokens, before)
    rows = chunks * tokens
    moved = chunks * (before + tokens) * model.kv_bytes + 4 * rows * model.heads * model.head_dim
    seen = chunks * (tokens * before + tokens * (tokens + 1) // 2)
    operations = 4 * model.heads * model.head_dim * seen
    size = (_pages(chunks, tokens, before), model.kv_heads, _PAGE, model.head_dim)
    pools = [(_random(session, *size), _random(session, *size)) for _ in range(min(8, sets(session, moved)))]
    q = _random(session, rows, model.heads, model.head_dim)
    out, theirs = torch.full_like(q, torch.nan), torch.full_like(q, torch.nan)
    ours = _triton(session, shape, runs, rows)
    peer = GatheredPrefill("sdpa", sdpa, shape, session.device)
    peer.load(runs, rows)

    def calls(prefill: Prefill, target: torch.Tensor) -> list[Any]:
        return [partial(prefill.run, q, k_pages, v_pages, target, shape.head_dim**-0.5) for k_pages, v_pages in pools]

    timing = measure(session, calls(ours, out))
    others = measure(session, calls(peer, theirs), peer=True)
    ours.run(q, *pools[0], out, shape.head_dim**-0.5)
    peer.run(q, *pools[0], theirs, shape.head_dim**-0.5)
    far = relative(out, theirs.double())
    require(far < 2e-2, f"relative difference to torch {far:.3g}")
    floor = found.floor(moved, operations)
    return {
        **timing.row(),
        "floor_us": round(1e6 * floor, 2),
        "reached": round(floor / timing.median, 4),
        "teraflops": round(operations / timing.median / 1e12, 2),
        **others.row("sdpa_us"),
        "times_faster_than_sdpa": round(others.median / timing.median, 3),
    }


def _check(session: Session, model: Model, chunks: int, tokens: int, before: int) -> dict[str, Any]:
    shape, runs = _chunks(session, model, chunks, tokens, before)
    rows = chunks * tokens
    size = (_pages(chunks, tokens, before), model.kv_heads, _PAGE, model.head_dim)
    k_pages, v_pages = (torch.full(size, torch.nan, dtype=session.dtype, device=session.device) for _ in range(2))
    for pool in (k_pages, v_pages):
        for run in runs:
            for page, begin, end in run.tiles.tolist():
                pool[page, :, begin:end] = _random(session, model.kv_heads, end - begin, model.head_dim)
    q = _random(session, rows, model.heads, model.head_dim)
    out = torch.full_like(q, torch.nan)
    scale = shape.head_dim**-0.5
    _triton(session, shape, runs, rows).run(q, k_pages, v_pages, out, scale)
    expected = prefill_attention(q, k_pages, v_pages, runs, scale)
    far = relative(out, expected)
    error = float((out.double() - expected).abs().max())
    require(far <= 5e-3, f"relative error {far:.3g}")
    return {"error": error, "relative_error": far}
