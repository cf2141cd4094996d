"""Executes steps on a CPU in bytes: one pass of compiled kernels over prefill chunks and decode rows together."""

import struct
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Step
from engine.models.decoder import Decoder, Linear
from engine.runner.int8_layer import Int8Linear
from engine.runner.layout_cpu import StepLayout, lay_out
from engine.runner.sampler import distributions
from kernels.cpu import attention, int8_linear, rotation, rows, sampling
from kernels.cpu.int8_linear import Int8Weight, multiplying
from kernels.cpu.launch import Kernel
from kernels.cpu.program import Program

_TILE = 16  # slots


@dataclass(frozen=True, slots=True)
class _Layer:
    """Weights of a layer, norms as addresses (0: none)."""

    attention_norm: int
    qkv: Int8Weight
    q_norm: int
    k_norm: int
    attention_out: Int8Weight
    mlp_norm: int
    gate_up: Int8Weight
    down: Int8Weight


def runs_in_bytes(decoder: Decoder) -> bool:
    """Whether this runner can run a decoder: one in int8 whose heads are as long as the kernels want them."""
    config = decoder.config
    return (
        isinstance(decoder.weights.head, Int8Linear)
        and config.head_dim % 64 == 0
        and max(config.hidden, config.intermediate) <= 1 << 16
    )


