"""The activation between the two products of an MLP."""

# Triton knows the types of a kernel's arguments when it is called, and takes options there that its types do not name.
# pyright: reportMissingParameterType=false, reportCallIssue=false

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 1024


@triton.jit
def swiglu_kernel(
    gate_up,  # [rows, 2 * width]
    out,  # [rows, width]
    width,
    BLOCK: tl.constexpr,
):
    """One program: a piece of one row."""
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    line = gate_up + row * 2 * width
    gate = tl.load(line + i, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(line + width + i, mask=inside, other=0.0).to(tl.float32)
    product = gate / (1.0 + tl.exp(-gate)) * up
    tl.store(out + row * width + i, product.to(out.dtype.element_ty), mask=inside)


def swiglu(gate_up: Tensor, out: Tensor) -> None:
    """out = silu(gate) * up (Shazeer 2020), in one launch.

    gate_up: [rows, 2 * width], a row's gates and then its ups. out: [rows, width]. Both contiguous; arithmetic is
    float32, rounded once.

    Raises:
        ValueError: shapes that do not fit together.
    """
    rows, width = out.shape
    if gate_up.shape != (rows, 2 * width):
        raise ValueError(f"gate_up is {tuple(gate_up.shape)}: [{rows}, 2 * {width}] wanted")
    if not rows:
        return
    swiglu_kernel[(rows, triton.cdiv(width, _BLOCK))](gate_up, out, width, BLOCK=_BLOCK, num_warps=4)
