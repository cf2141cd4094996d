"""Many kernels in one launch, one after the other.

Threads meet between two kernels, but not as at a barrier: a kernel is over when all its work is taken and nobody is at
it any more. A thread that the system has put aside holds nobody up; when it comes back it looks through what is over
and joins in where the others are.
"""

from collections import defaultdict
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from kernels.cpu.launch import SLOTS, Kernel, intrinsic, jit
from kernels.cpu.vector import I64, i64, i64_array

_WIDTH = SLOTS + 2  # address of the kernel, threads that are at it, its arguments
_ENDED = SLOTS - 2  # the argument that is overwritten by the cycle counter
_yield = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
def _add(typing: Any, address: Any, change: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], I64.as_pointer())
        return builder.atomic_rmw("add", place, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _look(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], I64.as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _call(typing: Any, kernel: Any, given: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer()])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        builder.call(function, [builder.inttoptr(arguments[1], I64.as_pointer())])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _cycles(typing: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counter = builder.module.declare_intrinsic("llvm.readcyclecounter", [], ir.FunctionType(I64, []))
        return builder.call(counter, [])

    return types.int64(), generate


@jit
def _wait(address: int) -> None:
    """Until nobody is at the kernel; after a while, offer the core to whoever else wants it."""
    looks = 0
    while _look(address) != 0:
        looks += 1
        if looks > 2000:
            _yield()


def _run(arguments: Any) -> None:
    a = i64_array(arguments)
    count, width, ended = a[1], a[3], a[4]
    for number in range(count):
        entry = a[2] + number * width * 8
        _add(entry + 8, 1)
        _call(i64(entry, 1)[0], entry + 16)
        _add(entry + 8, -1)
        _wait(entry + 8)
        i64(entry + 16, 24)[ended] = _cycles()


_run_kernel = Kernel(_run)


class Program:
    """Calls of kernels, to be run any number of times; what their addresses point to must stay where it is."""

    def __init__(self, calls: list[tuple[Kernel, tuple[int, ...]]]) -> None:
        self._kernels = [kernel for kernel, _ in calls]
        self._table = np.zeros((len(calls), _WIDTH), np.int64)
        for line, (kernel, arguments) in zip(self._table, calls, strict=True):
            line[0] = kernel.address
            line[3 : 3 + len(arguments)] = arguments

    def run(self) -> None:
        """Run on as many threads as torch has; returns when all is done."""
        self._table[:, 1:3] = 0
        self._table[:, _WIDTH - 1] = 0
        _run_kernel(len(self._table), self._table.ctypes.data, _WIDTH, _ENDED)

    def shares(self) -> dict[Kernel, float]:
        """Each kernel's part in the time of the last run; the first call of the program is left out."""
        found: dict[Kernel, float] = defaultdict(float)
        ends = self._table[:, 2 + _ENDED]
        for kernel, cycles in zip(self._kernels[1:], np.diff(ends).tolist(), strict=True):
            found[kernel] += cycles / max(int(ends[-1] - ends[0]), 1)
        return found
