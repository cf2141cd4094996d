"""Compiled kernels of the int8 runner against plain definitions."""

import struct

import pytest
import torch

from kernels.cpu import rows
from kernels.cpu.int8_linear import multiply, multiply_kernel, multiply_matrices_kernel, multiplying, pack
from kernels.cpu.launch import has_vnni
from kernels.cpu.matrix_units import has_matrix_units

pytestmark = pytest.mark.skipif(not has_vnni(), reason="this processor has no AVX512_VNNI")

EPSILON = 1e-6


def quantised(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scales = values.abs().amax(dim=1) / 127
    return (torch.round(values / scales[:, None]) + 128).to(torch.uint8), scales


@pytest.mark.parametrize(("count", "out", "inner"), [(1, 130, 64), (7, 64, 896), (16, 192, 100), (13, 200, 4)])
def test_products_are_exact_sums(count: int, out: int, inner: int) -> None:
    torch.manual_seed(count)
    weight, bias, x = torch.randn(out, inner), torch.randn(out), torch.randn(count, inner)
    packed = pack(weight, bias)
    taken, scales = quantised(x)
    found = torch.full((count, packed.width), torch.nan)
    multiply(count, taken.data_ptr(), scales.data_ptr(), packed, found.data_ptr())
    of_weight = weight.abs().amax(dim=1) / 127
    whole = torch.round(weight / of_weight[:, None]).double()
    expected = (taken.double() - 128) @ whole.T * scales[:, None].double() * of_weight.double() + bias.double()
    torch.testing.assert_close(found[:, :out].double(), expected, rtol=1e-5, atol=1e-5)


def test_a_row_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    packed = pack(torch.randn(128, 896), None)
    taken, scales = quantised(torch.randn(29, 896))
    whole = torch.empty(29, packed.width)
    multiply(29, taken.data_ptr(), scales.data_ptr(), packed, whole.data_ptr())
    for row in range(29):
        one = torch.empty(1, packed.width)
        multiply(1, taken[row:].data_ptr(), scales[row:].data_ptr(), packed, one.data_ptr())
        assert torch.equal(one[0], whole[row])


@pytest.mark.skipif(not has_matrix_units(), reason="this processor has no AMX-INT8")
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 32, 33, 50, 64, 97, 130])
@pytest.mark.parametrize(("out", "inner"), [(64, 64), (200, 896), (130, 1024)])
def test_units_for_matrices_give_the_same_to_the_bit(count: int, out: int, inner: int) -> None:
    torch.manual_seed(count)
    packed = pack(torch.randn(out, inner), torch.randn(out))
    taken, scales = torch.randint(1, 256, (count, inner), dtype=torch.uint8), torch.rand(count)
    found = [torch.full((count + 1, packed.width), torch.nan) for _ in range(2)]
    for kernel, result in zip((multiply_kernel, multiply_matrices_kernel), found, strict=True):
        kernel(*multiplying(count, taken.data_ptr(), scales.data_ptr(), packed, result.data_ptr()))
    assert torch.equal(found[0][:count], found[1][:count])
    assert all(bool(result[count].isnan().all()) for result in found), "a line beyond the last row was written"


def test_a_weight_that_cannot_be_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        pack(torch.randn(8, 30), None)


def test_norm_adds_norms_and_quantises() -> None:
    torch.manual_seed(1)
    count, width = 5, 896
    stream, added, weight = torch.randn(count, width) * 3, torch.randn(count, 960), torch.randn(width)
    total = stream + added[:, :width]
    out, scales = torch.empty(count, width, dtype=torch.uint8), torch.empty(count)
    bits = struct.unpack("<i", struct.pack("<f", EPSILON))[0]
    rows.norm_kernel(
        count,
        width,
        stream.data_ptr(),
        added.data_ptr(),
        weight.data_ptr(),
        out.data_ptr(),
        scales.data_ptr(),
        bits,
        960 * 4,
    )
    assert torch.equal(stream, total)
    expected = torch.nn.functional.rms_norm(total, (width,), weight, EPSILON)
    worst = ((out.float() - 128) * scales[:, None] - expected).abs() / scales[:, None]
    assert float(worst.max()) < 0.501, "no value is farther from its byte than half a step"


def test_activation_is_swiglu() -> None:
    torch.manual_seed(2)
    count, width = 3, 200
    both = torch.randn(count, 2 * width) * 4
    both[0, 0] = 200.0
    both[0, 1] = -200.0
    expected = torch.nn.functional.silu(both[:, :width]) * both[:, width:]
    out, scales = torch.empty(count, width, dtype=torch.uint8), torch.empty(count)
    rows.activate_kernel(count, width, both.data_ptr(), out.data_ptr(), scales.data_ptr(), 2 * width * 4)
    worst = ((out.float() - 128) * scales[:, None] - expected).abs() / scales[:, None]
    assert float(worst.max()) < 0.51
