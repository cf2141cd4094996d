"""Linear layers in bfloat16 or float32 whose sums have one order: a row's result is the same in any batch, bit for bit.

Each output is one chain of fused additions over the inputs in their order, in float32 (bfloat16 in pairs, as the
processor's dot product takes them), however many rows are at it and whichever thread does it. Libraries choose between
kernels by the number of rows, and with them the order.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels.cpu.launch import Kernel
from kernels.cpu.tiles import COLUMNS, add_products_of_floats, add_products_of_pairs
from kernels.cpu.vector import f32, i64_array, take


@dataclass(frozen=True, slots=True)
class FloatWeight:
    """A weight [out, in] as panels of 64 columns.

    panels: bfloat16 [panels, in / 2, 64, 2] or float32 [panels, in, 64]; bias: float32 [panels * 64].
    """

    panels: Tensor
    bias: Tensor
    out_features: int
    in_features: int

    @property
    def width(self) -> int:
        """Columns of a result: `out_features` rounded up to 64."""
        return self.panels.shape[0] * COLUMNS

    @property
    def size(self) -> int:
        """Bytes of a number."""
        return self.panels.dtype.itemsize


def pack(weight: Tensor, bias: Tensor | None) -> FloatWeight:
    """Weights [out, in] in bfloat16 or float32. ValueError if bfloat16 has an odd `in`."""
    rows, inner = weight.shape
    per_step = 4 // weight.dtype.itemsize
    if inner % per_step:
        raise ValueError(f"a bfloat16 weight with {inner} columns cannot be packed; they must be even")
    count = -(-rows // COLUMNS)
    panels = torch.zeros(count, inner // per_step, COLUMNS, per_step, dtype=weight.dtype)
    whole = rows // COLUMNS
    panels[:whole] = weight[: whole * COLUMNS].view(whole, COLUMNS, -1, per_step).transpose(1, 2)
    if whole < count:
        panels[whole, :, : rows - whole * COLUMNS] = (
            weight[whole * COLUMNS :].view(rows - whole * COLUMNS, -1, per_step).transpose(0, 1)
        )
    biases = torch.zeros(count * COLUMNS)
    if bias is not None:
        biases[:rows] = bias
    if panels.data_ptr() % 64:
        raise AssertionError("torch no longer aligns its memory to 64 bytes")
    return FloatWeight(panels, biases, rows, inner)


def _multiply(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, panels, steps, wide = a[1], a[2], a[3], a[8] == 4
    tiles = (rows + 5) // 6
    x_stride, out_stride = steps * 4, panels * 256
    while True:
        panel = take(arguments)
        if panel >= panels:
            return
        bias = f32(a[6] + panel * 256, 64)
        for row in range(rows):
            out = f32(a[7] + row * out_stride + panel * 256, 64)
            for i in range(64):
                out[i] = bias[i]
        # 256 KB of the weight at a time, which the rows after the first find in the cache.
        for at in range(0, steps, 1024):
            count = min(steps - at, 1024)
            w = a[5] + (panel * steps + at) * 256
            row = 0
            for number in range(tiles):
                some = (rows + number) // tiles
                x, place = a[4] + row * x_stride + at * 4, a[7] + row * out_stride + panel * 256
                if wide:
                    add_products_of_floats(some, count, x, x_stride, w, place, out_stride)
                else:
                    add_products_of_pairs(some, count, x, x_stride, w, place, out_stride)
                row += some


multiply_kernel = Kernel(_multiply)
"""rows, panels, steps, x [rows, in] in the weight's type, panels and bias of the weight, out [rows, width] float32,
bytes of a number of x and the weight.
"""


def multiplying(rows: int, x: int, weight: FloatWeight, out: int) -> tuple[int, ...]:
    """Arguments of `multiply_kernel` for out = x @ weight.T + bias, given addresses: x [rows, in] in the weight's type,
    out [rows, width] float32."""
    panels, steps = weight.panels.shape[:2]
    return (rows, panels, steps, x, weight.panels.data_ptr(), weight.bias.data_ptr(), out, weight.size)
