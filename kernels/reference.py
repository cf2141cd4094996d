"""Plain references in float64, as short as they can be: what every kernel and runner is tested against."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.gpu.items import Run
from kernels.reference_pages import keys_and_values


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Attention of the rows of one path, every row seeing all keys.

    q: [rows, heads, d]; k, v: [tokens, kv_heads, d]; heads is a multiple of kv_heads. Returns (output [rows, heads, d]
    float64, log-sum-exp of the scaled scores [rows, heads] float64); without a key the output is 0 and the other -inf.
    """
    group = q.shape[1] // k.shape[1]
    keys = k.double().repeat_interleave(group, dim=1)
    values = v.double().repeat_interleave(group, dim=1)
    scores = torch.einsum("rhd,thd->rht", q.double(), keys) * scale
    lse = torch.logsumexp(scores, dim=-1) if k.shape[0] else scores.new_full(q.shape[:2], -torch.inf)
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


def decode_attention(
    q: Tensor, k_pages: Tensor, v_pages: Tensor, runs: Sequence[Run], scale: float, scales: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention of each row over all keys of the runs that it lies in.

    q: [rows, heads, d]; k_pages, v_pages, scales: pools as of kernels.reference_pages. Returns (output [rows, heads, d]
    float64, natural log-sum-exp of the scaled scores [rows, heads] float64); a row without a key has 0 and -inf.
    """
    nothing = q.new_empty(0, k_pages.shape[1], q.shape[2], dtype=torch.float64)
    parts: list[tuple[Tensor, Tensor]] = []
    for row in range(q.shape[0]):
        seen = [run for run in runs if run.first <= row < run.first + run.rows]
        held = [(nothing, nothing), *(keys_and_values(k_pages, v_pages, scales, run) for run in seen)]
        keys, values = (torch.cat(part) for part in zip(*held, strict=True))
        parts.append(attention(q[row : row + 1], keys, values, scale))
    output = torch.cat([out for out, _ in parts]) if parts else q.double()
    return output, torch.cat([lse for _, lse in parts]) if parts else q[..., 0].double()


def prefill_attention(
    q: Tensor, k_pages: Tensor, v_pages: Tensor, runs: Sequence[Run], scale: float, scales: Tensor | None = None
) -> Tensor:
    """Causal attention of chunks: a run's rows are the last tokens of its path, whose keys are in the pages already.

    q: [tokens, heads, d]; k_pages, v_pages, scales: pools as of kernels.reference_pages. Returns [tokens, heads, d]
    float64; a token of no run has 0.
    """
    output = torch.zeros(q.shape, dtype=torch.float64, device=q.device)
    for run in runs:
        rows = slice(run.first, run.first + run.rows)
        output[rows] = causal_attention(q[rows], *keys_and_values(k_pages, v_pages, scales, run), scale)
    return output
