"""Linear layers in bytes: weights with a scale for each column, activations with a scale for each row.

The arithmetic is that of LLM.int8's vector-wise quantisation (Dettmers et al. 2022) without its outlier part: a row x
becomes round(x / s) + 128 in uint8 with s = max |x| / 127, a weight row the same in int8 without the 128, and their
products are summed exactly in int32. A row's result depends on no other row, whatever the batch.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kernels.cpu import matrix_units
from kernels.cpu.launch import Kernel
from kernels.cpu.matrix_units import block_of_16, block_of_32, has_matrix_units
from kernels.cpu.tiles import COLUMNS, products_of_bytes
from kernels.cpu.vector import f32, i32, i64_array, rounded_u8, take, u8

_FEW = 8
"""Rows from which on units for matrices are faster."""


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """A weight [out, in] as panels of 64 columns.

    panels: int8 [panels, in / 4, 64, 4]; columns: int32 [panels, 3, 64], float32 in the last two of three (see tiles).
    """

    panels: Tensor
    columns: Tensor
    out_features: int
    in_features: int

    @property
    def width(self) -> int:
        """Columns of a result: `out_features` rounded up to 64."""
        return self.panels.shape[0] * COLUMNS


def pack(weight: Tensor, bias: Tensor | None) -> Int8Weight:
    """Quantise float32 weights [out, in]. ValueError unless `in` is a multiple of 4."""
    rows, inner = weight.shape
    if inner % 4:
        raise ValueError(f"a weight with {inner} columns cannot be packed; they must be a multiple of 4")
    count = -(-rows // COLUMNS)
    panels = empty((count, inner // 4, COLUMNS, 4), torch.int8)
    columns = empty((count, 3, COLUMNS), torch.int32)
    biases = torch.zeros(count * COLUMNS)
    if bias is not None:
        biases[:rows] = bias
    columns[:, 2] = biases.view(count, COLUMNS).view(torch.int32)
    values = weight.contiguous()
    pack_kernel(count, rows, inner, values.data_ptr(), panels.data_ptr(), columns.data_ptr())
    return Int8Weight(panels, columns, rows, inner)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor that starts at a cache line."""
    # numpy asks the system for large pages where an array is large: weights are read through once a step.
    raw = np.empty(math.prod(shape) * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return torch.from_numpy(raw[start : len(raw) - 64 + start]).view(dtype).view(shape)


def _pack(arguments: Any) -> None:
    a = i64_array(arguments)
    count, rows, inner = a[1], a[2], a[3]
    while True:
        panel = take(arguments)
        if panel >= count:
            return
        out = u8(a[5] + panel * inner * 64, inner * 64)
        starts = i32(a[6] + panel * 768, 64)
        scales = f32(a[6] + panel * 768 + 256, 64)
        for column in range(64):
            row = panel * 64 + column
            scales[column] = np.float32(1.0)
            total = np.int32(0)
            if row < rows:
                values = f32(a[4] + row * inner * 4, inner)
                largest = np.float32(0.0)
                for i in range(inner):
                    largest = max(largest, abs(values[i]))
                if largest > 0:
                    scales[column] = largest / np.float32(127.0)
                inverse = np.float32(1.0) / scales[column]
                for i in range(inner):
                    byte = np.int32(rounded_u8(values[i] * inverse)) - np.int32(128)
                    total += byte
                    out[(i >> 2) * 256 + column * 4 + (i & 3)] = np.uint8(byte & 255)
            else:
                for i in range(inner):
                    out[(i >> 2) * 256 + column * 4 + (i & 3)] = np.uint8(0)
            starts[column] = -128 * total


def _multiply(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, panels, quads, x, w, columns, row_scale, out, threads = a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]
    tiles = (rows + 5) // 6
    out_stride = panels * 256
    panel_bytes = quads * 256
    while True:
        panel = take(arguments)
        if panel >= panels:
            return
        following = w + min(panel + threads, panels - 1) * panel_bytes
        # What comes next is fetched while this is multiplied, over as many tiles as can be, so that neither waits.
        lines = 4 if tiles < 4 else 1
        row = 0
        for number in range(tiles):
            count = (rows + number) // tiles
            fetches = number * lines < 4
            products_of_bytes(
                count,
                lines if fetches else 0,
                quads,
                x + row * quads * 4,
                quads * 4,
                w + panel * panel_bytes,
                columns + panel * 768,
                row_scale + row * 4,
                out + row * out_stride + panel * 256,
                out_stride,
                following + number * quads * 64,
            )
            row += count


def _multiply_matrices(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, panels, quads, x, w, columns, row_scale, out, threads = a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]
    blocks = (rows + 31) // 32
    out_stride = panels * 256
    panel_bytes = quads * 256
    while True:
        panel = take(arguments)
        if panel >= panels:
            return
        following = w + min(panel + threads, panels - 1) * panel_bytes
        fetching = min(blocks, 4)
        lines = 64 // fetching
        x_stride, steps = quads * 4, quads // 16
        mine, around = w + panel * panel_bytes, columns + panel * 768
        row = 0
        for number in range(blocks):
            count = (rows + number) // blocks
            ahead = following + number * lines * 64 * steps
            some = lines if number < fetching else 0
            here, scale = x + row * x_stride, row_scale + row * 4
            there = out + row * out_stride + panel * 256
            if count > 16:
                upper = count // 2
                lower = count - upper
                block_of_32(steps, here, x_stride, mine, around, scale, there, out_stride, ahead, some, upper, lower)
            else:
                block_of_16(steps, here, x_stride, mine, around, scale, there, out_stride, ahead, some, count, 0)
            row += count


pack_kernel = Kernel(_pack)
"""panels, rows, in, weight [rows, in] float32; then what it writes: panels, and the first two of `columns`."""

multiply_kernel = Kernel(_multiply)
"""rows, panels, quads, x [rows, in] uint8, panels and columns of the weight, row_scale [rows] float32, out
[rows, width] float32, threads.
"""

multiply_matrices_kernel = Kernel(_multiply_matrices)
"""As `multiply_kernel`, for at least two rows and `quads` a multiple of 16, on units for matrices."""


def kernels() -> tuple[Kernel, ...]:
    """Those that `kernel_for` chooses from on this processor."""
    return (multiply_kernel, multiply_matrices_kernel) if has_matrix_units() else (multiply_kernel,)


def kernel_for(rows: int, weight: Int8Weight) -> Kernel:
    """The faster one for so many rows; the results are the same, bit for bit."""
    fits = rows >= _FEW and weight.in_features % (4 * matrix_units.QUADS) == 0
    return multiply_matrices_kernel if fits and has_matrix_units() else multiply_kernel


def multiplying(rows: int, x: int, row_scale: int, weight: Int8Weight, out: int) -> tuple[int, ...]:
    """Arguments of `multiply_kernel` for out = x @ weight.T + bias, given addresses: x [rows, in] uint8, row_scale
    [rows] and out [rows, width] float32."""
    return (
        rows,
        weight.panels.shape[0],
        weight.in_features // 4,
        x,
        weight.panels.data_ptr(),
        weight.columns.data_ptr(),
        row_scale,
        out,
        torch.get_num_threads(),
    )


def multiply(rows: int, x: int, row_scale: int, weight: Int8Weight, out: int) -> None:
    """The product of `multiplying`, at once."""
    kernel_for(rows, weight)(*multiplying(rows, x, row_scale, weight, out))
