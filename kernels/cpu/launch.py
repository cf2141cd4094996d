"""Functions compiled for this processor when they are first needed, run by torch's own OpenMP threads.

A second set of threads would fight with torch's for the cores: each spins while it waits. So a kernel is handed to the
OpenMP runtime that torch has loaded, by the entry that compilers call (`GOMP_parallel`, which Intel's and LLVM's
runtimes have as well). A launch on two cores takes about 2 microseconds, but 50 more if the others have gone to sleep
since the last. Compiled code is cached on disk by numba.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numba.extending
import torch
from numba import types

SLOTS = 24
_SIGNATURE = types.void(types.CPointer(types.int64))
_FASTMATH = {"reassoc", "contract", "nsz", "arcp", "nnan"}
_ERRORS = "numpy"  # a division by zero gives infinity; looking for it first forbids vectors

_torch = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
_parallel = _torch.GOMP_parallel
_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
_parallel.restype = None
_Arguments = ctypes.c_int64 * SLOTS


def _probe() -> None:
    """Nothing: it lies where the kernels lie, so numba can cache it where it can cache them."""


def _can_cache() -> bool:
    """Whether numba finds a folder to write to: beside this file, in the user's cache folder, or NUMBA_CACHE_DIR.

    Where there is none, every start compiles anew, which takes several seconds.
    """
    try:
        numba.njit(cache=True)(_probe)
    except RuntimeError:
        return False
    return True


_CACHE = _can_cache()


def jit[F: Callable[..., Any]](function: F) -> F:
    """A helper that is compiled into the kernels that call it."""
    compiled: Any = numba.njit(fastmath=_FASTMATH, error_model=_ERRORS, inline="never", cache=_CACHE)(function)
    return compiled


def intrinsic(generator: Callable[..., Any]) -> Any:
    """A function of kernels that makes its own code: numba's intrinsic, called without the typing context."""
    return numba.extending.intrinsic(generator)


class Kernel:
    """A compiled function of integers: sizes, addresses, bits of floats.

    Every thread calls `body` with a pointer to int64: first a counter, 0 at the launch, from which the threads take
    their work (`vector.take`), then the arguments. It must not raise.
    """

    def __init__(self, body: Callable[[Any], None]) -> None:
        self._body = body
        self._compiled: Any = None
        self._address = 0

    def compile(self) -> None:
        """Compile now, or load from numba's cache; otherwise the first call does it."""
        self._compiled = numba.cfunc(_SIGNATURE, cache=_CACHE, error_model=_ERRORS, fastmath=_FASTMATH)(self._body)
        self._address = self._compiled.address

    def __call__(self, *arguments: int) -> None:
        """Run on as many threads as torch has; returns when all are done."""
        if not self._address:
            self.compile()
        _parallel(self._address, _Arguments(0, *arguments), torch.get_num_threads(), 0)

    @property
    def address(self) -> int:
        """Of the compiled function."""
        if not self._address:
            self.compile()
        return self._address


def has_vnni() -> bool:
    """Whether this processor multiplies bytes in 512-bit vectors (AVX512_VNNI)."""
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512vnni", False))


def has_long_vectors() -> bool:
    """Whether this processor has the 512-bit vectors that the kernels are written for (AVX512F)."""
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512f", False))


def has_bf16() -> bool:
    """Whether this processor has dot products of bfloat16 pairs (AVX512_BF16)."""
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512bf16", False))
