"""What happens to the rows of a step between its matrix products: norms, activation, quantisation."""

from typing import Any

import numpy as np

from kernels.cpu.launch import Kernel, jit
from kernels.cpu.vector import bits_f32, exp, f32, i64_array, rounded_u8, take, u8


@jit
def _quantise(values: Any, count: int, factor: Any, largest: Any, out: Any) -> Any:
    """values * factor as bytes; the scale. `largest` is the largest |value|."""
    if largest == 0:
        largest = np.float32(1.0)
    inverse = np.float32(127.0) / largest
    for i in range(count):
        out[i] = rounded_u8(values[i] * inverse)
    return largest * factor / np.float32(127.0)


def _norm(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, width, epsilon = a[1], a[2], bits_f32(a[8])
    weight = f32(a[5], width)
    scales = f32(a[7], rows)
    while True:
        row = take(arguments)
        if row >= rows:
            return
        stream = f32(a[3] + row * width * 4, width)
        if a[4]:
            added = f32(a[4] + row * a[9], width)
            for i in range(width):
                stream[i] += added[i]
        squares = np.float32(0.0)
        largest = np.float32(0.0)
        for i in range(width):
            value = stream[i]
            squares += value * value
            largest = max(largest, abs(value * weight[i]))
        factor = np.float32(1.0) / np.sqrt(squares / np.float32(width) + epsilon)
        inverse = np.float32(127.0) / largest if largest > 0 else np.float32(0.0)
        out = u8(a[6] + row * width, width)
        for i in range(width):
            out[i] = rounded_u8(stream[i] * weight[i] * inverse)
        scales[row] = largest * factor / np.float32(127.0)


def _activate(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, width = a[1], a[2]
    scales = f32(a[5], rows)
    while True:
        row = take(arguments)
        if row >= rows:
            return
        both = f32(a[3] + row * a[6], 2 * width)
        largest = np.float32(0.0)
        for i in range(width):
            gate = both[i]
            value = gate / (np.float32(1.0) + exp(-gate)) * both[width + i]
            both[i] = value
            largest = max(largest, abs(value))
        scales[row] = _quantise(both, width, np.float32(1.0), largest, u8(a[4] + row * width, width))


def _bytes(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, width = a[1], a[2]
    scales = f32(a[5], rows)
    while True:
        row = take(arguments)
        if row >= rows:
            return
        values = f32(a[3] + row * width * 4, width)
        largest = np.float32(0.0)
        for i in range(width):
            largest = max(largest, abs(values[i]))
        scales[row] = _quantise(values, width, np.float32(1.0), largest, u8(a[4] + row * width, width))


norm_kernel = Kernel(_norm)
"""Add to the stream, then RMSNorm to bytes.

rows, width, stream [rows, width] float32, added (0 or [rows, width] float32, lines `added_stride` bytes apart), weight
[width] float32, out [rows, width] uint8, scales [rows] float32, bits of epsilon, added_stride.
"""

activate_kernel = Kernel(_activate)
"""SwiGLU to bytes.

rows, width, gate and up [rows, 2 * width] float32 (the gate is overwritten; lines `stride` bytes apart), out
[rows, width] uint8, scales [rows] float32, stride.
"""

bytes_kernel = Kernel(_bytes)
"""Rows to bytes: rows, width, values [rows, width] float32, out [rows, width] uint8, scales [rows] float32."""
