"""Copies of pages, for texts that take over the beginning of a page that others go on writing."""

# Triton knows the types of a kernel's arguments when it is called, and takes options there that its types do not name.
# pyright: reportMissingParameterType=false, reportCallIssue=false

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 2048


@triton.jit
def copy_pages_kernel(
    pools,  # [n, pages, kv_heads, page_size, d]
    moves,  # [m, 4]: from page, to page, begin, end
    pool_stride,
    page_stride,
    ELEMENTS: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    D: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program: a piece of one page of one pool."""
    move = moves + tl.program_id(0) * 4
    source, target = tl.load(move).to(tl.int64), tl.load(move + 1).to(tl.int64)
    begin, end = tl.load(move + 2), tl.load(move + 3)
    pool = pools + tl.program_id(1).to(tl.int64) * pool_stride
    i = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    slot = i // D % PAGE_SIZE
    moved = (i < ELEMENTS) & (slot >= begin) & (slot < end)
    values = tl.load(pool + source * page_stride + i, mask=moved)
    tl.store(pool + target * page_stride + i, values, mask=moved)


def copy_pages(pools: Tensor, moves: Tensor) -> None:
    """Copy slots of pages, the same in every pool, in one launch.

    pools: [n, pages, kv_heads, page_size, d]: keys and values of all layers, each page contiguous. moves: [m, 4] int32:
    from page, to page, begin, end; slots begin..end - 1 are copied. No page that is copied to may occur in another move
    of the same call: moves happen in no order.

    Raises:
        ValueError: pages that are not contiguous, or moves that are no [m, 4].
    """
    count, _, kv_heads, page_size, d = pools.shape
    if pools.stride()[2:] != (page_size * d, d, 1):
        raise ValueError(f"pools has strides {pools.stride()}: each page must be contiguous")
    if moves.ndim != 2 or moves.shape[1] != 4:
        raise ValueError(f"moves is {tuple(moves.shape)}: [m, 4] wanted")
    if not len(moves):
        return
    elements = kv_heads * page_size * d
    copy_pages_kernel[(len(moves), count, triton.cdiv(elements, _BLOCK))](
        pools,
        moves,
        pools.stride(0),
        pools.stride(1),
        ELEMENTS=elements,
        PAGE_SIZE=page_size,
        D=d,
        BLOCK=_BLOCK,
        num_warps=4,
    )
