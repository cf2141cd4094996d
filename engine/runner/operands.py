"""Rows as compiled matrix products take them in: bytes with a scale for each row, bfloat16 or float32."""

from dataclasses import dataclass

from engine.models.decoder import Linear
from engine.runner.float_layer import FloatLinear
from engine.runner.int8_layer import Int8Linear
from kernels.cpu import float_linear, float_rows, int8_linear, rows
from kernels.cpu.float_linear import FloatWeight
from kernels.cpu.int8_linear import Int8Weight
from kernels.cpu.launch import Kernel

Call = tuple[Kernel, tuple[int, ...]]
Weight = Int8Weight | FloatWeight

KERNELS: dict[int, tuple[Kernel, ...]] = {
    1: (rows.norm_kernel, rows.activate_kernel, rows.bytes_kernel, *int8_linear.kernels()),
    2: (float_rows.norm_kernel, float_rows.activate_kernel, float_rows.copy_kernel, float_linear.multiply_kernel),
}
KERNELS[4] = KERNELS[2]
"""Kernels of the calls below, by the bytes of a number."""


def weight_of(linear: Linear) -> Weight | None:
    """The packed weight of a layer; None if it has none."""
    return linear.weight if isinstance(linear, Int8Linear | FloatLinear) else None


@dataclass(frozen=True, slots=True)
class Operands:
    """Calls that make operands and multiply them.

    size: bytes of a number, 1, 2 or 4. narrow: address of the operands. scales: of a float32 for each row, where they
    are bytes. epsilon: bits of the norms' own.
    """

    size: int
    narrow: int
    scales: int
    epsilon: int

    def norm(self, count: int, width: int, stream: int, added: int, weight: int, stride: int) -> Call:
        """Add to the stream [count, width] what lies at `added` (0: nothing), lines `stride` bytes apart; its RMSNorm
        becomes the operands."""
        if self.size == 1:
            given = (count, width, stream, added, weight, self.narrow, self.scales, self.epsilon, stride)
            return rows.norm_kernel, given
        given = (count, width, stream, added, weight, self.narrow, self.epsilon, stride, self.size)
        return float_rows.norm_kernel, given

    def activation(self, count: int, width: int, gate_up: int, stride: int) -> Call:
        """SwiGLU of [count, 2 * width] float32, lines `stride` bytes apart, becomes the operands."""
        if self.size == 1:
            return rows.activate_kernel, (count, width, gate_up, self.narrow, self.scales, stride)
        return float_rows.activate_kernel, (count, width, gate_up, self.narrow, stride, self.size)

    def copy(self, count: int, width: int, values: int) -> Call:
        """[count, width] float32 become the operands."""
        if self.size == 1:
            return rows.bytes_kernel, (count, width, values, self.narrow, self.scales)
        return float_rows.copy_kernel, (count, width, values, self.narrow, self.size)

    def product(self, count: int, weight: Weight, out: int) -> Call:
        """out [count, weight.width] float32 = operands @ weight.T + bias."""
        if isinstance(weight, Int8Weight):
            given = int8_linear.multiplying(count, self.narrow, self.scales, weight, out)
            return int8_linear.kernel_for(count, weight), given
        return float_linear.multiply_kernel, float_linear.multiplying(count, self.narrow, weight, out)
