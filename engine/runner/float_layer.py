"""A linear layer whose rows do not depend on each other, callable as the plain ones are."""

import torch
from torch import Tensor

from kernels.cpu.float_linear import FloatWeight, multiply_kernel, multiplying, pack


class FloatLinear:
    """A linear layer in bfloat16 or float32; see kernels.cpu.float_linear."""

    __slots__ = ("weight",)

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight: FloatWeight = pack(weight, bias)

    def __call__(self, rows: Tensor) -> Tensor:
        """[T, in] -> [T, out], both in the weight's type."""
        rows = rows.contiguous()
        out = torch.empty(len(rows), self.weight.width)
        multiply_kernel(*multiplying(len(rows), rows.data_ptr(), self.weight, out.data_ptr()))
        return out[:, : self.weight.out_features].to(rows.dtype)
