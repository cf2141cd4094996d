"""Executes steps on a CPU: one forward pass over prefill chunks and decode rows together."""

import numpy as np
import torch

from engine.core.distribution import Distribution
from engine.core.types import Step
from engine.models.decoder import Decoder
from engine.runner.answers import answer
from engine.runner.attention_cpu import StepAttention
from kernels.cpu.sampling import sample_kernel


class CpuRunner:
    """Owns the KV pool: for each layer one tensor [slots, 2, kv_heads, head_dim] in the decoder's type.

    A step is a pure function of the pool and the chunks: the runner keeps nothing else between steps. In the last bits,
    what a row gives depends on the batch: torch chooses its kernels by the number of rows.
    """

    deterministic = False
    """Whether a row's answers are the same, bit for bit, in any batch."""

    def __init__(self, decoder: Decoder, *, kv_bytes: int, page_size: int = 16) -> None:
        """`kv_bytes`: memory of the pool.

        Raises:
            ValueError: not even one page fits.
        """
        config = decoder.config
        per_token = config.layers * 2 * config.kv_heads * config.head_dim * decoder.dtype.itemsize
        self.page_size = page_size
        self.pages = kv_bytes // (per_token * page_size)
        if self.pages < 1:
            raise ValueError(f"kv_bytes: {kv_bytes} holds no page of {page_size} tokens; give {per_token * page_size}")
        self._decoder = decoder
        # numpy takes zeros from the system, which maps them when they are first written: the pool costs what is used of
        # it. torch.zeros would write them all.
        shape = (self.pages * page_size, 2, config.kv_heads, config.head_dim * decoder.dtype.itemsize)
        self._pool = [torch.from_numpy(np.zeros(shape, np.uint8)).view(decoder.dtype) for _ in range(config.layers)]
        # Now, and not in the first step, whose time would mislead the scheduler.
        self.compiled = int(sample_kernel.compile())
        """Kernels that no earlier start had compiled and kept."""

    @torch.inference_mode()
    def run(self, step: Step) -> list[list[Distribution]]:
        """Compute the step's tokens; for each chunk the distributions it asks for, in the order of its asks."""
        layout = StepAttention(step, self._decoder.dtype)
        hidden = self._decoder.hidden(
            layout.tokens,
            layout.positions,
            lambda layer, q, k, v: layout.attend(self._pool[layer], q, k, v),
        )
        return answer(step, layout.first, lambda tokens: self._decoder.logits(hidden[tokens]))
