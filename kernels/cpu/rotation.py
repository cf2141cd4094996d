"""Heads of a step into place: norms of heads, rotation, queries aside, keys and values into the pool.

The pool of a layer holds tiles of 16 slots, [tiles, 2, kv_heads, 16 * d]. In bfloat16, of a tile's keys the pairs of
neighbouring dimensions lie together, [d / 2, 16 slots, 2], of its values the pairs of neighbouring slots, [8, d, 2]; in
float32 keys lie as [d, 16 slots], values as [16 slots, d]. So they are multiplied as they lie there. All numbers in a
pool are finite: what is written is bounded.
"""

from typing import Any

import numpy as np

from kernels.cpu.launch import Kernel, jit
from kernels.cpu.vector import bits_f32, f32, i64, i64_array, take, to_bf16, u16

_LARGEST = np.float32(3.38e38)


@jit
def _turned(head: Any, dim: int, norm: int, epsilon: Any, cos: Any, sin: Any, factor: Any, scratch: Any) -> None:
    """`head` [d] after its norm and rotation, times `factor`, in `scratch`."""
    scale = np.float32(1.0)
    if norm:
        weight = f32(norm, dim)
        squares = np.float32(0.0)
        for i in range(dim):
            squares += head[i] * head[i]
        scale = np.float32(1.0) / np.sqrt(squares / np.float32(dim) + epsilon)
        for i in range(dim):
            head[i] = head[i] * scale * weight[i]
    half = dim // 2
    for i in range(half):
        scratch[i] = (head[i] * cos[i] + head[half + i] * sin[i]) * factor
        scratch[half + i] = (head[half + i] * cos[half + i] + head[i] * sin[half + i]) * factor


@jit
def _bounded(value: Any) -> Any:
    return min(max(value, -_LARGEST), _LARGEST)


def _place(arguments: Any) -> None:
    a = i64_array(arguments)
    tokens, heads, kv_heads, dim, stride, epsilon = a[1], a[2], a[3], a[4], a[5], bits_f32(a[14])
    positions, slots = i64(a[7], tokens), i64(a[8], tokens)
    wide = a[17] == 4
    one = np.float32(1.0)
    factor = one / np.sqrt(np.float32(dim))
    while True:
        token = take(arguments)
        if token >= tokens:
            return
        line = a[6] + token * stride
        cos = f32(a[9] + positions[token] * dim * 4, dim)
        sin = f32(a[10] + positions[token] * dim * 4, dim)
        for head in range(heads):
            values = f32(line + head * dim * 4, dim)
            turned = f32(a[15] + (token * heads + head) * dim * 4, dim)
            _turned(values, dim, a[12], epsilon, cos, sin, factor, turned)
            if wide:
                queries = f32(a[11] + (token * heads + head) * dim * 4, dim)
                for i in range(dim):
                    queries[i] = turned[i]
            else:
                out = u16(a[11] + (token * heads + head) * dim * 2, dim)
                for i in range(dim):
                    out[i] = to_bf16(turned[i])
        tile, within = slots[token] >> 4, slots[token] & 15
        for head in range(kv_heads):
            values = f32(line + (heads + head) * dim * 4, dim)
            turned = f32(a[15] + token * heads * dim * 4, dim)
            _turned(values, dim, a[13], epsilon, cos, sin, one, turned)
            from_heads = f32(line + (heads + kv_heads + head) * dim * 4, dim)
            if wide:
                place = a[16] + (tile * 2 * kv_heads + head) * dim * 64
                wide_keys, wide_kept = f32(place, 16 * dim), f32(place + kv_heads * dim * 64, 16 * dim)
                for i in range(dim):
                    wide_keys[i * 16 + within] = _bounded(turned[i])
                    wide_kept[within * dim + i] = _bounded(from_heads[i])
                continue
            keys = u16(a[16] + ((tile * 2) * kv_heads + head) * dim * 32, 16 * dim)
            for i in range(dim // 2):
                keys[i * 32 + within * 2] = to_bf16(_bounded(turned[2 * i]))
                keys[i * 32 + within * 2 + 1] = to_bf16(_bounded(turned[2 * i + 1]))
            kept = u16(a[16] + ((tile * 2 + 1) * kv_heads + head) * dim * 32, 16 * dim)
            first = (within >> 1) * dim * 2 + (within & 1)
            for i in range(dim):
                kept[first + 2 * i] = to_bf16(_bounded(from_heads[i]))


place_kernel = Kernel(_place)
"""tokens, heads, kv_heads, head_dim, stride; qkv [tokens, (heads + 2 * kv_heads) * d] float32 (lines `stride` bytes
apart, overwritten by norms of heads), positions and slots [tokens] int64, cos and sin [positions, d] float32, queries
[tokens, heads, d] (times d ** -0.5), q_norm and k_norm ([d] float32 or 0), bits of epsilon, scratch [tokens,
heads, d] float32, the pool's layer, bytes of a number of queries, keys and values: 2 for bfloat16, 4 for float32.
"""
