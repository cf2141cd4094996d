"""One model on several devices: each has some of the heads and of the MLP's width, and the residual stream is whole on
all (Shoeybi et al., "Megatron-LM", 2019: two sums over the devices a layer).

The first device's runner is the scheduler's; the others follow: they compute the steps that it sends them. Device i is
rank i of torch.distributed's default group.
"""

from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Step
from engine.models.decoder import Decoder, Layer
from engine.runner.cuda import CudaRunner
from engine.runner.device_layer import DeviceLinear, linear_of


def part_of(decoder: Decoder, rank: int, parts: int) -> Decoder:
    """What one of `parts` devices computes of a decoder whose linear layers are DeviceLinear.

    Embedding, norms and head are whole on each. The weights are copies: the whole ones can go.

    Raises:
        ValueError: heads or the MLP's width cannot be divided so.
    """
    config = decoder.config
    for name in ("kv_heads", "intermediate"):
        size = getattr(config, name)
        if size % parts:
            raise ValueError(f"{name}: {size} cannot be divided over {parts} devices; take a number that divides it")
    mine = replace(
        config,
        heads=config.heads // parts,
        kv_heads=config.kv_heads // parts,
        intermediate=config.intermediate // parts,
    )
    q, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim

    def layer(whole: Layer) -> Layer:
        return replace(
            whole,
            qkv=_outputs(linear_of(whole.qkv), [q, kv, kv], rank, parts),
            attention_out=_inputs(linear_of(whole.attention_out), rank, parts),
            gate_up=_outputs(linear_of(whole.gate_up), [config.intermediate] * 2, rank, parts),
            down=_inputs(linear_of(whole.down), rank, parts),
        )

    weights = replace(decoder.weights, layers=tuple(layer(whole) for whole in decoder.weights.layers))
    made = Decoder(mine, weights, decoder.dtype)
    made.cos, made.sin = decoder.cos, decoder.sin
    return made


def _outputs(linear: DeviceLinear, sizes: list[int], rank: int, parts: int) -> DeviceLinear:
    """Of each of several products side by side (`sizes` wide) one device's share of the outputs."""

    def share(tensor: Tensor) -> Tensor:
        return torch.cat([piece.chunk(parts)[rank] for piece in tensor.split(sizes)])

    return DeviceLinear(share(linear.weight), None if linear.bias is None else share(linear.bias))


def _inputs(linear: DeviceLinear, rank: int, parts: int) -> DeviceLinear:
    """One device's share of the inputs, so that the products of all add up to the whole one."""
    if linear.bias is not None:
        raise ValueError("a layer whose products are added up has a bias, which would be added by each device")
    return DeviceLinear(linear.weight.chunk(parts, dim=1)[rank].contiguous(), None)


def add_up(part: Tensor) -> None:
    """The sum over all devices, in place."""
    dist.all_reduce(part)


def fewest_pages(pages: int, device: torch.device) -> int:
    """Of all devices' pools the smallest: what the scheduler may count on."""
    found = torch.tensor(pages, device=device)
    dist.all_reduce(found, op=dist.ReduceOp.MIN)
    return int(found)


class LeadingRunner:
    """The first device's runner; see engine.core.types.Runner. Each step is computed by all devices."""

    deterministic = False
    """Whether a row's answers are the same, bit for bit, in any batch."""

    def __init__(self, runner: CudaRunner) -> None:
        self._runner = runner
        self.page_size = runner.page_size
        self.pages = fewest_pages(runner.pages, runner.device)

    def run(self, step: Step) -> list[list[Distribution]]:
        """As CudaRunner.run."""
        # Nobody else draws. Pickling keeps what the layout goes by: which chunks have the same prefix.
        _send(Step([replace(chunk, asks=[]) for chunk in step.chunks]))
        return self._runner.run(step)

    def close(self) -> None:
        """Let the others go."""
        _send(None)


def follow(runner: CudaRunner) -> None:
    """Compute what the first device sends until it closes."""
    fewest_pages(runner.pages, runner.device)
    while True:
        received: list[Step | None] = [None]
        dist.broadcast_object_list(received, src=0)
        if received[0] is None:
            return
        runner.run(received[0])


def _send(step: Step | None) -> None:
    dist.broadcast_object_list([step], src=0)
