"""Which prefill attention a process uses: the fastest of those at hand, measured once at its start."""

import importlib
import importlib.util
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from kernels.gpu.items import AttentionShape, Capacity, Run, join
from kernels.gpu.prefill import TritonPrefill
from kernels.gpu.table import check_operands

_log = logging.getLogger(__name__)

Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""Causal attention of the last rows of a path: q [n, heads, d], k and v [tokens, kv_heads, d], scale: [n, heads, d]."""


class Prefill(Protocol):
    """Causal attention of the prefill chunks of a step; methods as of `prefill.TritonPrefill`."""

    name: str

    def load(self, runs: Sequence[Run], rows: int) -> None:
        """Take the chunks of a step of `rows` tokens."""
        ...

    def run(
        self, q: Tensor, k_pages: Tensor, v_pages: Tensor, out: Tensor, scale: float, scales: Tensor | None = None
    ) -> None:
        """Attend over the chunks loaded last, one layer."""
        ...


class GatheredPrefill:
    """Prefill by an attention that knows no pages: each chunk's path is copied out of them first. It reads no narrow
    tokens."""

    def __init__(self, name: str, attend: Attend, shape: AttentionShape, device: torch.device) -> None:
        """Raises ValueError for a shape with narrow tokens."""
        if shape.narrow:
            raise ValueError(f"narrow: {name} cannot read tokens in 8 bits; TritonPrefill can")
        self.name = name
        self._attend = attend
        self._shape = shape
        self._device = device
        self._chunks: list[tuple[slice, Tensor, Tensor]] = []

    def load(self, runs: Sequence[Run], rows: int) -> None:
        """Take the chunks of a step of `rows` tokens; ValueError if they do not lie in it or in their pages."""
        joined = join(runs, rows, self._shape)
        lengths = joined.tiles[:, 2] - joined.tiles[:, 1]
        pages = np.repeat(joined.tiles[:, 0], lengths)
        starts = np.cumsum(lengths) - lengths
        slots = np.arange(len(pages)) - np.repeat(starts - joined.tiles[:, 1], lengths)
        where = torch.from_numpy(np.stack([pages, slots]).astype(np.int64)).to(self._device)
        owner = np.repeat(np.arange(len(runs)), joined.counts)
        tokens = np.bincount(owner, weights=lengths, minlength=len(runs)).astype(np.int64).tolist()
        self._chunks = [
            (slice(run.first, run.first + run.rows), path[0], path[1])
            for run, path in zip(runs, where.split(tokens, dim=1), strict=True)
        ]

    def run(
        self, q: Tensor, k_pages: Tensor, v_pages: Tensor, out: Tensor, scale: float, scales: Tensor | None = None
    ) -> None:
        """Attend over the chunks loaded last; operands as of `prefill.TritonPrefill`."""
        check_operands(self._shape, q, k_pages, v_pages, out, scales)
        for rows, pages, slots in self._chunks:
            out[rows] = self._attend(q[rows], k_pages[pages, :, slots], v_pages[pages, :, slots], scale)


def sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """PyTorch's attention; shapes as of `Attend`."""
    parts = (part.transpose(0, 1)[None] for part in (q, k, v))
    bias: Any = causal_lower_right(len(q), len(k))
    return F.scaled_dot_product_attention(*parts, attn_mask=bias, scale=scale, enable_gqa=True)[0].transpose(0, 1)


def choose_prefill(
    shape: AttentionShape,
    capacity: Capacity,
    device: torch.device,
    seconds: Callable[[Prefill, Callable[[], None]], float] | None = None,
) -> Prefill:
    """The fastest on one chunk of up to 1,024 tokens that follow as many; what was measured is logged.

    seconds: what one call takes, given the candidate; None: measured, the median of five. With narrow tokens there is
    nothing to choose: the others do not read them.
    """
    if shape.narrow:
        _log.info("prefill attention is triton: no other reads tokens in 8 bits")
        return TritonPrefill(shape, capacity, device)
    flash = importlib.util.find_spec("flash_attn") is not None and shape.dtype != torch.float32
    candidates: list[Prefill] = [TritonPrefill(shape, capacity, device), GatheredPrefill("sdpa", sdpa, shape, device)]
    if flash:
        candidates.append(GatheredPrefill("flash-attn", _flash_attention(), shape, device))
    size = shape.page_size
    tokens = min(1024, capacity.rows, capacity.tiles * size // 2) // size * size
    pages = np.arange(2 * tokens // size, dtype=np.int32)
    tiles = np.stack([pages, np.zeros_like(pages), np.full_like(pages, size)], axis=1)
    pool = torch.randn(2, len(pages), shape.kv_heads, size, shape.head_dim, dtype=shape.dtype, device=device)
    q = torch.randn(tokens, shape.heads, shape.head_dim, dtype=shape.dtype, device=device)
    out = torch.empty_like(q)
    measured: list[float] = []
    for candidate in candidates:
        candidate.load([Run(0, tokens, tiles)], tokens)

        def call(candidate: Prefill = candidate) -> None:
            candidate.run(q, pool[0], pool[1], out, shape.head_dim**-0.5)

        measured.append(seconds(candidate, call) if seconds else _median(call, device))
    best = candidates[int(np.argmin(measured))]
    figures = ", ".join(f"{c.name} {1e3 * s:.3f} ms" for c, s in zip(candidates, measured, strict=True))
    _log.info("prefill attention is %s; %d tokens after %d took %s", best.name, tokens, tokens, figures)
    return best


def _flash_attention() -> Attend:
    function = importlib.import_module("flash_attn").flash_attn_func

    def attend(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        return function(q[None], k[None], v[None], softmax_scale=scale, causal=True)[0]

    return attend


def _median(call: Callable[[], None], device: torch.device) -> float:
    def timed() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    timed()  # compiles
    return statistics.median(timed() for _ in range(5))
