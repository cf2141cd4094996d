"""What happens to rows between matrix products: place, add and norm, SwiGLU, page copies."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.problems import HALF, SEVEN, TINY, Model
from benchmarks.gpu.session import Session
from benchmarks.gpu.timing import Ceilings, measure, sets
from kernels.gpu.norm import add_norm
from kernels.gpu.pages import copy_pages
from kernels.gpu.place import place
from kernels.gpu.swiglu import swiglu

Made = tuple[int, Callable[[], Callable[[], None]]]
"""Bytes that a call moves at least, and what makes a call with buffers of its own."""

_PAGE = 64
_CONTEXT = 4096


def run(session: Session, found: Ceilings) -> None:
    """Each kernel for the rows of a decode step, and for a chunk of prefill."""
    for model in [TINY] if session.dry else [SEVEN, HALF]:
        for rows in [3] if session.dry else [1, 64, 256, 4096]:
            for name, make in (("place", _place), ("add_norm", _add_norm), ("swiglu", _swiglu)):
                about: dict[str, Any] = {"kernel": name, "model": model.name, "rows": rows}
                session.case("rows", about, partial(_time, session, found, make, model, rows))
        for moves in [2] if session.dry else [1, 64]:
            about = {"kernel": "copy_pages", "model": model.name, "moves": moves}
            session.case("rows", about, partial(_time, session, found, _copy_pages, model, moves))


def _time(
    session: Session, found: Ceilings, make: Callable[[Session, Model, int], Made], model: Model, rows: int
) -> dict[str, Any]:
    moved, call = make(session, model, rows)
    calls = [call() for _ in range(min(32, sets(session, moved)))]
    timing = measure(session, calls)
    floor = found.floor(moved, 0)
    return {
        **timing.row(),
        "floor_us": round(1e6 * floor, 2),
        "reached": round(floor / timing.median, 4),
        "megabytes": round(moved / 1e6, 3),
        "sets": len(calls),
    }


def _random(session: Session, *size: int) -> Tensor:
    return torch.randn(*size, device=session.device).to(session.dtype)


def _place(session: Session, model: Model, rows: int) -> Made:
    device = session.device
    cos, sin = torch.rand(2, _CONTEXT, model.head_dim, device=device)
    bias = _random(session, model.qkv)
    pages = -(-rows // _PAGE)

    def make() -> Callable[[], None]:
        qkv = _random(session, rows, model.qkv)
        k_pages, v_pages = _random(session, 2, pages, model.kv_heads, _PAGE, model.head_dim)
        q = torch.empty(rows, model.heads, model.head_dim, dtype=session.dtype, device=device)
        positions = torch.randint(0, _CONTEXT, (rows,), device=device)
        slots = torch.randperm(pages * _PAGE, device=device)[:rows]
        return partial(place, qkv, bias, None, None, positions, slots, cos, sin, k_pages, v_pages, q)

    # The rows read and written, and of the two tables a line for each row.
    return rows * (4 * model.qkv + 8 * model.head_dim), make


def _add_norm(session: Session, model: Model, rows: int) -> Made:
    weight = torch.rand(model.hidden, device=session.device)

    def make() -> Callable[[], None]:
        stream = torch.randn(rows, model.hidden, device=session.device)
        addend = _random(session, rows, model.hidden)
        return partial(add_norm, stream, addend, weight, 1e-6, torch.empty_like(addend))

    return rows * model.hidden * 12, make


def _swiglu(session: Session, model: Model, rows: int) -> Made:
    def make() -> Callable[[], None]:
        gate_up = _random(session, rows, 2 * model.intermediate)
        out = torch.empty(rows, model.intermediate, dtype=session.dtype, device=session.device)
        return partial(swiglu, gate_up, out)

    return rows * model.intermediate * 6, make


def _copy_pages(session: Session, model: Model, moves: int) -> Made:
    def make() -> Callable[[], None]:
        pools = _random(session, 2 * model.layers, 2 * moves, model.kv_heads, _PAGE, model.head_dim)
        table = torch.tensor([[2 * move, 2 * move + 1, 0, 40] for move in range(moves)], dtype=torch.int32)
        return partial(copy_pages, pools, table.to(session.device))

    return moves * model.layers * model.kv_bytes * 40 * 2, make
