"""Functions compiled for this processor when they are first needed, run by torch's own OpenMP threads.

A second set of threads would fight with torch's for the cores: each spins while it waits. So a kernel is handed to the
OpenMP runtime that torch has loaded, by the entry that compilers call (`GOMP_parallel`, which Intel's and LLVM's
runtimes have as well). A launch on two cores takes about 2 microseconds, but 50 more if the others have gone to sleep
since the last.

Compiled code is kept on disk by numba, which knows a function by the file it stands in, and not what it calls. So each
state of these files has a folder of its own, in NUMBA_CACHE_DIR or the user's cache.
"""

import contextlib
import ctypes
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numba.core.config
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


def cache_folder(base: Path, sources: Path) -> Path:
    """Where compiled code of the files of `sources` is kept: another folder when any of them changes."""
    digest = hashlib.sha256()
    for file in sorted(sources.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return base / digest.hexdigest()[:16]


def sweep(folder: Path) -> None:
    """Remove what was compiled of earlier states of the files, but for the latest: somebody may be running them."""
    others: list[tuple[float, Path]] = []
    for other in folder.parent.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process sweeps as well
            if other.is_dir() and other != folder:
                others.append((other.stat().st_mtime, other))
    for _, other in sorted(others)[:-_KEPT]:
        shutil.rmtree(other, ignore_errors=True)


def _probe() -> None:
    """Nothing: it lies where the kernels lie, so numba can cache it where it can cache them."""


def _can_cache() -> bool:
    """Whether there is a folder to write to, with room. Where not, every start compiles anew, which takes a minute."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    base = Path(os.environ.get("NUMBA_CACHE_DIR") or caches / "thresher" / "kernels")
    folder = cache_folder(base, Path(__file__).parent)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        numba.core.config.CACHE_DIR = str(folder)  # pyright: ignore[reportAttributeAccessIssue]
        numba.njit(cache=True)(_probe)
        # A disk that is full would end the compilation itself.
        return shutil.disk_usage(folder).free > _ROOM
    except (OSError, RuntimeError):
        return False


_KEPT = 4
_ROOM = 64 << 20
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

    def compile(self) -> bool:
        """Compile now, or load from numba's cache; otherwise the first call does it. Whether it had to be compiled."""
        self._compiled = numba.cfunc(_SIGNATURE, cache=_CACHE, error_model=_ERRORS, fastmath=_FASTMATH)(self._body)
        self._address = self._compiled.address
        return not self._compiled.cache_hits

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
