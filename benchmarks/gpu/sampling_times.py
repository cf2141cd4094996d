"""Draws from the logits of a step."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.problems import HALF, TINY
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings, measure, sets
from kernels.gpu.sampling import Asks, Sampler

FILTERS: dict[str, tuple[float, int, float, float]] = {
    "greedy": (0.0, 0, 1.0, 0.0),
    "temperature 0.8": (0.8, 0, 1.0, 0.0),
    "top-p 0.95": (0.8, 0, 0.95, 0.0),
    "top-k 50, min-p 0.05": (1.0, 50, 1.0, 0.05),
    "flat: temperature 2, top-p 0.95": (2.0, 0, 0.95, 0.0),
}
"""temperature, top-k, top-p, min-p."""


def logits_like(rows: int, vocab: int, device: torch.device, seed: int) -> Tensor:
    """Logits [rows, vocab] float32 such as a code model's: a bulk, and a few dozen tokens that stand out by degrees."""
    generator = torch.Generator(device).manual_seed(seed)
    bulk = torch.randn(rows, vocab, device=device, generator=generator) * 2.5
    some = torch.randint(0, vocab, (rows, min(40, vocab)), device=device, generator=generator)
    height = torch.rand(some.shape, device=device, generator=generator).square() * 14 + 5
    return bulk.scatter(1, some, height)


def asks_of(rows: int, each: int, filters: tuple[float, int, float, float]) -> Asks:
    """One ask for each row with `each` numbers, all with the same filters."""
    temperature, top_k, top_p, min_p = filters
    return Asks(
        rows=np.arange(rows, dtype=np.int32),
        temperature=np.full(rows, temperature),
        top_k=np.full(rows, top_k, np.int32),
        top_p=np.full(rows, top_p),
        min_p=np.full(rows, min_p),
        counts=np.full(rows, each, np.int32),
        numbers=np.random.default_rng(1).random(rows * each),
    )


def run(session: Session, found: Ceilings) -> None:
    """Rows of one number each, and a prompt's last row with many."""
    vocab = TINY.vocab if session.dry else HALF.vocab
    for name, filters in list(FILTERS.items())[: 3 if session.dry else None]:
        for rows, each in [(2, 2)] if session.dry else [(1, 1), (16, 1), (64, 1), (256, 1), (1, 256)]:
            about: dict[str, Any] = {"filters": name, "rows": rows, "numbers": each, "vocab": vocab}
            session.case("sampling", about, partial(_time, session, found, vocab, rows, each, filters))


def _time(
    session: Session, found: Ceilings, vocab: int, rows: int, each: int, filters: tuple[float, int, float, float]
) -> dict[str, Any]:
    sampler = Sampler(vocab, rows, rows * each, session.device)
    sampler.load(asks_of(rows, each, filters))
    moved = rows * vocab * 2
    copies = min(16, sets(session, moved))
    several = [logits_like(rows, vocab, session.device, seed).to(session.dtype) for seed in range(copies)]
    timing = measure(session, [partial(sampler.run, logits) for logits in several])
    floor = found.floor(moved, 0)
    return {
        **timing.row(),
        "floor_us": round(1e6 * floor, 2),
        "reached": round(floor / timing.median, 4),
        "megabytes": round(moved / 1e6, 2),
        "sets": len(several),
    }
