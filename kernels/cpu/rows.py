"""What happens to the rows of a step between its matrix products: norms, activation, quantisation."""

from typing import Any

import numpy as np

from kernels.cpu.lanes import largest, largest_product, products_to_bytes, squares, swiglu, to_bytes
from kernels.cpu.launch import Kernel, jit
from kernels.cpu.vector import bits_f32, exp, f32, i64_array, rounded_u8, take, u8


@jit
def _quantise(values: int, count: int, most: Any, out: int) -> Any:
    """float32 values at an address as bytes; their scale. `most` is the largest |value|."""
    if most == 0:
        most = np.float32(1.0)
    inverse = np.float32(127.0) / most
    vectors = count // 16
    if vectors:
        to_bytes(values, vectors, inverse, out)
    source, narrow = f32(values, count), u8(out, count)
    for i in range(vectors * 16, count):
        narrow[i] = rounded_u8(source[i] * inverse)
    return most / np.float32(127.0)


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
        line, vectors = a[3] + row * width * 4, width // 16
        total = most = np.float32(0.0)
        if vectors:
            total, most = squares(line, vectors), largest_product(line, a[5], vectors)
        for i in range(vectors * 16, width):
            total += stream[i] * stream[i]
            most = max(most, abs(stream[i] * weight[i]))
        factor = np.float32(1.0) / np.sqrt(total / np.float32(width) + epsilon)
        inverse = np.float32(127.0) / most if most > 0 else np.float32(0.0)
        if vectors:
            products_to_bytes(line, a[5], vectors, inverse, a[6] + row * width)
        out = u8(a[6] + row * width, width)
        for i in range(vectors * 16, width):
            out[i] = rounded_u8(stream[i] * weight[i] * inverse)
        scales[row] = most * factor / np.float32(127.0)


def _activate(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, width = a[1], a[2]
    scales = f32(a[5], rows)
    while True:
        row = take(arguments)
        if row >= rows:
            return
        gate, up = a[3] + row * a[6], a[3] + row * a[6] + width * 4
        most = np.float32(0.0)
        if width >= 16:
            most = swiglu(gate, up, width // 16)
        gates, ups = f32(gate, width), f32(up, width)
        for i in range(width // 16 * 16, width):
            gates[i] *= ups[i] / (np.float32(1.0) + exp(-gates[i]))
            most = max(most, abs(gates[i]))
        scales[row] = _quantise(gate, width, most, a[4] + row * width)


def _bytes(arguments: Any) -> None:
    a = i64_array(arguments)
    rows, width = a[1], a[2]
    scales = f32(a[5], rows)
    while True:
        row = take(arguments)
        if row >= rows:
            return
        line = a[3] + row * width * 4
        most = np.float32(0.0)
        if width >= 16:
            most = largest(line, width // 16)
        values = f32(line, width)
        for i in range(width // 16 * 16, width):
            most = max(most, abs(values[i]))
        scales[row] = _quantise(line, width, most, a[4] + row * width)


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
