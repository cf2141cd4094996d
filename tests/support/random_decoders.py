"""Decoders of random weights, as each runner wants them."""

from collections.abc import Callable
from dataclasses import replace

import torch

from engine.models.decoder import Decoder, DecoderConfig, Layer, Linear, Weights
from engine.runner.device_layer import ToDevice, on_device
from engine.runner.float_layer import FloatLinear
from engine.runner.int8_layer import Int8Linear
from engine.runner.smoothing import Open, opened
from kernels.cpu.int8_linear import pack

DTYPES = {"int8": torch.float32, "bfloat16": torch.bfloat16, "float32": torch.float32}


def config(*, qk_norm: bool = False, head_dim: int = 64) -> DecoderConfig:
    return DecoderConfig(
        architecture="qwen2",
        layers=2,
        heads=6,
        kv_heads=2,
        head_dim=head_dim,
        hidden=96,
        intermediate=140,
        vocab=500,
        rope_theta=1e4,
        norm_eps=1e-6,
        context_length=256,
        qkv_bias=True,
        qk_norm=qk_norm,
        tied_embeddings=False,
    )


def random_decoder(shape: DecoderConfig) -> Decoder:
    torch.manual_seed(5)
    inner, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

    def linear(out: int, width: int, *, bias: bool = False) -> Open:
        return Open(torch.randn(out, width) * width**-0.5, torch.randn(out) * 0.3 if bias else None)

    def norm() -> torch.Tensor:
        return torch.rand(shape.hidden) + 0.5

    layers = tuple(
        Layer(
            attention_norm=norm(),
            qkv=linear(inner + 2 * kv, shape.hidden, bias=True),
            q_norm=torch.rand(shape.head_dim) + 0.5 if shape.qk_norm else None,
            k_norm=torch.rand(shape.head_dim) + 0.5 if shape.qk_norm else None,
            attention_out=linear(shape.hidden, inner),
            mlp_norm=norm(),
            gate_up=linear(2 * shape.intermediate, shape.hidden),
            down=linear(shape.hidden, shape.intermediate),
        )
        for _ in range(shape.layers)
    )
    embedding = torch.randn(shape.vocab, shape.hidden)
    weights = Weights(embedding=embedding, layers=layers, norm=norm(), head=linear(shape.vocab, shape.hidden))
    return Decoder(shape, weights, torch.float32)


def with_linears(decoder: Decoder, made: Callable[[Linear], Linear]) -> Weights:
    """The decoder's weights with other linear layers."""
    layers = tuple(
        replace(
            layer,
            qkv=made(layer.qkv),
            attention_out=made(layer.attention_out),
            gate_up=made(layer.gate_up),
            down=made(layer.down),
        )
        for layer in decoder.weights.layers
    )
    return replace(decoder.weights, layers=layers, head=made(decoder.weights.head))


def packed_as(arithmetic: str, decoder: Decoder) -> Decoder:
    """For the compiled runner."""
    dtype = DTYPES[arithmetic]

    def packed(linear: Linear) -> Int8Linear | FloatLinear:
        weight, bias = opened(linear).weight, opened(linear).bias
        if arithmetic == "int8":
            return Int8Linear(pack(weight, bias))
        return FloatLinear(weight.to(dtype), None if bias is None else bias.to(dtype))

    weights = with_linears(decoder, packed)
    embedding = weights.embedding if arithmetic == "float32" else weights.embedding.bfloat16()
    return Decoder(decoder.config, replace(weights, embedding=embedding), dtype)


def for_device(decoder: Decoder, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Decoder:
    """For the runner of a GPU, or of what stands for one."""
    to = ToDevice(torch.device(device))

    def moved(linear: Linear) -> Linear:
        weight, bias = opened(linear).weight, opened(linear).bias
        return to(weight.to(dtype), None if bias is None else bias.to(dtype))

    weights = with_linears(decoder, moved)
    weights = replace(weights, embedding=weights.embedding.to(dtype))
    return on_device(Decoder(decoder.config, weights, dtype), torch.device(device))
