"""The decoder of Qwen2, Qwen3 and Llama in plain torch. It computes; keys, values and attention belong to the caller.

All are one network (RMSNorm, rotary positions, grouped-query attention, SwiGLU). Qwen2 adds biases to q, k and v, Qwen3
norms each head of q and k before the rotation, Llama 3 slows some rotations down for long texts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.decoder_config import DecoderConfig

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q [T, heads, head_dim], k [T, kv_heads, head_dim], v [T, kv_heads, head_dim]) -> [T, heads * head_dim].

q and k are after the rotation. The three are views of one buffer of the current layer: copy what is to be kept.
"""

Linear = Callable[[Tensor], Tensor]
"""[T, in] -> [T, out] in the decoder's arithmetic."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights of one layer. `qkv` gives q, k and v side by side, `gate_up` the gate and then the up projection;
    `q_norm` and `k_norm` are [head_dim] each, or both None."""

    attention_norm: Tensor
    qkv: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None
    attention_out: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of a whole decoder. Norm weights are float32; `embedding` is [vocab, hidden] in the arithmetic."""

    embedding: Tensor
    layers: tuple[Layer, ...]
    norm: Tensor
    head: Linear


class Decoder:
    """Tokens to hidden states to logits.

    Matrix products run in `dtype`; the residual stream, norms and rotations in float32, so that bfloat16 loses as
    little as it can.
    """

    def __init__(self, config: DecoderConfig, weights: Weights, dtype: torch.dtype) -> None:
        self.config = config
        self.dtype = dtype
        """Type of q, k, v and of what `attend` returns."""
        self.weights = weights
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
        frequencies = 1.0 / config.rope_theta**exponents
        if config.rope_factors is not None:
            frequencies /= torch.tensor(config.rope_factors)
        angles = torch.outer(torch.arange(config.context_length).float(), frequencies)
        cos, sin = angles.cos(), angles.sin()
        self.cos, self.sin = torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)
        """Rotations, [context_length, head_dim] each, with their sign in the sine."""

    @torch.inference_mode()
    def hidden(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Hidden states after the last norm, [T, hidden] in `dtype`.

        `tokens` and `positions` are int64 [T]; rows are independent but for what `attend` makes of them. Every position
        must be below the context length (IndexError).
        """
        config, weights = self.config, self.weights
        rows, eps = len(tokens), config.norm_eps
        q_end = config.heads * config.head_dim
        k_end = q_end + config.kv_heads * config.head_dim
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)
        stream = F.embedding(tokens, weights.embedding).float()
        for index, layer in enumerate(weights.layers):
            qkv = layer.qkv(self._normed(stream, layer.attention_norm, eps))
            if layer.q_norm is not None and layer.k_norm is not None:
                _norm_heads(qkv[:, :q_end].view(rows, -1, config.head_dim), layer.q_norm, eps)
                _norm_heads(qkv[:, q_end:k_end].view(rows, -1, config.head_dim), layer.k_norm, eps)
            _rotate(qkv[:, :k_end].view(rows, -1, config.head_dim), cos, sin)
            q = qkv[:, :q_end].view(rows, config.heads, config.head_dim)
            k = qkv[:, q_end:k_end].view(rows, config.kv_heads, config.head_dim)
            v = qkv[:, k_end:].view(rows, config.kv_heads, config.head_dim)
            stream += layer.attention_out(attend(index, q, k, v))
            gate, up = layer.gate_up(self._normed(stream, layer.mlp_norm, eps)).chunk(2, dim=1)
            stream += layer.down(F.silu(gate) * up)
        return self._normed(stream, weights.norm, eps)

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [R, vocab] in float32 of hidden states [R, hidden]. In bfloat16 they carry eight bits of precision."""
        return self.weights.head(hidden).float()

    def _normed(self, stream: Tensor, weight: Tensor, eps: float) -> Tensor:
        return F.rms_norm(stream, (stream.shape[1],), weight, eps).to(self.dtype)


def _norm_heads(heads: Tensor, weight: Tensor, eps: float) -> None:
    """RMSNorm of each head in place; [T, H, d]."""
    heads.copy_(F.rms_norm(heads.float(), (heads.shape[2],), weight, eps))


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Rotary position embedding (Su et al. 2021, halves as in GPT-NeoX) in place; [T, H, d] with [T, 1, d]."""
    values = heads.float()
    heads.copy_((values * cos).addcmul_(values.roll(heads.shape[2] // 2, dims=2), sin))
