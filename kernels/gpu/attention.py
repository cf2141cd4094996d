"""Decode attention over pages in which each shared run of keys is read once for all its rows.

One launch for all runs of a step: its programs take items (`items.Items`) in turn, and leave for each query row the
normalised attention over the item's keys in float32 with its log-sum-exp; a second launch puts each row's parts
together. (Milakov and Gimelshein 2018; Dao, "FlashAttention-2", 2023; Juravsky et al., "Hydragen", 2024; packing of
query heads into rows as in Ainslie et al., "GQA", 2023, and FlashDecoding.)
"""

# Triton knows the types of a kernel's arguments when it is called, takes options there that its types do not name, and
# its ranges are loops of the kernel's language.
# pyright: reportMissingParameterType=false, reportCallIssue=false, reportGeneralTypeIssues=false

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.gpu.batch import Batch
from kernels.gpu.interpreting import refuse_bf16_interpreted
from kernels.gpu.items import NARROW_BLOCK, AttentionShape, Capacity, Items, Run, make_items
from kernels.gpu.table import DeviceTable, check_operands, multiprocessors
from kernels.gpu.tiling import Tiling, tiling

LOG2_E = 1.4426950408889634
_LN_2: tl.constexpr = tl.constexpr(0.6931471805599453)
_MERGED: tl.constexpr = tl.constexpr(16)
_M_NARROW: tl.constexpr = tl.constexpr(NARROW_BLOCK)


