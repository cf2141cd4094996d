"""Compiled products of bfloat16 and float32, and the rows between them, against plain definitions in float64."""

import struct

import pytest
import torch

from kernels.cpu import float_rows
from kernels.cpu.float_linear import FloatWeight, multiply_kernel, multiplying, pack

DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])


def product(rows: torch.Tensor, weight: FloatWeight) -> torch.Tensor:
    found = torch.full((len(rows), weight.width), torch.nan)
    multiply_kernel(*multiplying(len(rows), rows.data_ptr(), weight, found.data_ptr()))
    return found


@DTYPES
@pytest.mark.parametrize(("count", "out", "inner"), [(1, 130, 64), (7, 64, 896), (16, 192, 100), (13, 200, 2500)])
def test_products(count: int, out: int, inner: int, dtype: torch.dtype) -> None:
    torch.manual_seed(count)
    weight, bias, x = (torch.randn(*shape).to(dtype) for shape in ((out, inner), (out,), (count, inner)))
    found = product(x, pack(weight, bias))[:, :out].double()
    expected = x.double() @ weight.double().T + bias.double()
    # Sums of float32 lose in proportion to what is added, not to the result.
    assert ((found - expected).abs() < 1e-6 * (x.double().abs() @ weight.double().T.abs() + 1)).all()


@DTYPES
def test_a_row_does_not_depend_on_the_batch(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    weight, x = pack(torch.randn(128, 4864).to(dtype), None), torch.randn(29, 4864).to(dtype)
    whole = product(x, weight)
    for count in (1, 2, 5, 6, 7, 28):
        for first in range(0, 29 - count, 3):
            assert torch.equal(product(x[first : first + count], weight), whole[first : first + count])


def test_torch_would_fail_that() -> None:
    """The test above is about something: a product by torch changes with the rows beside it."""
    torch.manual_seed(0)
    weight, x = torch.randn(128, 4864), torch.randn(29, 4864)
    whole = x @ weight.T
    assert any(not torch.equal(x[:count] @ weight.T, whole[:count]) for count in (1, 2, 5, 6, 7, 28))


def test_an_odd_weight_of_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        pack(torch.randn(8, 31).bfloat16(), None)


@DTYPES
@pytest.mark.parametrize("width", [7, 100, 896])
def test_rows_between_products(dtype: torch.dtype, width: int) -> None:
    torch.manual_seed(1)
    count, size, bound = 5, dtype.itemsize, 2e-6 if dtype is torch.float32 else 5e-3
    stream, added, weight = torch.randn(count, width) * 3, torch.randn(count, width + 9), torch.randn(width)
    total = (stream + added[:, :width]).double()
    out = torch.empty(count, width, dtype=dtype)
    bits = struct.unpack("<i", struct.pack("<f", 1e-6))[0]
    float_rows.norm_kernel(
        count,
        width,
        stream.data_ptr(),
        added.data_ptr(),
        weight.data_ptr(),
        out.data_ptr(),
        bits,
        added.stride(0) * 4,
        size,
    )
    torch.testing.assert_close(stream.double(), total, rtol=1e-6, atol=1e-6)
    expected = total * (total.square().mean(1, keepdim=True) + 1e-6).rsqrt() * weight.double()
    torch.testing.assert_close(out.double(), expected, rtol=bound, atol=bound)
    both = torch.randn(count, 2 * width + 5)
    expected = torch.nn.functional.silu(both[:, :width].double()) * both[:, width : 2 * width].double()
    float_rows.activate_kernel(count, width, both.data_ptr(), out.data_ptr(), both.stride(0) * 4, size)
    torch.testing.assert_close(out.double(), expected, rtol=bound, atol=bound)
    values = torch.randn(count, width)
    float_rows.copy_kernel(count, width, values.data_ptr(), out.data_ptr(), size)
    assert torch.equal(out, values.to(dtype))
