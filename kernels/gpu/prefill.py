"""Causal attention of prefill chunks over pages, all chunks of a step in one launch.

A chunk is a run (`items.Run`) whose rows are the last tokens of its path; their keys are in the pages already.
"""

# Triton knows the types of a kernel's arguments when it is called, takes options there that its types do not name, and
# its ranges are loops of the kernel's language.
# pyright: reportMissingParameterType=false, reportCallIssue=false, reportGeneralTypeIssues=false

from collections.abc import Sequence

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.attention import LOG2_E, attend
from kernels.gpu.interpreting import refuse_bf16_interpreted
from kernels.gpu.items import ITEM_WORDS, AttentionShape, Capacity, Items, Run, Words, join, packed
from kernels.gpu.table import DeviceTable, check_operands, multiprocessors
from kernels.gpu.tiling import Tiling


@triton.jit
def prefill_kernel(
    q,  # [rows, heads, D]
    k_pages,  # [pages, KV_HEADS, PAGE, D]
    v_pages,
    scales,  # [pages, KV_HEADS, 2, PAGE] float32: of the keys and of the values of narrow tokens
    header,  # number of items
    items,
    tiles,
    out,  # [rows, heads, D]
    scale,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
    STAGES: tl.constexpr,
    NARROW: tl.constexpr,
):
    """Each program takes every num_programs-th pair of an item, M query rows and their path, and a key head."""
    m = tl.arange(0, M)
    d = tl.arange(0, D)
    works = tl.load(header) * KV_HEADS
    for work in tl.range(tl.program_id(0), works, tl.num_programs(0), num_stages=1):
        item = items + work // KV_HEADS * 8
        head = work % KV_HEADS
        query = tl.load(item + 1) + m
        real = query < tl.load(item + 2)
        row = tl.load(item) + query // GROUP
        at = row * (KV_HEADS * GROUP) + head * GROUP + query % GROUP
        place = at.to(tl.int64)[:, None] * D + d[None, :]
        limit = tl.load(item + 6) + query // GROUP
        top = tl.full([M], -float("inf"), tl.float32)
        total = tl.zeros([M], tl.float32)
        result = tl.zeros([M, D], tl.float32)
        tile = tl.load(item + 3)
        last = tl.load(item + 4)
        whole = tl.load(item + 5)
        rows = tl.load(q + place, mask=real[:, None], other=0.0)
        top, total, result = attend(
            rows, k_pages, v_pages, scales, tiles, head, tile, whole, scale, limit, top, total, result,
            KV_HEADS, PAGE, N, STAGES, False, False,
        )  # fmt: skip
        if NARROW:
            # Texts that are computed again are rare: all their narrow tiles get the mask.
            split = tl.load(item + 7)
            top, total, result = attend(
                rows, k_pages, v_pages, scales, tiles, head, whole, split, scale, limit, top, total, result,
                KV_HEADS, PAGE, N, STAGES, True, False,
            )  # fmt: skip
            whole = split
        top, total, result = attend(
            rows, k_pages, v_pages, scales, tiles, head, whole, last, scale, limit, top, total, result,
            KV_HEADS, PAGE, N, STAGES, True, NARROW,
        )  # fmt: skip
        result = result * (1.0 / total)[:, None]
        tl.store(out + place, result.to(out.dtype.element_ty), mask=real[:, None])


