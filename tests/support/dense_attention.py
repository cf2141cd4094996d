"""The simplest attention there is: one sequence, all its keys and values in one buffer."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.decoder import Decoder

Stored = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""What is read later of a layer's keys and values [tokens, kv_heads, d]."""


class DenseSequence:
    """Continues one sequence with a decoder; `attend` is what Decoder.hidden takes.

    `stored`: None to read keys and values as they were made.
    """

    def __init__(self, decoder: Decoder, capacity: int, stored: Stored | None = None) -> None:
        shape = (decoder.config.layers, capacity, decoder.config.kv_heads, decoder.config.head_dim)
        self.decoder = decoder
        self.keys = torch.zeros(shape, dtype=decoder.dtype)
        self.values = torch.zeros(shape, dtype=decoder.dtype)
        self.length = 0
        self._stored = stored

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store k and v at the end, attend causally to all."""
        start, end = self.length, self.length + len(q)
        if self._stored is not None:
            k, v = self._stored(layer, k, v)
        self.keys[layer, start:end] = k
        self.values[layer, start:end] = v
        mask = torch.ones(len(q), end, dtype=torch.bool).tril(start)
        out = F.scaled_dot_product_attention(
            q.transpose(0, 1)[None],
            self.keys[layer, :end].transpose(0, 1)[None],
            self.values[layer, :end].transpose(0, 1)[None],
            attn_mask=mask,
            enable_gqa=True,
        )
        return out[0].transpose(0, 1).flatten(1)

    def extend(self, tokens: list[int]) -> Tensor:
        """Append tokens; logits after each, [T, vocab]."""
        positions = torch.arange(self.length, self.length + len(tokens))
        with torch.inference_mode():
            hidden = self.decoder.hidden(torch.tensor(tokens), positions, self.attend)
            self.length += len(tokens)
            return self.decoder.logits(hidden)


def greedy(decoder: Decoder, prompts: list[list[int]], count: int) -> list[list[int]]:
    """The `count` best next tokens of each prompt, all in one batch; an end of text does not stop it."""
    sequences = [DenseSequence(decoder, len(prompt) + count) for prompt in prompts]
    found = [[int(s.extend(prompt)[-1].argmax())] for s, prompt in zip(sequences, prompts, strict=True)]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows = [s.attend(layer, q[n : n + 1], k[n : n + 1], v[n : n + 1]) for n, s in enumerate(sequences)]
        return torch.cat(rows)

    for _ in range(count - 1):
        positions = torch.tensor([s.length for s in sequences])
        with torch.inference_mode():
            logits = decoder.logits(decoder.hidden(torch.tensor([t[-1] for t in found]), positions, attend))
        for sequence, tokens, best in zip(sequences, found, logits.argmax(dim=1).tolist(), strict=True):
            sequence.length += 1
            tokens.append(best)
    return found
