"""What stands between matrix products in bfloat16 or float32, row by row: norms and activations.

A row's result is made of sums in one order, whatever the batch. The residual stream is float32.
"""

from typing import Any

import numpy as np

from kernels.cpu.lanes import squares, swiglu
from kernels.cpu.launch import Kernel, jit
from kernels.cpu.vector import bits_f32, exp, f32, i64_array, take, to_bf16, u16


@jit
def _write(values: Any, width: int, out: int, size: int) -> None:
    """`values` [width] to `out` in float32 (`size` 4) or bfloat16 (2)."""
    if size == 4:
        wide = f32(out, width)
        for i in range(width):
            wide[i] = values[i]
    else:
        narrow = u16(out, width)
        for i in range(width):
            narrow[i] = to_bf16(values[i])


def _norm(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, width, epsilon, size = a[1], a[2], bits_f32(a[7]), a[9]
    weight = f32(a[5], width)
    while True:
        row = take(arguments)
        if row >= rows:
            return
        line, vectors = a[3] + row * width * 4, width // 16
        stream = f32(line, width)
        if a[4]:
            added = f32(a[4] + row * a[8], width)
            for i in range(width):
                stream[i] += added[i]
        total = np.float32(0.0)
        if vectors:
            total = squares(line, vectors)
        for i in range(vectors * 16, width):
            total += stream[i] * stream[i]
        factor = np.float32(1.0) / np.sqrt(total / np.float32(width) + epsilon)
        out = a[6] + row * width * size
        if size == 4:
            wide = f32(out, width)
            for i in range(width):
                wide[i] = stream[i] * factor * weight[i]
        else:
            narrow = u16(out, width)
            for i in range(width):
                narrow[i] = to_bf16(stream[i] * factor * weight[i])


def _activate(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, width, stride, size = a[1], a[2], a[5], a[6]
    while True:
        row = take(arguments)
        if row >= rows:
            return
        gate, up = a[3] + row * stride, a[3] + row * stride + width * 4
        if width >= 16:
            swiglu(gate, up, width // 16)
        gates, ups = f32(gate, width), f32(up, width)
        for i in range(width // 16 * 16, width):
            gates[i] *= ups[i] / (np.float32(1.0) + exp(-gates[i]))
        _write(gates, width, a[4] + row * width * size, size)


def _copy(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, width, size = a[1], a[2], a[5]
    while True:
        row = take(arguments)
        if row >= rows:
            return
        _write(f32(a[3] + row * width * 4, width), width, a[4] + row * width * size, size)


norm_kernel = Kernel(_norm)
"""Add to the stream, then RMSNorm.

rows, width, stream [rows, width] float32, added (0 or [rows, width] float32, lines `added_stride` bytes apart), weight
[width] float32, out [rows, width], bits of epsilon, added_stride, bytes of a number of out: 2 for bfloat16, 4 for
float32.
"""

activate_kernel = Kernel(_activate)
"""SwiGLU: rows, width, gate and up [rows, 2 * width] float32 (the gate is overwritten; lines `stride` bytes apart), out
[rows, width], stride, bytes of a number of out.
"""

copy_kernel = Kernel(_copy)
"""Rows in another type: rows, width, values [rows, width] float32, out [rows, width], bytes of a number of out."""
