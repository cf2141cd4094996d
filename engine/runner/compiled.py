"""Executes steps on a CPU: one pass of compiled kernels over prefill chunks and decode rows together.

What a row gives depends on its own path alone, bit for bit, in any of the three arithmetics."""

import struct
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Step
from engine.models.decoder import Decoder, Linear
from engine.runner.answers import answer
from engine.runner.layout_cpu import StepLayout, lay_out
from engine.runner.operands import KERNELS, Call, Operands, Weight, weight_of
from kernels.cpu import attention, rotation, sampling
from kernels.cpu.launch import Kernel
from kernels.cpu.program import Program

_TILE = 16  # slots


@dataclass(frozen=True, slots=True)
class _Layer:
    """Weights of a layer, norms as addresses (0: none)."""

    attention_norm: int
    qkv: Weight
    q_norm: int
    k_norm: int
    attention_out: Weight
    mlp_norm: int
    gate_up: Weight
    down: Weight


def is_packed(decoder: Decoder) -> bool:
    """Whether this runner can run a decoder: one with packed weights whose heads are as long as the kernels want."""
    config = decoder.config
    return (
        weight_of(decoder.weights.head) is not None
        and config.head_dim % 64 == 0
        and max(config.hidden, config.intermediate) <= 1 << 16
    )


