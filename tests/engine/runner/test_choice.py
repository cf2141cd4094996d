"""Which device is taken, and what is refused, with and without a GPU that torch can use."""

from collections.abc import Callable

import pytest
import torch
from support.random_decoders import config, packed_as, random_decoder

from engine.runner.arithmetic import best_arithmetic
from engine.runner.choice import (
    CPU_KV_BYTES,
    arithmetic_for,
    device_for,
    device_name,
    kernels_of,
    limits_of,
    narrow_for,
    runner_for,
)
from engine.runner.compiled import CompiledRunner
from engine.runner.cuda import CudaRunner, bytes_per_token, pool_bytes

Gpu = Callable[[bool], None]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    return lambda there: monkeypatch.setattr(torch.cuda, "is_available", lambda: there)


def test_auto_takes_a_gpu_that_is_there(gpu: Gpu) -> None:
    gpu(True)
    assert [device_for(wanted) for wanted in ("auto", "cuda", "cpu")] == [CUDA, CUDA, CPU]
    assert device_for("auto", strict=True) == CPU, "what is promised is kept"
    with pytest.raises(ValueError, match=r"strict: a GPU does not promise it; .* engine\.device to cpu"):
        device_for("cuda", strict=True)
    gpu(False)
    assert [device_for(wanted) for wanted in ("auto", "cpu")] == [CPU, CPU]
    with pytest.raises(ValueError, match=r"engine\.device: torch .* finds no GPU; choose auto or cpu"):
        device_for("cuda")
    with pytest.raises(ValueError, match="'tpu' is not auto, cpu or cuda"):
        device_for("tpu")


def test_the_arithmetic_suits_the_device() -> None:
    assert arithmetic_for("auto", CPU) == best_arithmetic()
    assert arithmetic_for("auto", CUDA) == "bfloat16"
    assert arithmetic_for("float32", CUDA) == "float32"
    assert arithmetic_for("int8", CPU) == "int8"
    with pytest.raises(ValueError, match="int8 runs on a CPU alone"):
        arithmetic_for("int8", CUDA)
    with pytest.raises(ValueError, match="'fp4' is not int8"):
        arithmetic_for("fp4", CPU)


def test_8_bits_are_for_a_gpu() -> None:
    assert [narrow_for(bits, CUDA) for bits in (16, 8)] == [False, True]
    assert not narrow_for(16, CPU)
    with pytest.raises(ValueError, match=r"engine\.suffix_kv_bits: 8 is for a GPU alone; leave it out, or set"):
        runner_for(packed_as("float32", random_decoder(config())), suffix_kv_bits=8)
    wide, narrow = (bytes_per_token(config(), torch.bfloat16, narrow=narrow) for narrow in (False, True))
    assert (wide, narrow) == (2 * 2 * 2 * 64 * 2, 2 * 2 * 2 * (64 * 2 + 4))


def test_limits_suit_the_device_unless_they_are_given() -> None:
    found = [limits_of(device) for device in (CPU, CUDA)]
    assert [(one.rows, one.step_seconds) for one in found] == [(64, 0.1), (256, 0.03)]
    given = limits_of(CUDA, rows=3, step_seconds=0.5)
    assert (given.rows, given.step_seconds) == (3, 0.5)


def test_the_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    assert [device_name(device) for device in (CPU, CUDA)] == ["cpu", "cuda (NVIDIA H100)"]


def test_a_cpu_has_a_pool_of_its_own_size() -> None:
    runner = runner_for(packed_as("float32", random_decoder(config())))
    assert isinstance(runner, CompiledRunner)
    assert runner.page_size == 16
    assert runner.pages == CPU_KV_BYTES // (bytes_per_token(config(), torch.float32) * 16)


def test_where_kernels_came_from_is_told() -> None:
    runner = runner_for(packed_as("float32", random_decoder(config())), kv_bytes=1 << 22)
    assert isinstance(runner, CompiledRunner)
    runner.compiled = 3
    assert kernels_of(runner) == "3 compiled for this processor"
    runner.compiled = 0
    assert kernels_of(runner) == "taken from the cache"
    assert kernels_of(CudaRunner.__new__(CudaRunner)) == "compiled by Triton or taken from its cache"


def test_a_pool_leaves_room_for_a_step_on_the_gpu() -> None:
    shape = config()
    free = 10 << 30
    found = pool_bytes(free, shape, torch.bfloat16, 256)
    assert 8 << 30 < found < 9 << 30
    assert pool_bytes(free, shape, torch.bfloat16, 512) < found, "more rows have more logits"
