"""Rotations for texts longer than a model was first trained on: by what each frequency is divided."""

import math


def linear_factors(head_dim: int, factor: float) -> tuple[float, ...]:
    """Position interpolation (Chen et al. 2023): every frequency alike."""
    return (factor,) * (head_dim // 2)


def llama3_factors(
    head_dim: int, theta: float, *, factor: float, low: float, high: float, original: int
) -> tuple[float, ...]:
    """Llama 3.1's scaling ("The Llama 3 Herd of Models", 2024, and Meta's reference code).

    A wave that fits into the first training's context of `original` tokens at least `high` times stays, one that fits
    less than `low` times is slowed down by `factor`, and between the two the frequency is a mixture of both.
    """
    factors: list[float] = []
    for index in range(head_dim // 2):
        waves = original / (2 * math.pi * theta ** (2 * index / head_dim))
        kept = min(max((waves - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - kept) / factor + kept))
    return tuple(factors)