def make_prefill_items(runs: Sequence[Run], rows: int, shape: AttentionShape, block: int) -> Items:
    """Items of at most `block` query rows, those that see most first; tables as of `items.Items` but for this:

    items: first and last + 1 of the query rows' tiles come before the first tile that not all of them see wholly or
    that is narrow, the number of keys that the run's first row sees, and the first narrow tile or last + 1. tiles: with
    page_index * 65536 added, the place of the page among those of the path. ValueError if a token does not lie at its
    position % page_size, or a path is too short or long.
    """
    joined = join(runs, rows, shape)
    lengths = joined.tiles[:, 2] - joined.tiles[:, 1]
    indices = np.zeros(len(joined.tiles), np.int64)
    found: list[Words] = [np.empty((0, ITEM_WORDS), np.int32)]
    first_tile = 0
    for run, count, wide in zip(runs, joined.counts.tolist(), joined.wide.tolist(), strict=True):
        part = slice(first_tile, first_tile + count)
        ends = np.cumsum(lengths[part])
        starts = ends - lengths[part]
        total = int(ends[-1]) if count else 0
        if total < run.rows or total > 2**15 * shape.page_size:
            raise ValueError(f"a run of {run.rows} rows has a path of {total} tokens")
        if ((starts - joined.tiles[part, 1]) % shape.page_size).any():
            raise ValueError(f"a token of a path does not lie at its position % {shape.page_size} in its page")
        indices[part] = starts // shape.page_size
        begin = np.arange(0, run.rows * shape.group, block)
        end = np.minimum(begin + block, run.rows * shape.group)
        sees = total - run.rows + 1  # keys, of the first row
        items = np.zeros((len(begin), ITEM_WORDS), np.int32)
        items[:, 0] = run.first
        items[:, 1] = begin
        items[:, 2] = end
        items[:, 3] = first_tile
        items[:, 4] = first_tile + np.searchsorted(starts, sees + (end - 1) // shape.group)
        whole = np.searchsorted(ends, sees + begin // shape.group, side="right")
        items[:, 5] = first_tile + np.minimum(whole, wide)
        items[:, 6] = sees
        items[:, 7] = np.minimum(first_tile + wide, items[:, 4])
        found.append(items)
        first_tile += count
    items = np.concatenate(found)
    tiles = packed(joined.tiles)
    tiles[:, 1] += indices * 65536
    order = np.argsort(items[:, 3] - items[:, 4], kind="stable")
    return Items(items[order], tiles, np.zeros(1, np.int32), np.empty(0, np.int32))


def prefill_tiling(shape: AttentionShape) -> Tiling:
    """The shapes of the prefill kernel."""
    # Pages of 16 and narrow tiles take more registers, and would spill at the limit that lets two programs be resident.
    two = shape.head_dim == 64 and shape.page_size == 64 and not shape.narrow
    registers, resident = (128, 2) if two else (None, 1)
    return Tiling(128, 0, 64, warps=8, stages=3, own_stages=0, registers=registers, resident=resident)


class TritonPrefill:
    """Prefill by a kernel that reads the pages: one launch for all chunks."""

    name = "triton"

    def __init__(self, shape: AttentionShape, capacity: Capacity, device: torch.device) -> None:
        """`capacity`: rows are tokens of a step, slots none. Raises ValueError for bfloat16 interpreted."""
        refuse_bf16_interpreted(shape.dtype)
        self.shape = shape
        self.tiling = prefill_tiling(shape)
        self._table = DeviceTable(capacity, device)
        self._programs = multiprocessors(device) * self.tiling.resident

    def load(self, runs: Sequence[Run], rows: int) -> None:
        """Take the chunks of a step of `rows` tokens; ValueError if they do not fit or do not lie in their pages."""
        self._table.load(make_prefill_items(runs, rows, self.shape, self.tiling.block))

    def run(
        self, q: Tensor, k_pages: Tensor, v_pages: Tensor, out: Tensor, scale: float, scales: Tensor | None = None
    ) -> None:
        """Attend over the chunks loaded last.

        q, out: [rows, heads, head_dim], contiguous; rows of no run stay as they are. k_pages, v_pages, scales: as of
        attention.DecodeAttention.
        """
        check_operands(self.shape, q, k_pages, v_pages, out, scales)
        parts = self._table.parts
        prefill_kernel[(self._programs,)](
            q,
            k_pages,
            v_pages,
            scales,
            parts["header"],
            parts["items"],
            parts["tiles"],
            out,
            scale * LOG2_E,
            **prefill_constants(self.shape, self.tiling),
            num_warps=self.tiling.warps,
            maxnreg=self.tiling.registers,
        )


def prefill_constants(shape: AttentionShape, tiles: Tiling) -> dict[str, int]:
    """The compile-time arguments of `prefill_kernel`."""
    return {
        "KV_HEADS": shape.kv_heads,
        "GROUP": shape.group,
        "D": shape.head_dim,
        "PAGE": shape.page_size,
        "M": tiles.block,
        "N": tiles.keys,
        "STAGES": tiles.stages,
        "NARROW": shape.narrow,
    }
