"""Answers to what a step asks for on a CPU."""

from collections.abc import Callable

import torch
from torch import Tensor

from engine.core.distribution import Distribution
from engine.core.types import Step
from engine.runner.asks import collect, hand_out
from engine.runner.sampler import distributions


def answer(step: Step, first: list[int], logits: Callable[[Tensor], Tensor]) -> list[list[Distribution]]:
    """For each chunk the distributions it asks for, in the order of its asks.

    `first`: the number of each chunk's first token among the tokens of the step. `logits` gives [n, vocab] float32 of
    n int64 token numbers; a token is given to it once, however often it is asked about.

    Raises:
        ValueError: as `distributions`.
    """
    asked = collect(step, first)
    if not asked.asks:
        return hand_out(step, [])
    return hand_out(step, distributions(logits(torch.tensor(asked.tokens)), asked.places, asked.asks))
