"""From the QKV product to queries and pages: bias, norms of heads, rotation, keys and values to their slots."""

# Triton knows the types of a kernel's arguments when it is called, and takes options there that its types do not name.
# pyright: reportMissingParameterType=false, reportCallIssue=false

import triton
import triton.language as tl
from torch import Tensor

_HEADS_AT_ONCE = 8


@triton.jit
def place_kernel(
    qkv,  # [rows, (heads + 2 * kv_heads) * d], lines `stride` elements apart
    bias,  # [(heads + 2 * kv_heads) * d]
    q_norm,  # [d]
    k_norm,  # [d]
    positions,  # [rows]
    slots,  # [rows]
    cos,  # [context, d]
    sin,  # [context, d], its first half negated
    k_pages,  # [pages, kv_heads, page_size, d]
    v_pages,  # [pages, kv_heads, page_size, d]
    scales,  # [pages, kv_heads, 2, page_size] float32
    q_out,  # [rows, heads, d]
    eps,
    stride,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    D: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    BIAS: tl.constexpr,
    NORM: tl.constexpr,
    NARROW: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """One program: some heads of one row, in float32 from the product to the store."""
    row = tl.program_id(0).to(tl.int64)
    head = (tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS))[:, None]
    i = tl.arange(0, BLOCK_D)[None, :]
    opposite = tl.where(i < D // 2, i + D // 2, i - D // 2)
    inside = (head < HEADS + 2 * KV_HEADS) & (i < D)
    is_q = head < HEADS
    turned = inside & (head < HEADS + KV_HEADS)
    line = qkv + row * stride
    x = tl.load(line + head * D + i, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(line + head * D + opposite, mask=turned, other=0.0).to(tl.float32)
    if BIAS:
        x += tl.load(bias + head * D + i, mask=inside, other=0.0).to(tl.float32)
        y += tl.load(bias + head * D + opposite, mask=turned, other=0.0).to(tl.float32)
    if NORM:
        factor = tl.rsqrt(tl.sum(x * x, axis=1) / D + eps)[:, None]
        weight = tl.load(q_norm + i + head * 0, mask=inside & is_q, other=0.0)
        weight += tl.load(k_norm + i + head * 0, mask=turned & ~is_q, other=0.0)
        across = tl.load(q_norm + opposite + head * 0, mask=inside & is_q, other=0.0)
        across += tl.load(k_norm + opposite + head * 0, mask=turned & ~is_q, other=0.0)
        x = tl.where(turned, x * factor * weight, x)
        y = y * factor * across
    position = tl.load(positions + row).to(tl.int64)
    at = position * D + i
    rotated = x * tl.load(cos + at, mask=i < D, other=0.0) + y * tl.load(sin + at, mask=i < D, other=0.0)
    tl.store(q_out + (row * HEADS + head) * D + i, rotated.to(q_out.dtype.element_ty), mask=inside & is_q)

    slot = tl.load(slots + row).to(tl.int64)
    if NARROW:
        target = -2 - slot
        kept = (head >= HEADS) & (head < HEADS + 2 * KV_HEADS) & (target >= 0)
        is_v = head >= HEADS + KV_HEADS
        kind = tl.where(is_v, 1, 0)
        line = (target // PAGE_SIZE * KV_HEADS + head - HEADS - kind * KV_HEADS) * PAGE_SIZE
        offset = target % PAGE_SIZE
        numbers = tl.where(is_v, x, rotated)
        largest = tl.max(tl.abs(numbers), axis=1)[:, None]
        codes = tl.floor(numbers * (127 / tl.maximum(largest, 1e-30)) + 0.5).to(tl.int8)
        size: tl.constexpr = k_pages.dtype.element_ty.primitive_bitwidth // 8 * D
        k_bytes = k_pages.to(tl.pointer_type(tl.int8), bitcast=True)
        tl.store(k_bytes + (line + offset) * size + kind * D + i, codes, mask=kept & (i < D))
        tl.store(scales + 2 * line + kind * PAGE_SIZE + offset, largest / 127, mask=kept)
    page, offset = slot // PAGE_SIZE, slot % PAGE_SIZE
    kept = inside & (slot >= 0)
    k_head, v_head = head - HEADS, head - HEADS - KV_HEADS
    k_at = ((page * KV_HEADS + k_head) * PAGE_SIZE + offset) * D + i
    v_at = ((page * KV_HEADS + v_head) * PAGE_SIZE + offset) * D + i
    tl.store(k_pages + k_at, rotated.to(k_pages.dtype.element_ty), mask=kept & (k_head >= 0) & (v_head < 0))
    tl.store(v_pages + v_at, x.to(v_pages.dtype.element_ty), mask=kept & (v_head >= 0))


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
    q_out: Tensor,
    eps: float = 1e-6,
    scales: Tensor | None = None,
) -> None:
    """Write the rows' queries to `q_out` and their keys and values to the pages, in one launch.

    qkv: [rows, (heads + 2 * kv_heads) * d], q, k and v side by side, elements of a row adjacent; bias: as wide, or
    None. q_norm, k_norm: weights [d] float32 of an RMSNorm of each head (Qwen3) with `eps`, or both None. positions:
    [rows], integers below the tables' length. slots: [rows], page * page_size + offset; a row of slot -1 (padding) is
    written to no page, and -2 - slot is a token that is stored in 8 bits (kernels.reference_pages says how), for which
    there must be `scales`: [pages, kv_heads, 2, page_size] float32. cos, sin: [context, d] float32, the sine with its
    sign (Decoder.cos, Decoder.sin): the rotation is that of Su et al. 2021, halves as in GPT-NeoX. k_pages, v_pages:
    [pages, kv_heads, page_size, d], contiguous. q_out: [rows, heads, d], contiguous. Arithmetic is float32; each result
    is rounded once.

    Raises:
        ValueError: shapes that do not fit together.
    """
    rows, heads, d = q_out.shape
    _, kv_heads, page_size, _ = k_pages.shape
    if qkv.shape != (rows, (heads + 2 * kv_heads) * d) or qkv.stride(1) != 1:
        raise ValueError(
            f"qkv is {tuple(qkv.shape)}, strides {qkv.stride()}: {rows} lines of {heads} + 2 * {kv_heads} heads of {d} "
            "wanted"
        )
    if (q_norm is None) != (k_norm is None):
        raise ValueError("q_norm and k_norm: give both or neither")
    if k_pages.shape != v_pages.shape or k_pages.shape[3] != d:
        raise ValueError(f"k_pages is {tuple(k_pages.shape)} and v_pages {tuple(v_pages.shape)}: heads of {d} wanted")
    if scales is not None and scales.shape != (k_pages.shape[0], kv_heads, 2, page_size):
        raise ValueError(f"scales is {tuple(scales.shape)}: {(k_pages.shape[0], kv_heads, 2, page_size)} wanted")
    if not rows:
        return
    grid = (rows, triton.cdiv(heads + 2 * kv_heads, _HEADS_AT_ONCE))
    place_kernel[grid](
        qkv,
        qkv if bias is None else bias,
        cos if q_norm is None else q_norm,
        cos if k_norm is None else k_norm,
        positions,
        slots,
        cos,
        sin,
        k_pages,
        v_pages,
        scales,
        q_out,
        eps,
        qkv.stride(0),
        HEADS=heads,
        KV_HEADS=kv_heads,
        D=d,
        PAGE_SIZE=page_size,
        BIAS=bias is not None,
        NORM=q_norm is not None,
        NARROW=scales is not None,
        BLOCK_HEADS=_HEADS_AT_ONCE,
        BLOCK_D=triton.next_power_of_2(d),
        num_warps=4,
    )
