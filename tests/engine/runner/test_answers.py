"""Which logits are computed for a step's asks, and that each answer reaches its ask."""

import numpy as np
import torch
from torch import Tensor

from engine.core.types import Ask, Chunk, Filters, Step
from engine.runner.answers import answer

NONE = np.empty(0, np.int32)


def chunk(tokens: int, *asks: tuple[int, float]) -> Chunk:
    made = [Ask(token, Filters(temperature=temperature), np.empty(0)) for token, temperature in asks]
    return Chunk(0, [1] * tokens, 0, NONE, np.arange(tokens, dtype=np.int32), made)


def test_a_token_is_computed_once_and_answered_for_each_ask() -> None:
    given: list[list[int]] = []

    def logits(tokens: Tensor) -> Tensor:
        """Token t of the step is best followed by token t."""
        given.append(tokens.tolist())
        return 3.0 * torch.nn.functional.one_hot(tokens, 12).float()

    step = Step([chunk(5, (4, 1.0), (2, 0.0), (4, 0.0)), chunk(3), chunk(1, (0, 0.0))])
    found = answer(step, [1, 6, 0], logits)
    assert sorted(given[0]) == [0, 3, 5], "the tokens that are asked about, each once"
    assert len(given) == 1
    assert [[int(one.ids[one.greedy]) for one in part] for part in found] == [[5, 3, 5], [], [0]]
    assert [[len(one.ids) for one in part] for part in found] == [[12, 1, 1], [], [1]]


def test_nothing_is_computed_for_a_step_that_asks_nothing() -> None:
    def logits(tokens: Tensor) -> Tensor:
        raise AssertionError(tokens)

    assert answer(Step([chunk(3), chunk(1)]), [0, 3], logits) == [[], []]
