"""Place, add and norm, SwiGLU and page copies against float64 on the device."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.errors import require, rounded
from benchmarks.gpu.problems import HALF, SEVEN, TINY, Model
from benchmarks.gpu.session import Session
from kernels import reference_elementwise as reference
from kernels.gpu.items import Run
from kernels.gpu.norm import add_norm
from kernels.gpu.pages import copy_pages
from kernels.gpu.place import place
from kernels.gpu.swiglu import swiglu
from kernels.reference_pages import keys_and_values


def run(session: Session) -> None:
    """Both models' shapes, one row and many, in the model's type and in float32."""
    for model in [TINY] if session.dry else [SEVEN, HALF]:
        for dtype in [session.dtype] if session.dry else [torch.bfloat16, torch.float16, torch.float32]:
            for rows in [3] if session.dry else [1, 37, 1000]:
                about: dict[str, Any] = {"model": model.name, "type": str(dtype), "rows": rows}
                for norms, page_size in ((False, 64), (True, 16)):
                    extra = {"kernel": "place", "head_norms": norms, "page_size": page_size}
                    session.case("rows", about | extra, partial(_place, session, model, dtype, rows, norms, page_size))
                kernel = {"kernel": "place, in 8 bits"}
                session.case("rows", about | kernel, partial(_place_narrow, session, model, dtype, rows))
                for name, check in (("add_norm", _add_norm), ("swiglu", _swiglu), ("copy_pages", _copy_pages)):
                    session.case("rows", about | {"kernel": name}, partial(check, session, model, dtype, rows))
    session.case("rows", {"kernel": "place", "slots": "beyond 2**31"}, partial(_far, session))


def _random(session: Session, *size: int) -> Tensor:
    return torch.randn(*size, device=session.device)


def _tables(session: Session, context: int, d: int) -> tuple[Tensor, Tensor]:
    angles = torch.rand(context, d // 2, device=session.device) * 6.3
    return torch.cat((angles.cos(), angles.cos()), dim=1), torch.cat((-angles.sin(), angles.sin()), dim=1)


def _place(
    session: Session, model: Model, dtype: torch.dtype, rows: int, norms: bool, page_size: int
) -> dict[str, Any]:
    device, d = session.device, model.head_dim
    qkv, bias = _random(session, rows, model.qkv).to(dtype), _random(session, model.qkv).to(dtype)
    q_norm, k_norm = (torch.rand(d, device=device) + 0.5 if norms else None for _ in range(2))
    cos, sin = _tables(session, 500, d)
    pages = -(-rows // page_size) + 2
    positions = torch.randint(0, 500, (rows,), device=device)
    slots = torch.randperm(pages * page_size, device=device)[:rows]
    slots[rows // 2 :: 5] = -1
    k_pages, v_pages = (
        torch.full((pages, model.kv_heads, page_size, d), torch.nan, dtype=dtype, device=device) for _ in range(2)
    )
    q = torch.full((rows, model.heads, d), torch.nan, dtype=dtype, device=device)
    rest = (bias, q_norm, k_norm, positions, slots, cos, sin, k_pages, v_pages)
    wanted_q, wanted_k, wanted_v = reference.place(qkv, *rest, model.heads, 1e-6)
    place(qkv, *rest, q, 1e-6)
    found = rounded("q", q, wanted_q)
    for name, pool, wanted in (("k", k_pages, wanted_k), ("v", v_pages, wanted_v)):
        require(torch.equal(pool.isnan(), wanted.isnan()), f"{name}: slots that are nobody's were written")
        written = ~wanted.isnan().any(dim=-1)
        found |= rounded(name, pool[written], wanted[written])
    return found


def _place_narrow(session: Session, model: Model, dtype: torch.dtype, rows: int) -> dict[str, Any]:
    """Each key and value is off by half a scale at most, and by float32's rounding."""
    device, d, size = session.device, model.head_dim, 64
    qkv, bias = _random(session, rows, model.qkv).to(dtype), _random(session, model.qkv).to(dtype)
    cos, sin = _tables(session, 500, d)
    pages = -(-rows // size)
    positions = torch.randint(0, 500, (rows,), device=device)
    slots = torch.randperm(pages * size, device=device)[:rows]
    k_pages, v_pages = torch.zeros(2, pages, model.kv_heads, size, d, dtype=dtype, device=device)
    scales = torch.zeros(pages, model.kv_heads, 2, size, device=device)
    q = torch.full((rows, model.heads, d), torch.nan, dtype=dtype, device=device)
    given = (qkv, bias, None, None, positions)
    wanted_q, *wanted = reference.place(*given, slots, cos, sin, k_pages, v_pages, model.heads)
    place(*given, -2 - slots, cos, sin, k_pages, v_pages, q, scales=scales)
    tiles = np.array([[page, 0, size] for page in range(pages)], np.int32)
    found = keys_and_values(k_pages, v_pages, scales, Run(0, 1, tiles, pages))
    worst = 0.0
    for part, pool in zip(found, wanted, strict=True):
        exact = pool.transpose(1, 2).flatten(0, 1)
        largest = exact.abs().amax(dim=-1, keepdim=True)
        worst = max(worst, float(((part - exact).abs() / largest.clamp(min=1e-30)).max()))
    require(worst <= 0.5 / 127 + 1e-5, f"a number is off by {worst:.3g} of its head's largest")
    return rounded("q", q, wanted_q) | {"error_of_largest": worst}


def _add_norm(session: Session, model: Model, dtype: torch.dtype, rows: int) -> dict[str, Any]:
    stream, addend = _random(session, rows, model.hidden) * 3, _random(session, rows, model.hidden).to(dtype)
    weight = _random(session, model.hidden)
    out = torch.full_like(addend, torch.nan)
    total, normed = reference.add_norm(stream, addend, weight, 1e-6)
    add_norm(stream, addend, weight, 1e-6, out)
    return rounded("stream", stream, total) | rounded("norm", out, normed)


def _swiglu(session: Session, model: Model, dtype: torch.dtype, rows: int) -> dict[str, Any]:
    gate_up = (_random(session, rows, 2 * model.intermediate) * 4).to(dtype)
    out = torch.full((rows, model.intermediate), torch.nan, dtype=dtype, device=session.device)
    swiglu(gate_up, out)
    return rounded("out", out, reference.swiglu(gate_up))


def _copy_pages(session: Session, model: Model, dtype: torch.dtype, rows: int) -> dict[str, Any]:
    moves = min(rows, 40)
    pools = _random(session, 4, 2 * moves, model.kv_heads, 64, model.head_dim).to(dtype)
    pages = torch.randperm(2 * moves).view(2, moves)
    bounds = torch.randint(0, 65, (moves, 2)).sort(dim=1).values
    table = torch.cat([pages.T, bounds], dim=1).int()
    expected = reference.copy_pages(pools, table)
    copy_pages(pools, table.to(session.device))
    require(torch.equal(pools, expected), "the pools differ")
    return {}


def _far(session: Session) -> dict[str, Any]:
    # Of memory that nobody touches a CPU needs none; a GPU has it.
    k_pages, v_pages = (torch.empty(300_000, 2, 64, 64, dtype=torch.float16, device=session.device) for _ in range(2))
    slots = torch.tensor([299_999 * 64 + 63, 270_000 * 64], dtype=torch.int32, device=session.device)
    positions = torch.tensor([1, 3], dtype=torch.int32, device=session.device)
    qkv = _random(session, 2, 6 * 64).half()
    cos, sin = _tables(session, 4, 64)
    q = torch.empty(2, 2, 64, device=session.device, dtype=torch.float16)
    place(qkv, None, None, None, positions, slots, cos, sin, k_pages, v_pages, q)
    few = torch.zeros(1, 2, 2, 64, device=session.device)
    near = torch.tensor([0, 1])
    _, keys, values = reference.place(qkv, None, None, None, positions, near, cos, sin, few, few, 2)
    page, offset = slots.long() // 64, slots.long() % 64
    found = rounded("k", k_pages[page, :, offset], keys[0].transpose(0, 1))
    return found | rounded("v", v_pages[page, :, offset], values[0].transpose(0, 1))
