"""Plain references in float64 of what happens to the rows of a GPU step between its matrix products."""

import torch
from torch import Tensor


def place(
    qkv: Tensor,
    bias: Tensor | None,
    q_norm: Tensor | None,
    k_norm: Tensor | None,
    positions: Tensor,
    slots: Tensor,
    cos: Tensor,
    sin: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    heads: int,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor, Tensor]:
    """As kernels.gpu.place: (q [rows, heads, d] float64, copies of the two pools, float64, with the rows written)."""
    rows, (_, kv_heads, page_size, d) = qkv.shape[0], k_pages.shape
    values = qkv.double() if bias is None else qkv.double() + bias.double()
    q, k, v = values.view(rows, -1, d).split([heads, kv_heads, kv_heads], dim=1)
    if q_norm is not None and k_norm is not None:
        q, k = rms_norm(q, q_norm, eps), rms_norm(k, k_norm, eps)
    q, k = (_rotated(x, cos[positions.long(), None].double(), sin[positions.long(), None].double()) for x in (q, k))
    pools = k_pages.to(torch.float64, copy=True), v_pages.to(torch.float64, copy=True)
    for row, slot in enumerate(slots.tolist()):
        if slot >= 0:
            pools[0][slot // page_size, :, slot % page_size] = k[row]
            pools[1][slot // page_size, :, slot % page_size] = v[row]
    return q, *pools


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of the last dimension, float64."""
    x = x.double()
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + eps) * weight.double()


def add_norm(stream: Tensor, addend: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """As kernels.gpu.norm: (the stream, its norm), float64."""
    total = stream.double() if addend is None else stream.double() + addend.double()
    return total, rms_norm(total, weight, eps)


def swiglu(gate_up: Tensor) -> Tensor:
    """As kernels.gpu.swiglu, float64."""
    gate, up = gate_up.double().chunk(2, dim=1)
    return gate * torch.sigmoid(gate) * up


def copy_pages(pools: Tensor, moves: Tensor) -> Tensor:
    """As kernels.gpu.pages: a copy of the pools with the moves made."""
    result = pools.clone()
    for source, target, begin, end in moves.tolist():
        result[:, target, :, begin:end] = pools[:, source, :, begin:end]
    return result


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return heads * cos + heads.roll(heads.shape[2] // 2, dims=2) * sin
