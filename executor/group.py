"""One jail's control group: its limits, its figures, and killing all of it at once."""

import contextlib
import os
import signal
from pathlib import Path

LONG_NICE = 6
"""Of programs that run for long: a quarter of the weight of others (sched(7): a step of nice is a factor of 1.25)."""
ENDLESS_NICE = 10
"""Of those that run on for a second more: a tenth. Beside one other and three more of its kind on a core, such a
program still gets all of its CPU time before its wall clock has waited as long as it may."""

_FILES = {
    # job: (v1 file, v2 file) that is read or written while a jail runs
    "cpu": ("cpuacct.usage", "cpu.stat"),
    "oom": ("memory.oom_control", "memory.events"),
    "peak": ("memory.max_usage_in_bytes", "memory.peak"),
}


class Group:
    """The control group of one jail at a time. Times are in seconds, sizes in bytes.

    Counters go on from jail to jail: whoever wants one jail's share takes the difference. Its files stay open, since a
    jail's life touches them a dozen times.
    """

    __slots__ = ("_files", "_folders", "_limits", "_versions")

    def __init__(self, folders: dict[str, Path], versions: dict[str, int]) -> None:
        self._folders = folders
        self._versions = versions
        self._limits: tuple[int, int] | None = None
        self._files: dict[str, int] = {}

    @property
    def folders(self) -> tuple[Path, ...]:
        """Each folder of the group once."""
        return tuple(dict.fromkeys(self._folders.values()))

    def folders_of(self, version: int) -> tuple[Path, ...]:
        """Each folder of the group in a hierarchy of this version once; there is at most one of version 2."""
        mine = (folder for job, folder in self._folders.items() if self._versions[job] == version)
        return tuple(dict.fromkeys(mine))

    def has(self, job: str) -> bool:
        """Whether this group does `job`."""
        return job in self._folders

    def _open(self, job: str, name: str, flags: int = os.O_RDONLY) -> int:
        key = f"{job}/{name}"
        descriptor = self._files.get(key)
        if descriptor is None:
            descriptor = self._files[key] = os.open(self._folders[job] / name, flags | os.O_CLOEXEC)
        return descriptor

    def _read(self, job: str, name: str, flags: int = os.O_RDONLY) -> bytes:
        return os.pread(self._open(job, name, flags), 1 << 16, 0)

    def limit(self, memory_bytes: int, processes: int) -> None:
        """Set the limits of the whole group; swap is not to be had. Raises OSError if more is in use already."""
        if self._limits == (memory_bytes, processes):
            return
        if (folder := self._folders.get("memory")) is not None:
            if self._versions["memory"] == 2:
                (folder / "memory.max").write_text(str(memory_bytes))
                if (swap := folder / "memory.swap.max").exists():
                    swap.write_text("0")
            else:
                _limit_memory_v1(folder, memory_bytes)
        if (folder := self._folders.get("pids")) is not None:
            (folder / "pids.max").write_text(str(processes))
        self._limits = (memory_bytes, processes)

    def cpu_seconds(self) -> float | None:
        """CPU time that all processes of the group used so far; None if nothing measures it."""
        if "cpu" not in self._folders:
            return None
        version = self._versions["cpu"]
        text = self._read("cpu", _FILES["cpu"][version - 1])
        if version == 2:
            return int(text.split(b"usage_usec ", 1)[1].split(b"\n", 1)[0]) / 1e6
        return int(text) / 1e9

    def starved_seconds(self) -> float:
        """Time in which a process of the group waited for a core, so far; 0 where nothing measures it (v1, no PSI)."""
        if self._versions.get("cpu") != 2:
            return 0.0
        try:
            text = self._read("cpu", "cpu.pressure")
        except OSError:
            return 0.0
        return int(text.split(b"total=", 1)[1].split(b"\n", 1)[0]) / 1e6

    def give_way(self, nice: int) -> None:
        """Give the processes that are in the group a smaller share of a busy core.

        Only where waiting for a core is measured, and so does not count against them. A session may be scheduled as a
        whole (sched(7), "autogroup"): then its nice value counts, else each process's own.
        """
        if self._versions.get("cpu") != 2 or not (self._folders["cpu"] / "cpu.pressure").exists():
            return
        for pid in self.pids():
            with contextlib.suppress(OSError):  # it has ended, or may not be touched: then nothing is lost but time
                os.setpriority(os.PRIO_PROCESS, pid, max(nice, os.getpriority(os.PRIO_PROCESS, pid)))
                Path(f"/proc/{pid}/autogroup").write_text(str(nice))

    def oom_kills(self) -> int:
        """Processes that the memory limit killed so far."""
        if "memory" not in self._folders:
            return 0
        for line in self._read("memory", _FILES["oom"][self._versions["memory"] - 1]).splitlines():
            key, _, value = line.partition(b" ")
            if key == b"oom_kill":
                return int(value)
        return 0

    def peak_bytes(self) -> int | None:
        """The most memory the group held at once since `renew`; None if nothing measures it."""
        if "memory" not in self._folders:
            return None
        try:
            return int(self._read("memory", _FILES["peak"][self._versions["memory"] - 1], os.O_RDWR))
        except OSError:
            return None  # memory.peak came with Linux 5.19, and could be reset only from 6.12 on

    def renew(self) -> None:
        """Make ready for another jail; the last one must be gone.

        A v2 folder is made anew: a kernel may kill at once what is cloned into a group that was ever killed (seen in
        6.18: it compares the group's count of kills with that of the parent's group). Raises OSError.
        """
        for folder in self.folders_of(2):
            jobs = self._jobs_in(folder)
            for key in [key for key in self._files if key.split("/")[0] in jobs]:
                os.close(self._files.pop(key))
            if "memory" in jobs or "pids" in jobs:
                self._limits = None
            folder.rmdir()
            folder.mkdir()
        if self._versions.get("memory") == 1:
            os.pwrite(self._open("memory", _FILES["peak"][0], os.O_RDWR), b"0", 0)

    def pids(self) -> list[int]:
        """Host ids of the processes in the group (empty without groups)."""
        # Opened anew each time: a v1 file that stays open goes on showing its first list.
        folder = self._folders.get("kill")
        return [] if folder is None else [int(pid) for pid in read_text(folder / "cgroup.procs").split()]

    def entrances(self, user: int) -> tuple[list[int], list[int]]:
        """How outside user `user` gets in: the tasks files of v1 folders, and the v2 folder, as open descriptors.

        They stay open with the group; do not close them.
        """
        first = [self._open(self._jobs_in(folder)[0], "tasks", os.O_WRONLY) for folder in self.folders_of(1)]
        second = self.folders_of(2)
        for folder in second:
            os.chown(folder / "cgroup.procs", user, -1)
        flags = os.O_RDONLY | os.O_DIRECTORY
        return first, [self._open(self._jobs_in(folder)[0], ".", flags) for folder in second]

    def _jobs_in(self, folder: Path) -> list[str]:
        return [job for job, place in self._folders.items() if place == folder]

    def crowded(self, processes: int) -> bool:
        """Whether more than so many processes are in the group, or nothing counts them."""
        return "pids" not in self._folders or int(self._read("pids", "pids.current")) > processes

    def populated(self) -> bool:
        """Whether a process is left in the group."""
        if "kill" not in self._folders:
            return False
        if self._versions["kill"] == 2:
            return b"populated 1" in self._read("kill", "cgroup.events")
        return bool(self.pids())

    def kill(self) -> None:
        """Kill every process of the group, at once where the kernel can."""
        if "kill" not in self._folders:
            return
        if self._versions["kill"] == 2:
            os.write(self._open("kill", "cgroup.kill", os.O_WRONLY), b"1")
            return
        # Frozen processes cannot fork away from the signals; the thaw lets them die.
        state = self._folders["kill"] / "freezer.state"
        state.write_text("FROZEN")
        try:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        finally:
            state.write_text("THAWED")

    def remove(self) -> None:
        """Remove the folders. Raises OSError while a process is left."""
        while self._files:
            os.close(self._files.popitem()[1])
        for folder in self.folders:
            if folder.exists():
                folder.rmdir()


def _limit_memory_v1(folder: Path, size: int) -> None:
    limit, both = folder / "memory.limit_in_bytes", folder / "memory.memsw.limit_in_bytes"
    if not both.exists():
        limit.write_text(str(size))
        return
    # Memory and swap together may never be below memory, so the order depends on the direction.
    if int(both.read_text()) >= size:
        limit.write_text(str(size))
        both.write_text(str(size))
    else:
        both.write_text(str(size))
        limit.write_text(str(size))


def read_text(path: Path) -> str:
    """The text of a control file; empty if this kernel has no such file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
