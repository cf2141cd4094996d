"""Plain references in float64, as short as they can be: what every kernel and runner is tested against."""

import torch
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Attention of the rows of one path, every row seeing all keys.

    q: [rows, heads, d]; k, v: [tokens, kv_heads, d]; heads is a multiple of kv_heads. Returns (output [rows, heads, d]
    float64, log-sum-exp of the scaled scores [rows, heads] float64); without a key the output is 0 and the other -inf.
    """
    group = q.shape[1] // k.shape[1]
    keys = k.double().repeat_interleave(group, dim=1)
    values = v.double().repeat_interleave(group, dim=1)
    scores = torch.einsum("rhd,thd->rht", q.double(), keys) * scale
    lse = torch.logsumexp(scores, dim=-1) if k.shape[0] else torch.full(q.shape[:2], -torch.inf, dtype=torch.float64)
    weights = torch.exp(scores - lse[..., None])
    return torch.einsum("rht,thd->rhd", weights, values), lse


def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attention of the last rows of a path: row i of n sees all keys but the last n - 1 - i.

    q: [n, heads, d]; k, v: [tokens, kv_heads, d] with tokens >= n. Returns [n, heads, d] float64.
    """
    rows, tokens = q.shape[0], k.shape[0]
    parts = [
        attention(q[i : i + 1], k[: tokens - rows + 1 + i], v[: tokens - rows + 1 + i], scale) for i in range(rows)
    ]
    return torch.cat([output for output, _ in parts])


def merge(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Put together attention over disjoint sets of keys from (output [..., d], log-sum-exp [...]) of each, in order."""
    lse = torch.logsumexp(torch.stack([part.double() for _, part in parts]), dim=0)
    output = sum(
        (torch.exp(part.double() - lse)[..., None].nan_to_num(0.0) * out.double() for out, part in parts),
        torch.zeros_like(parts[0][0], dtype=torch.float64),
    )
    return output, lse
