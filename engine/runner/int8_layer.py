"""A linear layer in bytes, callable as the plain ones are."""

import torch
from torch import Tensor

from kernels.cpu.int8_linear import Int8Weight, multiply
from kernels.cpu.rows import bytes_kernel


class Int8Linear:
    """A linear layer in bytes; see kernels.cpu.int8_linear."""

    __slots__ = ("weight",)

    def __init__(self, weight: Int8Weight) -> None:
        self.weight = weight

    def __call__(self, rows: Tensor) -> Tensor:
        """[T, in] -> [T, out], float32 both."""
        count = len(rows)
        rows = rows.contiguous()
        quantised = torch.empty(rows.shape, dtype=torch.uint8)
        scales = torch.empty(count)
        bytes_kernel(count, rows.shape[1], rows.data_ptr(), quantised.data_ptr(), scales.data_ptr())
        out = torch.empty(count, self.weight.width)
        multiply(count, quantised.data_ptr(), scales.data_ptr(), self.weight, out.data_ptr())
        return out[:, : self.weight.out_features]
