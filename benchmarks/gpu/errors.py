"""How far a kernel's numbers are from the reference's, and whether that is too far."""

from typing import Any

import torch
from torch import Tensor


def rounded(name: str, found: Tensor, expected: Tensor) -> dict[str, Any]:
    """`found` is `expected` (float64) rounded once to its type, with float32's own errors before.

    Raises:
        AssertionError: somewhere it is not, or it is no number.
    """
    eps = max(torch.finfo(found.dtype).eps, 16 * torch.finfo(torch.float32).eps)
    difference = (found.double() - expected).abs()
    # A cancellation leaves the error of the larger numbers of its row.
    allowed = eps * (expected.abs() + 0.05 * expected.abs().amax(dim=-1, keepdim=True)) + 1e-6
    if not (difference <= allowed).all():
        worst = float((difference / allowed).nan_to_num(torch.inf).max())
        raise AssertionError(f"{name}: {worst:.3g} times as far from float64 as a rounding explains")
    return {f"{name}_error": float(difference.max()) if difference.numel() else 0.0}


def relative(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected; NaN if it is not all numbers."""
    return float((found.double() - expected).norm() / expected.norm())


def require(condition: bool, message: str) -> None:
    """Raises AssertionError with the message; unlike `assert`, under -O too."""
    if not condition:
        raise AssertionError(message)
