"""Loops over vectors against numpy in float64."""

from typing import Any

import numpy as np
import pytest

from kernels.cpu.lanes import highest, sum_of_exp, swiglu
from kernels.cpu.launch import jit


@jit
def _sum_of_exp(values: int, vectors: int, shift: Any, factor: Any) -> Any:
    return sum_of_exp(values, vectors, shift, factor)


@jit
def _highest(values: int, vectors: int) -> Any:
    return highest(values, vectors)


@jit
def _swiglu(gates: int, ups: int, vectors: int) -> Any:
    return swiglu(gates, ups, vectors)


@pytest.mark.parametrize("value", [0.0, -0.3, -1.0, -10.0, -40.0, -87.0, 20.0, 80.0])
def test_exponentials(value: float) -> None:
    numbers = np.full(16, value, np.float32)
    found = _sum_of_exp(numbers.ctypes.data, 1, np.float32(0.0), np.float32(1.0))
    assert found == pytest.approx(16 * np.exp(np.float64(value)), rel=4e-7)


def test_exponentials_of_what_is_next_to_nothing_and_of_nothing() -> None:
    numbers = np.array([0.0, -1e30, -np.inf, -200.0, *[-1000.0] * 12], np.float32)
    assert _sum_of_exp(numbers.ctypes.data, 1, np.float32(0.0), np.float32(1.0)) == 1.0


def test_sums_of_exponentials() -> None:
    random = np.random.default_rng(0)
    numbers = (random.standard_normal(16 * 50) * 8).astype(np.float32)
    found = _sum_of_exp(numbers.ctypes.data, 50, numbers.max(), np.float32(1.25))
    expected = np.exp((numbers.astype(np.float64) - float(numbers.max())) * 1.25).sum()
    assert found == pytest.approx(expected, rel=2e-6)
    assert _highest(numbers.ctypes.data, 50) == numbers.max()


def test_swiglu_of_gates_of_any_size() -> None:
    random = np.random.default_rng(1)
    gates = np.concatenate([random.standard_normal(76) * 4, [0.0, 300.0, -300.0, 90.0]]).astype(np.float32)
    ups = random.standard_normal(80).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = gates / (1 + np.exp(-gates.astype(np.float64))) * ups
    largest = _swiglu(gates.ctypes.data, ups.ctypes.data, 5)
    np.testing.assert_allclose(gates, expected, rtol=1e-5, atol=1e-35)
    assert largest == np.abs(gates).max()
