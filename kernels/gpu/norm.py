"""The residual stream between two matrix products: add what the last one gave, and norm for the next."""

# Triton knows the types of a kernel's arguments when it is called, and takes options there that its types do not name.
# pyright: reportMissingParameterType=false, reportCallIssue=false

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def add_norm_kernel(
    stream,  # [rows, width] float32
    addend,  # [rows, width]
    weight,  # [width] float32
    out,  # [rows, width]
    width,
    eps,
    ADD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One program: one row, held in registers between the sum and the product."""
    row = tl.program_id(0).to(tl.int64) * width
    i = tl.arange(0, BLOCK)
    inside = i < width
    x = tl.load(stream + row + i, mask=inside, other=0.0)
    if ADD:
        x += tl.load(addend + row + i, mask=inside, other=0.0).to(tl.float32)
        tl.store(stream + row + i, x, mask=inside)
    factor = tl.rsqrt(tl.sum(x * x, axis=0) / width + eps)
    normed = x * factor * tl.load(weight + i, mask=inside, other=0.0)
    tl.store(out + row + i, normed.to(out.dtype.element_ty), mask=inside)


def add_norm(stream: Tensor, addend: Tensor | None, weight: Tensor, eps: float, out: Tensor) -> None:
    """stream += addend, in place; out = RMSNorm(stream) * weight (Zhang, Sennrich 2019), in one launch.

    stream: [rows, width] float32. addend: [rows, width] in any float type, or None where there is nothing to add.
    weight: [width] float32. out: [rows, width] in the model's type, rounded once. All contiguous.

    Raises:
        ValueError: shapes that do not fit together.
    """
    rows, width = stream.shape
    if out.shape != stream.shape or weight.shape != (width,) or (addend is not None and addend.shape != stream.shape):
        raise ValueError(
            f"stream is {tuple(stream.shape)}: out is {tuple(out.shape)}, weight {tuple(weight.shape)}, addend "
            f"{None if addend is None else tuple(addend.shape)}"
        )
    if not rows:
        return
    block = triton.next_power_of_2(width)
    add_norm_kernel[(rows,)](
        stream,
        stream if addend is None else addend,
        weight,
        out,
        width,
        eps,
        ADD=addend is not None,
        BLOCK=block,
        # Eight numbers a thread, as far as a program can have so many threads.
        num_warps=min(16, max(1, block // 256)),
    )
