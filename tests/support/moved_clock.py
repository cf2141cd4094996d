"""A wall clock that a test can move while a process runs: a small library put before libc's."""

import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long *shift;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("MOVED_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *found = mmap(0, 4096, PROT_READ, MAP_SHARED, file, 0);
        if (found != MAP_FAILED) shift = found;
    }
}

static long by(void) { return shift ? *shift : 0; }

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (!result && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += by();
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec found;
    int result = clock_gettime(CLOCK_REALTIME, &found);
    if (now) { now->tv_sec = found.tv_sec; now->tv_usec = found.tv_nsec / 1000; }
    return result;
}

time_t time(time_t *out) {
    struct timespec found;
    clock_gettime(CLOCK_REALTIME, &found);
    if (out) *out = found.tv_sec;
    return found.tv_sec;
}
"""


@dataclass
class MovedClock:
    """`environment` is of the process whose clock is to move."""

    environment: dict[str, str]
    _file: Path

    @classmethod
    def make(cls, folder: Path) -> "MovedClock":
        """Compiles the library; the test is skipped where there is no C compiler."""
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler for the library that moves the clock")
        source, library, shift = folder / "clock.c", folder / "clock.so", folder / "shift"
        source.write_text(_SOURCE)
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
        shift.write_bytes(b"\0" * 4096)
        return cls({"LD_PRELOAD": str(library), "MOVED_CLOCK": str(shift)}, shift)

    def move(self, seconds: int) -> None:
        """The clock is from now on so far off the true time."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("@l", seconds))
            file.flush()
            os.fsync(file.fileno())
