"""What the matrix products of a step allow: their time alone, by whoever does them fastest."""

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.decode import Served
from engine.models import load
from engine.models.decoder import Linear
from engine.runner.float_layer import FloatLinear
from engine.runner.int8_layer import Int8Linear
from kernels.cpu import int8_linear

Products = Callable[[], None]


def ceilings(served: Served, rows: int, head_rows: int, rounds: int = 5) -> dict[str, float]:
    """Milliseconds of all matrix products of a step of `rows` rows, `head_rows` of which go through the LM head.

    Medians of `rounds`. "onednn" where the layers are torch's; else "ours", and "onednn" for weights of the same
    shapes.
    """
    if served.arithmetic != "int8":
        linears = _timed(_linears(served, rows, head_rows), rounds)
        if not isinstance(served.decoder.weights.head, FloatLinear):
            return {"onednn": linears}
        return {"ours": linears, "onednn": _timed(_onednn_floats(served, rows, head_rows), rounds)}
    return {
        "ours": _timed(_ours(served, rows, head_rows), rounds),
        "onednn": _timed(_onednn(served, rows, head_rows), rounds),
    }


def _timed(products: Products, rounds: int) -> float:
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(rounds + 1):
            began = time.perf_counter()
            products()
            times.append(time.perf_counter() - began)
    return round(1000 * float(np.median(times[1:])), 2)


def _layers(served: Served) -> list[tuple[Linear, int]]:
    """The linear layers and their widths of input, without the LM head."""
    config = served.decoder.config
    inner = config.heads * config.head_dim
    return [
        pair
        for layer in served.decoder.weights.layers
        for pair in (
            (layer.qkv, config.hidden),
            (layer.attention_out, inner),
            (layer.gate_up, config.hidden),
            (layer.down, config.intermediate),
        )
    ]


def _linears(served: Served, rows: int, head_rows: int) -> Products:
    layers, weights = _layers(served), served.decoder.weights
    inputs = {width: torch.randn(rows, width).to(served.decoder.dtype) for width in {width for _, width in layers}}
    last = torch.randn(head_rows, served.decoder.config.hidden).to(served.decoder.dtype)

    def products() -> None:
        for linear, width in layers:
            linear(inputs[width])
        weights.head(last)

    return products


def _ours(served: Served, rows: int, head_rows: int) -> Products:
    config = served.decoder.config
    layers = [*((linear, width, rows) for linear, width in _layers(served))]
    layers.append((served.decoder.weights.head, config.hidden, head_rows))
    most = max(rows * (2 * config.intermediate + 64), head_rows * (config.vocab + 64))
    taken = torch.zeros(rows * max(width for _, width, _ in layers), dtype=torch.uint8)
    scales, out = torch.ones(rows), torch.empty(most)

    def products() -> None:
        for linear, _, count in layers:
            assert isinstance(linear, Int8Linear)
            int8_linear.multiply(count, taken.data_ptr(), scales.data_ptr(), linear.weight, out.data_ptr())

    return products


def _onednn_floats(served: Served, rows: int, head_rows: int) -> Products:
    dtype = served.decoder.dtype
    kind = load._Plain if dtype is torch.float32 else load._Packed  # pyright: ignore[reportPrivateUsage]
    layers: list[tuple[torch.Tensor, Linear]] = []
    head = (served.decoder.weights.head, served.decoder.config.hidden)
    for place, (linear, width) in enumerate([head, *_layers(served)]):
        assert isinstance(linear, FloatLinear)
        made = kind(torch.randn(linear.weight.out_features, width, dtype=dtype), None)
        layers.append((torch.randn(rows if place else head_rows, width).to(dtype), made))

    def products() -> None:
        for taken, linear in layers:
            linear(taken)

    return products


def _onednn(served: Served, rows: int, head_rows: int) -> Products:
    onednn = torch.ops.onednn
    head = (served.decoder.weights.head, served.decoder.config.hidden)
    layers: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for place, (linear, width) in enumerate([head, *_layers(served)]):
        assert isinstance(linear, Int8Linear)
        out = linear.weight.out_features
        weight = onednn.qlinear_prepack(torch.randint(-127, 128, (out, width), dtype=torch.int8), None)
        taken = torch.randint(0, 256, (rows if place else head_rows, width), dtype=torch.uint8)
        layers.append((taken, weight, torch.ones(out), torch.zeros(out, dtype=torch.int64)))

    def products() -> None:
        for taken, weight, scales, zeros in layers:
            onednn.qlinear_pointwise(
                taken, 1.0, 128, weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
            )

    return products
