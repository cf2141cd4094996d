"""A decoder's weights on the device that computes with them."""

from dataclasses import replace

import torch
from torch import Tensor

from engine.models.decoder import Decoder, Layer, Linear, Weights


class DeviceLinear:
    """A linear layer whose bias, if it has one, is left to whoever goes on with the product: it is added there in
    float32."""

    __slots__ = ("bias", "weight")

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight = weight
        self.bias = bias

    @property
    def out_features(self) -> int:
        """Width of the product."""
        return self.weight.shape[0]

    def __call__(self, rows: Tensor) -> Tensor:
        """[T, in] -> [T, out] without the bias."""
        return torch.mm(rows, self.weight.t())


class ToDevice:
    """Makes the linear layers of a decoder that is being loaded; see engine.models.load."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def __call__(self, weight: Tensor, bias: Tensor | None) -> DeviceLinear:
        """Copies of both."""
        return DeviceLinear(weight.to(self._device), None if bias is None else bias.to(self._device))


def linear_of(linear: Linear) -> DeviceLinear:
    """A layer as this device's; ValueError if it is another kind."""
    if not isinstance(linear, DeviceLinear):
        raise ValueError("a linear layer of the decoder is not on a device: load it with ToDevice")
    return linear


def on_device(decoder: Decoder, device: torch.device) -> Decoder:
    """A decoder whose linear layers `ToDevice` made, with all else there as well; a tied embedding is the head's."""
    weights, tied = decoder.weights, decoder.config.tied_embeddings
    embedding = linear_of(weights.head).weight if tied else weights.embedding.to(device)
    layers = tuple(_moved(layer, device) for layer in weights.layers)
    moved = Decoder(decoder.config, Weights(embedding, layers, weights.norm.to(device), weights.head), decoder.dtype)
    moved.cos, moved.sin = moved.cos.to(device), moved.sin.to(device)
    return moved


def _moved(layer: Layer, device: torch.device) -> Layer:
    return replace(
        layer,
        attention_norm=layer.attention_norm.to(device),
        q_norm=None if layer.q_norm is None else layer.q_norm.to(device),
        k_norm=None if layer.k_norm is None else layer.k_norm.to(device),
        mlp_norm=layer.mlp_norm.to(device),
    )
