"""Makes a decoder's activations easy to quantise without changing what it computes.

A few channels of a language model's activations are far larger than the rest, and a scale for a whole row loses the
rest. They are the same channels for every text, so a short one shows them; each is divided by a factor where it is made
and multiplied by it in the weights that take it in (Xiao et al., "SmoothQuant", 2023, with strength 0.5). Nothing is
left to do while running: norms' weights, the rows of `up` and of `v` take the division.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.models.decoder import Decoder, DecoderConfig, Layer, Weights

_LEAST = 1e-5


class Open:
    """A linear layer in float32 that keeps its weight within reach and notes the largest input of each channel."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = bias
        self.largest = torch.zeros(weight.shape[1])

    def __call__(self, rows: Tensor) -> Tensor:
        """[T, in] -> [T, out]."""
        self.largest = torch.maximum(self.largest, rows.abs().amax(dim=0))
        return F.linear(rows, self.weight, self.bias)


def smooth(decoder: Decoder, tokens: list[int]) -> Weights:
    """The decoder's weights with the factors that `tokens` lead to; its linear layers must be `Open`, and change."""
    hidden = decoder.hidden(torch.tensor(tokens), torch.arange(len(tokens)), lambda _, q, k, v: _attend(q, k, v))
    weights, head = decoder.weights, opened(decoder.weights.head)
    head.largest = hidden.abs().amax(dim=0)
    return replace(
        weights,
        layers=tuple(_smoothed(layer, decoder.config) for layer in weights.layers),
        norm=weights.norm / _absorb(head),
    )


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1).flatten(1)


def _smoothed(layer: Layer, config: DecoderConfig) -> Layer:
    qkv, out, gate_up, down = (opened(part) for part in (layer.qkv, layer.attention_out, layer.gate_up, layer.down))
    attention_norm = layer.attention_norm / _absorb(qkv)
    mlp_norm = layer.mlp_norm / _absorb(gate_up)
    gate_up.weight[config.intermediate :] /= _absorb(down)[:, None]
    # Query heads of one group share a value head, and so its factors.
    group = config.heads // config.kv_heads
    shape = (config.kv_heads, group, config.head_dim)
    largest = out.largest.view(shape).amax(dim=1, keepdim=True).expand(shape).reshape(-1)
    strength = out.weight.abs().amax(dim=0).view(shape).amax(dim=1, keepdim=True).expand(shape).reshape(-1)
    factor = _factor(largest, strength)
    out.weight *= factor
    per_value = factor.view(shape)[:, 0].reshape(-1)
    qkv.weight[-len(per_value) :] /= per_value[:, None]
    if qkv.bias is not None:
        qkv.bias[-len(per_value) :] /= per_value
    return replace(layer, attention_norm=attention_norm, mlp_norm=mlp_norm)


def _absorb(linear: Open) -> Tensor:
    """Multiply a layer's weight by the factors of its channels; returns them."""
    factor = _factor(linear.largest, linear.weight.abs().amax(dim=0))
    linear.weight *= factor
    return factor


def _factor(largest: Tensor, strength: Tensor) -> Tensor:
    return (largest.clamp(min=_LEAST) / strength.clamp(min=_LEAST)).sqrt()


def opened(linear: object) -> Open:
    """The layer as what it is. ValueError if it is not `Open`."""
    if not isinstance(linear, Open):
        raise ValueError("smoothing needs the weights of every linear layer")
    return linear