class Int8Runner:
    """Owns the KV pool: for each layer bfloat16 in the tiles of kernels.cpu.rotation, reached by slot.

    A step is a pure function of the pool and the chunks: the runner keeps nothing else between steps. Integer sums are
    exact, and a token's attention goes through its keys in their own order: what a row gives depends on its own path
    and where that lies in the pool, not on the rest of the batch.
    """

    def __init__(self, decoder: Decoder, *, kv_bytes: int, page_size: int = 16) -> None:
        """`kv_bytes`: memory of the pool.

        Raises:
            ValueError: not even one page fits, or `runs_in_bytes` says no.
        """
        if not runs_in_bytes(decoder):
            raise ValueError("this decoder is not in int8, or its heads are not of 64 or 128 dimensions")
        config = decoder.config
        per_token = config.layers * 2 * config.kv_heads * config.head_dim * 2
        self.page_size = page_size
        self.pages = kv_bytes // (per_token * page_size)
        if self.pages < 1:
            raise ValueError(f"kv_bytes: {kv_bytes} holds no page of {page_size} tokens; give {per_token * page_size}")
        self._config = config
        self._decoder = decoder
        self._layers = [
            _Layer(
                layer.attention_norm.data_ptr(),
                _bytes_of(layer.qkv),
                0 if layer.q_norm is None else layer.q_norm.data_ptr(),
                0 if layer.k_norm is None else layer.k_norm.data_ptr(),
                _bytes_of(layer.attention_out),
                layer.mlp_norm.data_ptr(),
                _bytes_of(layer.gate_up),
                _bytes_of(layer.down),
            )
            for layer in decoder.weights.layers
        ]
        self._head = _bytes_of(decoder.weights.head)
        self._epsilon = struct.unpack("<i", struct.pack("<f", config.norm_eps))[0]
        group = config.heads // config.kv_heads
        self._block = max(1, attention.QUERIES // group)
        self._scratch_bytes = attention.scratch_bytes(self._block * group, config.head_dim)
        # numpy takes zeros from the system, which maps them when they are first written: the pool costs what is used of
        # it. torch.zeros would write them all. Keys and values are multiplied a cache line at a time.
        tiles = -(-self.pages * page_size // _TILE)
        shape = (tiles, 2, config.kv_heads, _TILE * config.head_dim)
        self._pool = [_zeros(shape) for _ in range(config.layers)]
        self._room = (0, 0)
        self._shape = (0, 0)
        self._program: Program | None = None
        self._buffers: dict[str, Tensor] = {}
        self._logits = torch.empty(0)
        for kernel in (
            rows.norm_kernel,
            rows.activate_kernel,
            rows.bytes_kernel,
            rotation.place_kernel,
            attention.attend_kernel,
            int8_linear.multiply_kernel,
            sampling.sample_kernel,
        ):
            kernel.compile()

    @torch.inference_mode()
    def run(self, step: Step) -> list[Distribution | None]:
        """Compute the step's tokens; one entry per chunk, a distribution where the chunk asks for one."""
        layout = lay_out(step, self._block)
        self._hidden(layout)
        results: list[Distribution | None] = [None] * len(step.chunks)
        asking = [place for place, index in enumerate(layout.order) if step.chunks[index].filters is not None]
        if not asking:
            return results
        chunks = [step.chunks[layout.order[place]] for place in asking]
        found = distributions(
            self._head_of(layout.last[asking]),
            [chunk.filters for chunk in chunks if chunk.filters is not None],
            [np.empty(0) if chunk.numbers is None else chunk.numbers for chunk in chunks],
        )
        for place, distribution in zip(asking, found, strict=True):
            results[layout.order[place]] = distribution
        return results

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

    def _calls(self, count: int, blocks: int) -> list[tuple[Kernel, tuple[int, ...]]]:
        """A step of so many tokens in so many blocks."""
        config, decoder = self._config, self._decoder
        hidden, heads, kv_heads, dim = config.hidden, config.heads, config.kv_heads, config.head_dim
        at = {name: buffer.data_ptr() for name, buffer in self._buffers.items()}
        stream, projected, narrow, scales, wide = (
            at[name] for name in ("stream", "projected", "narrow", "scales", "wide")
        )
        queries, attended = at["queries"], at["attended"]
        layout = (at["blocks"], at["own"], at["slots"])
        turns = (at["positions"], at["writes"], decoder.cos.data_ptr(), decoder.sin.data_ptr(), queries)
        epsilon = self._epsilon
        calls: list[tuple[Kernel, tuple[int, ...]]] = []
        added = 0
        for layer, keys in zip(self._layers, self._pool, strict=True):
            pool, stride, sizes = keys.data_ptr(), layer.down.width * 4, (heads, kv_heads, dim)
            norms = (layer.q_norm, layer.k_norm)
            calls += [
                (
                    rows.norm_kernel,
                    (count, hidden, stream, added, layer.attention_norm, narrow, scales, epsilon, stride),
                ),
                (int8_linear.multiply_kernel, multiplying(count, narrow, scales, layer.qkv, wide)),
                (
                    rotation.place_kernel,
                    (count, *sizes, layer.qkv.width * 4, wide, *turns, *norms, epsilon, attended, pool),
                ),
                (
                    attention.attend_kernel,
                    (blocks, *sizes, count, *layout, queries, attended, pool, at["scratch"], self._scratch_bytes),
                ),
                (rows.bytes_kernel, (count, heads * dim, attended, narrow, scales)),
                (int8_linear.multiply_kernel, multiplying(count, narrow, scales, layer.attention_out, projected)),
                (
                    rows.norm_kernel,
                    (count, hidden, stream, projected, layer.mlp_norm, narrow, scales, epsilon, stride),
                ),
                (int8_linear.multiply_kernel, multiplying(count, narrow, scales, layer.gate_up, wide)),
                (rows.activate_kernel, (count, config.intermediate, wide, narrow, scales, layer.gate_up.width * 4)),
                (int8_linear.multiply_kernel, multiplying(count, narrow, scales, layer.down, projected)),
            ]
            added = projected
        return calls

    def _head_of(self, places: Tensor) -> Tensor:
        """Logits [len(places), vocab] float32 of the tokens at `places`."""
        count, hidden = len(places), self._config.hidden
        stream = self._buffers["stream"][places]
        stream += self._buffers["projected"][places, :hidden]
        at = {name: buffer.data_ptr() for name, buffer in self._buffers.items()}
        norm = self._decoder.weights.norm.data_ptr()
        rows.norm_kernel(count, hidden, stream.data_ptr(), 0, norm, at["narrow"], at["scales"], self._epsilon, 0)
        if len(self._logits) < count:
            self._logits = torch.empty(count, self._head.width)
        int8_linear.multiply(count, at["narrow"], at["scales"], self._head, self._logits.data_ptr())
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
        self._buffers = {
            "positions": torch.empty(room, dtype=torch.int64),
            "writes": torch.empty(room, dtype=torch.int64),
            "slots": torch.empty(seen, dtype=torch.int32),
            "blocks": torch.empty(room, 5, dtype=torch.int64),
            "own": torch.empty(room, 2, dtype=torch.int64),
            "embedded": torch.empty(room, config.hidden, dtype=torch.bfloat16),
            "stream": torch.empty(room, config.hidden),
            "projected": torch.empty(room, layer.down.width),
            "narrow": torch.empty(room * max(config.hidden, config.intermediate, inner), dtype=torch.uint8),
            "scales": torch.empty(room),
            "wide": torch.empty(room * max(layer.gate_up.width, layer.qkv.width)),
            "queries": torch.empty(room * inner, dtype=torch.int16),
            "attended": torch.empty(room * inner),
            "scratch": torch.empty(self._scratch_bytes * torch.get_num_threads(), dtype=torch.uint8),
        }


def _bytes_of(linear: Linear) -> Int8Weight:
    if not isinstance(linear, Int8Linear):
        raise ValueError("a linear layer of the decoder is not in int8")
    return linear.weight


def _zeros(shape: tuple[int, ...]) -> Tensor:
    """Zeros of two bytes each, mapped when written, from the start of a cache line on."""
    count = int(np.prod(shape))
    raw = np.zeros(2 * count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return torch.from_numpy(raw[start : start + 2 * count]).view(torch.int16).view(shape)