@triton.jit
def attend(
    rows,  # [M, D]
    k_pages,
    v_pages,
    scales,  # [pages, KV_HEADS, 2, PAGE] float32, of narrow tokens
    tiles,
    head,
    tile,
    last,
    scale,  # times log2(e)
    limit,  # [M] number of keys of the path that a row sees
    top,  # [M] highest score so far
    total,  # [M] sum of 2 ** (score - top)
    out,  # [M, D] sum of 2 ** (score - top) * value
    KV_HEADS: tl.constexpr,
    PAGE: tl.constexpr,
    N: tl.constexpr,
    STAGES: tl.constexpr,
    LIMITED: tl.constexpr,
    NARROW: tl.constexpr,
):
    """Go on with attention of `rows` over tiles `tile` to `last` - 1, N keys at a time; gives top, total, out.

    LIMITED: whether `limit` holds; each row must see a key of the first tile, or have seen one before. NARROW: whether
    all tiles are narrow, or all wide. A narrow slot's part of the key pool holds its keys and behind them its values as
    D int8 each, which a token's scales are for.
    """
    D: tl.constexpr = rows.shape[1]
    STEP: tl.constexpr = N // PAGE
    if NARROW:
        # From here on all is counted in bytes.
        k_pages = k_pages.to(tl.pointer_type(tl.int8), bitcast=True)
        v_pages = k_pages + D
    SLOT: tl.constexpr = D * (rows.dtype.primitive_bitwidth // 8 if NARROW else 1)
    HEAD: tl.constexpr = PAGE * SLOT
    d = tl.arange(0, D)
    n = tl.arange(0, N)
    slot = n % PAGE
    inside = slot[:, None] * SLOT + d[None, :]
    # A page's number is loaded one step before it is used: Triton 3.6 would give a load that other loads wait for a
    # stage of its own, and the keys and values one buffer less.
    if STEP == 1:
        page = tl.load(tiles + 2 * tile)
        bounds = tl.load(tiles + 2 * tile + 1)
    else:
        entry = tile + n // PAGE
        page = tl.load(tiles + 2 * entry, mask=entry < last, other=0)
        bounds = tl.load(tiles + 2 * entry + 1, mask=entry < last, other=0)
    for at in tl.range(tile, last, STEP, num_stages=STAGES):
        begin = bounds // 256 % 256
        seen = (slot - begin).to(tl.uint32) < (bounds % 256 - begin).to(tl.uint32)
        index = bounds // 65536 * PAGE + slot
        start = page.to(tl.int64) * (KV_HEADS * HEAD) + head * HEAD
        k_scale = (page.to(tl.int64) * KV_HEADS + head) * (2 * PAGE) + slot
        if STEP == 1:
            k_tile = k_pages + start + inside
            v_tile = v_pages + start + inside
            page = tl.load(tiles + 2 * (at + 1))
            bounds = tl.load(tiles + 2 * (at + 1) + 1)
        else:
            k_tile = k_pages + start[:, None] + inside
            v_tile = v_pages + start[:, None] + inside
            entry = at + STEP + n // PAGE
            page = tl.load(tiles + 2 * entry, mask=entry < last, other=0)
            bounds = tl.load(tiles + 2 * entry + 1, mask=entry < last, other=0)
        keys = tl.load(k_tile, mask=seen[:, None], other=0)
        scores = tl.dot(rows, tl.trans(keys.to(rows.dtype)), input_precision="ieee")
        if NARROW:
            scores *= tl.load(scales + k_scale, mask=seen, other=0.0)[None, :]
        if LIMITED:
            scores = tl.where(seen[None, :] & (index[None, :] < limit[:, None]), scores, -float("inf"))
        else:
            scores = tl.where(seen[None, :], scores, -float("inf"))
        # What lies in slots that nobody owns may be anything, so that no weight of 0 would undo it.
        values = tl.load(v_tile, mask=seen[:, None], other=0).to(rows.dtype)
        higher = tl.maximum(top, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - higher[:, None])
        decay = tl.exp2(top - higher)
        total = total * decay + tl.sum(weights, 1)
        if NARROW:
            weights *= tl.load(scales + k_scale + PAGE, mask=seen, other=0.0)[None, :]
        out = tl.dot(weights.to(values.dtype), values, out * decay[:, None], input_precision="ieee")
        top = higher
    return top, total, out


@triton.jit
def _attend_item(
    q,
    k_pages,
    v_pages,
    scales,
    tiles,
    partials,
    lses,
    item,
    head,
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
    m = tl.arange(0, M)
    d = tl.arange(0, D)
    query = tl.load(item + 1) + m
    real = query < tl.load(item + 2)
    row = tl.load(item) + query // GROUP
    at = row * (KV_HEADS * GROUP) + head * GROUP + query % GROUP
    rows = tl.load(q + at[:, None] * D + d[None, :], mask=real[:, None], other=0.0)
    top = tl.full([M], -float("inf"), tl.float32)
    total = tl.zeros([M], tl.float32)
    out = tl.zeros([M, D], tl.float32)
    tile = tl.load(item + 3)
    last = tl.load(item + 4)
    top, total, out = attend(
        rows, k_pages, v_pages, scales, tiles, head, tile, last, scale, m, top, total, out,
        KV_HEADS, PAGE, N, STAGES, False, NARROW,
    )  # fmt: skip
    place = (tl.load(item + 5) + m) * KV_HEADS + head
    tl.store(lses + place, top + tl.log2(total), mask=real)
    tl.store(partials + place[:, None] * D + d[None, :], out * (1.0 / total)[:, None], mask=real[:, None])


@triton.jit
def partials_kernel(
    q,  # [rows, heads, D]
    k_pages,  # [pages, KV_HEADS, PAGE, D]
    v_pages,
    scales,  # [pages, KV_HEADS, 2, PAGE] float32: of the keys and of the values of narrow tokens
    header,  # number of items
    items,
    tiles,
    partials,  # [places, KV_HEADS, D] float32
    lses,  # [places, KV_HEADS] float32, to the base of 2
    scale,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    PAGE: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
    STAGES: tl.constexpr,
    M_OWN: tl.constexpr,
    STAGES_OWN: tl.constexpr,
    NARROW: tl.constexpr,
):
    """Each program takes every num_programs-th pair of an item and a key head. No item is small if M_OWN is 0, and none
    is narrow without NARROW."""
    works = tl.load(header) * KV_HEADS
    for work in tl.range(tl.program_id(0), works, tl.num_programs(0), num_stages=1):
        item = items + work // KV_HEADS * 8
        head = work % KV_HEADS
        if NARROW and tl.load(item + 7) != 0:
            _attend_item(
                q, k_pages, v_pages, scales, tiles, partials, lses, item, head, scale,
                KV_HEADS, GROUP, D, PAGE, _M_NARROW, N, STAGES_OWN, True,
            )  # fmt: skip
        elif M_OWN == 0 or tl.load(item + 6) == 0:
            _attend_item(
                q, k_pages, v_pages, scales, tiles, partials, lses, item, head, scale,
                KV_HEADS, GROUP, D, PAGE, M, N, STAGES, False,
            )  # fmt: skip
        else:
            _attend_item(
                q, k_pages, v_pages, scales, tiles, partials, lses, item, head, scale,
                KV_HEADS, GROUP, D, PAGE, M_OWN, N, STAGES_OWN, False,
            )  # fmt: skip


@triton.jit
def merge_kernel(
    partials,
    lses,
    starts,
    places,
    out,  # [rows, heads, D]
    lse,  # [rows, heads] float32, natural logarithm
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    D: tl.constexpr,
    LSE: tl.constexpr,
):
    """Program (row, head): put the row's partial results together, in the order of its slots; without one: 0 and -inf.

    A decode row sees at least a prompt and its own token, so that no row's only part would save the second launch.
    """
    row = tl.program_id(0)
    head = tl.program_id(1)
    d = tl.arange(0, D)
    s = tl.arange(0, _MERGED)
    begin = tl.load(starts + row)
    end = tl.load(starts + row + 1)
    top = -float("inf")
    total = 0.0
    merged = tl.zeros([D], tl.float32)
    for at in range(begin, end, _MERGED):
        there = at + s < end
        place = (tl.load(places + at + s, mask=there, other=0) + head % GROUP) * KV_HEADS + head // GROUP
        score = tl.load(lses + place, mask=there, other=-float("inf"))
        part = tl.load(partials + place[:, None] * D + d[None, :], mask=there[:, None], other=0.0)
        higher = tl.maximum(top, tl.max(score, 0))
        weight = tl.exp2(score - higher)
        decay = tl.exp2(top - higher)
        total = total * decay + tl.sum(weight, 0)
        merged = merged * decay + tl.sum(part * weight[:, None], 0)
        top = higher
    seen = begin < end
    index = row * (KV_HEADS * GROUP) + head
    result = tl.where(seen, merged / tl.where(seen, total, 1.0), 0.0)
    tl.store(out + index * D + d, result.to(out.dtype.element_ty))
    if LSE:
        tl.store(lse + index, tl.where(seen, (top + tl.log2(tl.where(seen, total, 1.0))) * _LN_2, -float("inf")))


def partials_constants(shape: AttentionShape, tiles: Tiling) -> dict[str, int]:
    """The compile-time arguments of `partials_kernel`."""
    return {
        "KV_HEADS": shape.kv_heads,
        "GROUP": shape.group,
        "D": shape.head_dim,
        "PAGE": shape.page_size,
        "M": tiles.block,
        "N": tiles.keys,
        "STAGES": tiles.stages,
        "M_OWN": tiles.own,
        "STAGES_OWN": tiles.own_stages,
        "NARROW": shape.narrow,
    }


class DecodeAttention:
    """Attention of the rows of one decode step, layer after layer, over one table of items.

    The launches read what changes from step to step from the table on the device, so that a captured graph of them
    serves every step whose table fits. Work space is shared by all layers: one `run` at a time.
    """

    def __init__(
        self,
        shape: AttentionShape,
        capacity: Capacity,
        device: torch.device,
        *,
        strict: bool = False,
        batch: Batch | None = None,
    ) -> None:
        """`batch`: what copies the table to the device; None: `load` does.

        Raises:
            ValueError: the partial results of `capacity` could not be numbered, or bfloat16 is interpreted.
        """
        refuse_bf16_interpreted(shape.dtype)
        values = capacity.slots * shape.heads * shape.head_dim
        if max(values, capacity.rows * shape.heads * shape.head_dim) >= 2**31:
            raise ValueError(f"{capacity.slots} slots of {shape.heads} heads are more than one launch can number")
        self.shape = shape
        self.capacity = capacity
        self.tiling = tiling(shape, capacity.rows, strict=strict)
        self._table = DeviceTable(capacity, device, batch)
        places = capacity.slots * shape.group
        self._partials = torch.empty(places, shape.kv_heads, shape.head_dim, dtype=torch.float32, device=device)
        self._lses = torch.empty(places, shape.kv_heads, dtype=torch.float32, device=device)
        self._programs = multiprocessors(device) * self.tiling.resident

    def plan(self, runs: Sequence[Run], rows: int) -> Items:
        """The items of a step of `rows` rows; ValueError for runs that lie outside it or tiles outside their pages."""
        return make_items(runs, rows, self.shape, self.tiling.block, self.tiling.own)

    def load(self, items: Items) -> None:
        """Write a step's items for the device; ValueError if they do not fit."""
        self._table.load(items)

    def run(
        self,
        q: Tensor,
        k_pages: Tensor,
        v_pages: Tensor,
        out: Tensor,
        scale: float,
        lse: Tensor | None = None,
        scales: Tensor | None = None,
    ) -> None:
        """Attend over the items loaded last.

        q, out: [rows, heads, head_dim], contiguous, rows up to the capacity; rows that no run holds get 0. k_pages,
        v_pages: pools as of AttentionShape. lse: None, or [rows, heads] float32 for the natural log-sum-exp of the
        scaled scores. scales: [pages, kv_heads, 2, page_size] float32 if the shape is narrow, else None.
        """
        shape, tiles, parts = self.shape, self.tiling, self._table.parts
        check_operands(shape, q, k_pages, v_pages, out, scales)
        if q.shape[0] > self.capacity.rows:
            raise ValueError(f"q has {q.shape[0]} rows, more than the table's {self.capacity.rows}")
        if lse is not None and (lse.shape != q.shape[:2] or lse.dtype != torch.float32 or not lse.is_contiguous()):
            found = f"{tuple(lse.shape)} {lse.dtype}, strides {lse.stride()}"
            raise ValueError(f"lse is {found}: {tuple(q.shape[:2])} torch.float32 wanted, contiguous")
        partials_kernel[(self._programs,)](
            q,
            k_pages,
            v_pages,
            scales,
            parts["header"],
            parts["items"],
            parts["tiles"],
            self._partials,
            self._lses,
            scale * LOG2_E,
            **partials_constants(shape, tiles),
            num_warps=tiles.warps,
            maxnreg=tiles.registers,
        )
        merge_kernel[(q.shape[0], shape.heads)](
            self._partials,
            self._lses,
            parts["starts"],
            parts["places"],
            out,
            lse,
            KV_HEADS=shape.kv_heads,
            GROUP=shape.group,
            D=shape.head_dim,
            LSE=lse is not None,
            num_warps=1,
        )
