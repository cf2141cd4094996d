"""Decode attention of one layer on the grid of mixes, of prompts alone, and with three levels of sharing."""

from functools import partial
from typing import Any

import torch

from benchmarks.gpu.problems import (
    DRY_MIX,
    NARROW,
    PROMPT_ALONE,
    SEVEN,
    THREE_LEVELS,
    TINY,
    Mix,
    Model,
    decode_attention,
    grid,
    problem,
)
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings, measure, sets


def run(session: Session, found: Ceilings) -> None:
    """The grid with pages of 64, some of it with pages of 16 and in strict mode, prompts alone, and three levels."""
    for model, mix in grid(session):
        case(session, found, model, mix)
    alone = [(model, mix) for model, mixes in PROMPT_ALONE.items() for mix in mixes]
    for model, mix in [(TINY, Mix(1, 4, 70, 0))] if session.dry else alone:
        case(session, found, model, mix)
    deep = [(SEVEN, mix) for mix in THREE_LEVELS]
    for model, mix in [(TINY, Mix(1, 4, 70, 5, 2, 20))] if session.dry else deep:
        case(session, found, model, mix)
        # The same texts as two levels: what they have in common is read by each of them.
        case(session, found, model, Mix(mix.groups, mix.k, mix.prompt, mix.common + mix.own))
    if not session.dry:
        for mix in (Mix(1, 64, 2048, 256), Mix(16, 16, 1024, 256)):
            case(session, found, SEVEN, mix, page_size=16)
            case(session, found, SEVEN, mix, strict=True)
    # Rows of the grid again, with drawn tokens in 8 bits.
    for model, mix in [(TINY, DRY_MIX)] if session.dry else NARROW:
        case(session, found, model, mix, narrow=True)


def case(
    session: Session,
    found: Ceilings,
    model: Model,
    mix: Mix,
    *,
    page_size: int = 64,
    strict: bool = False,
    narrow: bool = False,
) -> None:
    """One row: a mix on one layer of a model."""
    about: dict[str, Any] = {"model": model.name, **mix.about(), "page_size": page_size, "strict": strict}
    if narrow:
        about["suffix_bits"] = 8
    session.case("attention", about, partial(_time, session, found, model, mix, page_size, strict, narrow))


def _time(
    session: Session, found: Ceilings, model: Model, mix: Mix, page_size: int, strict: bool, narrow: bool
) -> dict[str, Any]:
    moved, operations = mix.moved(model, narrow=narrow), mix.operations(model)
    laid_out = problem(session, model, mix, sets(session, moved), page_size, narrow=narrow)
    attention = decode_attention(session, laid_out, strict=strict)
    out = torch.empty_like(laid_out.q)
    calls = [
        partial(attention.run, laid_out.q, *pools, out, laid_out.scale, scales=scales)
        for pools, scales in zip(laid_out.pools, laid_out.scales, strict=True)
    ]
    timing = measure(session, calls)
    floor = found.floor(moved, operations)
    return {
        **timing.row(),
        "floor_us": round(1e6 * floor, 2),
        "reached": round(floor / timing.median, 4),
        "bound": "memory" if moved / found.bandwidth > operations / found.matmul else "matrix",
        "megabytes": round(moved / 1e6, 2),
        "gigabytes_per_second": round(moved / timing.median / 1e9, 1),
        "teraflops": round(operations / timing.median / 1e12, 2),
        "naive_megabytes": round(mix.moved_naively(model) / 1e6, 1),
        "layers_ms": round(1e3 * model.layers * timing.median, 3),
        "sets": len(calls),
    }