class CompiledRunner:
    """Owns the KV pool: for each layer the tiles of kernels.cpu.rotation, reached by slot; in float32 for a decoder in
    float32, else in bfloat16.

    A step is a pure function of the pool and the chunks: the runner keeps nothing else between steps. Every sum has one
    order, and a token's attention goes through its keys in their own order: what a row gives depends on its own path,
    not on where that lies in the pool nor on the rest of the batch.
    """

    deterministic = True
    """Whether a row's answers are the same, bit for bit, in any batch."""

    def __init__(self, decoder: Decoder, *, kv_bytes: int, page_size: int = 16) -> None:
        """`kv_bytes`: memory of the pool.

        Raises:
            ValueError: not even one page fits, or `is_packed` says no.
        """
        if not is_packed(decoder):
            raise ValueError("this decoder is not packed, or its heads are not of 64 or 128 dimensions")
        config = decoder.config
        self._head = _packed(decoder.weights.head)
        self._size = self._head.panels.dtype.itemsize
        self._key_size = max(self._size, 2)
        per_token = config.layers * 2 * config.kv_heads * config.head_dim * self._key_size
        self.page_size = page_size
        self.pages = kv_bytes // (per_token * page_size)
        if self.pages < 1:
            raise ValueError(f"kv_bytes: {kv_bytes} holds no page of {page_size} tokens; give {per_token * page_size}")
        self._config = config
        self._decoder = decoder
        self._layers = [
            _Layer(
                layer.attention_norm.data_ptr(),
                _packed(layer.qkv),
                0 if layer.q_norm is None else layer.q_norm.data_ptr(),
                0 if layer.k_norm is None else layer.k_norm.data_ptr(),
                _packed(layer.attention_out),
                layer.mlp_norm.data_ptr(),
                _packed(layer.gate_up),
                _packed(layer.down),
            )
            for layer in decoder.weights.layers
        ]
        self._epsilon = struct.unpack("<i", struct.pack("<f", config.norm_eps))[0]
        group = config.heads // config.kv_heads
        self._block = max(1, attention.QUERIES // group)
        self._scratch_bytes = attention.scratch_bytes(self._block * group, config.head_dim, self._key_size)
        # numpy takes zeros from the system, which maps them when they are first written: the pool costs what is used of
        # it. torch.zeros would write them all. Keys and values are multiplied a cache line at a time.
        tiles = -(-self.pages * page_size // _TILE)
        per_layer = tiles * 2 * config.kv_heads * _TILE * config.head_dim * self._key_size
        self._pool = [_zeros(per_layer) for _ in range(config.layers)]
        self._room = (0, 0)
        self._shape = (0, 0)
        self._program: Program | None = None
        self._buffers: dict[str, Tensor] = {}
        self._logits = torch.empty(0)
        kernels = (
            *KERNELS[self._size],
            rotation.place_kernel,
            attention.attend_kernel,
            sampling.sample_kernel,
        )
        self.compiled = sum([kernel.compile() for kernel in kernels])
        """Kernels that no earlier start had compiled and kept."""

    @torch.inference_mode()
    def run(self, step: Step) -> list[list[Distribution]]:
        """Compute the step's tokens; for each chunk the distributions it asks for, in the order of its asks."""
        layout = lay_out(step, self._block)
        self._hidden(layout)
        return answer(step, layout.first, self._head_of)

    def shares(self) -> dict[Kernel, float]:
        """Each kernel's part in the time that the last step spent in the layers."""
        return {} if self._program is None else self._program.shares()

    def _hidden(self, layout: StepLayout) -> None:
        """All layers; afterwards `stream` plus `projected` is the residual stream."""
        count = len(layout.tokens)
        self._make_room(count, len(layout.slots))
        buffers = self._buffers
        torch.index_select(self._decoder.weights.embedding, 0, layout.tokens, out=buffers["embedded"][:count])
        buffers["stream"][:count].copy_(buffers["embedded"][:count])
        for name in ("positions", "writes", "slots", "blocks", "own"):
            given: Tensor = getattr(layout, name)
            buffers[name][: len(given)].copy_(given)
        shape = (count, len(layout.blocks))
        if self._program is None or shape != self._shape:
            self._program, self._shape = Program(self._calls(*shape)), shape
        self._program.run()

    def _operands(self) -> Operands:
        buffers = self._buffers
        return Operands(self._size, buffers["narrow"].data_ptr(), buffers["scales"].data_ptr(), self._epsilon)

    def _calls(self, count: int, blocks: int) -> list[Call]:
        """A step of so many tokens in so many blocks."""
        config, decoder, operands, size = self._config, self._decoder, self._operands(), self._key_size
        hidden, heads, kv_heads, dim = config.hidden, config.heads, config.kv_heads, config.head_dim
        at = {name: buffer.data_ptr() for name, buffer in self._buffers.items()}
        stream, projected, wide = (at[name] for name in ("stream", "projected", "wide"))
        queries, attended = at["queries"], at["attended"]
        layout = (at["blocks"], at["own"], at["slots"])
        turns = (at["positions"], at["writes"], decoder.cos.data_ptr(), decoder.sin.data_ptr(), queries)
        room = (at["scratch"], self._scratch_bytes, size)
        calls: list[Call] = []
        added = 0
        for layer, keys in zip(self._layers, self._pool, strict=True):
            pool, stride, sizes = keys.data_ptr(), layer.down.width * 4, (heads, kv_heads, dim)
            norms = (layer.q_norm, layer.k_norm, self._epsilon)
            calls += [
                operands.norm(count, hidden, stream, added, layer.attention_norm, stride),
                operands.product(count, layer.qkv, wide),
                (
                    rotation.place_kernel,
                    (count, *sizes, layer.qkv.width * 4, wide, *turns, *norms, attended, pool, size),
                ),
                (attention.attend_kernel, (blocks, *sizes, count, *layout, queries, attended, pool, *room)),
                operands.copy(count, heads * dim, attended),
                operands.product(count, layer.attention_out, projected),
                operands.norm(count, hidden, stream, projected, layer.mlp_norm, stride),
                operands.product(count, layer.gate_up, wide),
                operands.activation(count, config.intermediate, wide, layer.gate_up.width * 4),
                operands.product(count, layer.down, projected),
            ]
            added = projected
        return calls

    def _head_of(self, places: Tensor) -> Tensor:
        """Logits [len(places), vocab] float32 of the tokens at `places`."""
        count, hidden = len(places), self._config.hidden
        stream = self._buffers["stream"][places]
        stream += self._buffers["projected"][places, :hidden]
        operands = self._operands()
        kernel, given = operands.norm(count, hidden, stream.data_ptr(), 0, self._decoder.weights.norm.data_ptr(), 0)
        kernel(*given)
        if len(self._logits) < count:
            self._logits = torch.empty(count, self._head.width)
        kernel, given = operands.product(count, self._head, self._logits.data_ptr())
        kernel(*given)
        return self._logits[:count, : self._config.vocab]

    def _make_room(self, tokens: int, slots: int) -> None:
        """Buffers for so many tokens that see so many slots; they only grow."""
        if tokens <= self._room[0] and slots <= self._room[1]:
            return
        # The program knows their addresses.
        self._program = None
        room, seen = max(-(-tokens // 64) * 64, self._room[0]), max(2 * slots, self._room[1])
        self._room = (room, seen)
        config, layer = self._config, self._layers[0]
        inner = config.heads * config.head_dim
        widest = max(config.hidden, config.intermediate, inner)
        self._buffers = {
            "positions": torch.empty(room, dtype=torch.int64),
            "writes": torch.empty(room, dtype=torch.int64),
            "slots": torch.empty(seen, dtype=torch.int32),
            "blocks": torch.empty(room, 5, dtype=torch.int64),
            "own": torch.empty(room, 2, dtype=torch.int64),
            "embedded": torch.empty(room, config.hidden, dtype=self._decoder.weights.embedding.dtype),
            "stream": torch.empty(room, config.hidden),
            "projected": torch.empty(room, layer.down.width),
            "narrow": torch.empty(room * widest * self._size, dtype=torch.uint8),
            "scales": torch.empty(room),
            "wide": torch.empty(room * max(layer.gate_up.width, layer.qkv.width)),
            "queries": torch.empty(room * inner * self._key_size, dtype=torch.uint8),
            "attended": torch.empty(room * inner),
            "scratch": torch.empty(self._scratch_bytes * torch.get_num_threads(), dtype=torch.uint8),
        }


def _packed(linear: Linear) -> Weight:
    weight = weight_of(linear)
    if weight is None:
        raise ValueError("a linear layer of the decoder is not packed")
    return weight


def _zeros(size: int) -> Tensor:
    """So many bytes, mapped when written, from the start of a cache line on."""
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return torch.from_numpy(raw[start : start + size])
