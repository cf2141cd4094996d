"""Control groups: one group per jail, to limit it, to measure it and to kill all of it at once.

Four jobs (memory, pids, cpu, kill) are each done by whichever hierarchy this machine offers: v2 for all of them, v1 for
some and v2 for kill and CPU time (hybrid), or v1 alone, where the freezer stands in for cgroup.kill.
"""

import contextlib
import errno
import fcntl
import itertools
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

JOBS = ("memory", "pids", "cpu", "kill")
WEAKNESS_OF_JOB = {
    "memory": "memory-per-process",
    "pids": "processes-per-user",
    "cpu": "cpu-per-process",
    "kill": "kill-by-init",
}
_PREFIX = "thresher."
_V1_CONTROLLER = {"memory": "memory", "pids": "pids", "cpu": "cpuacct", "kill": "freezer"}
_instances = itertools.count()


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A folder below which groups can be made. `version` is 1 or 2."""

    version: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Layout:
    """Which hierarchy does which job. A job that none does is missing."""

    jobs: dict[str, Hierarchy] = field(default_factory=dict[str, Hierarchy])

    @property
    def backend(self) -> str:
        """v2, hybrid, v1, partial or none."""
        versions = {self.jobs[job].version if job in self.jobs else 0 for job in JOBS}
        if versions == {0}:
            return "none"
        if 0 in versions:
            return "partial"
        return {frozenset({2}): "v2", frozenset({1}): "v1"}.get(frozenset(versions), "hybrid")

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """The guarantees that the missing jobs would have given."""
        return tuple(WEAKNESS_OF_JOB[job] for job in JOBS if job not in self.jobs)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Each parent folder once."""
        return tuple(dict.fromkeys(hierarchy.folder for hierarchy in self.jobs.values()))


def detect(want: str = "auto", mounts: str | None = None, own: str | None = None) -> Layout:
    """The best layout that this process may use, or the one asked for as far as it exists.

    `mounts` and `own` are the texts of /proc/self/mounts and /proc/self/cgroup (read when not given).
    """
    if want not in ("auto", "v2", "hybrid", "v1", "none"):
        raise ValueError(f"cgroup_backend {want!r} is unknown: take auto, v2, hybrid, v1 or none")
    if want == "none":
        return Layout()
    mounts = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    own = Path("/proc/self/cgroup").read_text() if own is None else own
    second = None if want == "v1" else _second_version(mounts, own)
    offered = _jobs_of_v2(second) if second is not None else {}
    if want == "hybrid":
        offered = {job: hierarchy for job, hierarchy in offered.items() if job in ("cpu", "kill")}
    if want != "v2":
        for job, hierarchy in _first_version(mounts).items():
            offered.setdefault(job, hierarchy)
    return Layout({job: offered[job] for job in JOBS if job in offered})


def _mount_points(mounts: str, kind: str) -> Iterator[tuple[Path, set[str]]]:
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 3 and fields[2] == kind:
            yield Path(fields[1].replace("\\040", " ")), set(fields[3].split(","))


def _first_version(mounts: str) -> dict[str, Hierarchy]:
    found: dict[str, Hierarchy] = {}
    for folder, options in _mount_points(mounts, "cgroup"):
        for job, controller in _V1_CONTROLLER.items():
            if controller in options and "ro" not in options and os.access(folder, os.W_OK):
                found[job] = Hierarchy(1, folder)
    return found


def _second_version(mounts: str, own: str) -> Path | None:
    for root, options in _mount_points(mounts, "cgroup2"):
        if "ro" in options:
            continue
        path = next((line[3:] for line in own.splitlines() if line.startswith("0::")), "/").lstrip("/")
        if os.access(root / "cgroup.procs", os.W_OK) and not (path and _delegated(root / path)):
            return root
        if _delegated(root / path):
            return root / path
    return None


def _delegated(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)


def _jobs_of_v2(folder: Path) -> dict[str, Hierarchy]:
    jobs = dict.fromkeys(_enable_controllers(folder), Hierarchy(2, folder))
    # cpu.stat and cgroup.kill need no controller.
    return jobs | {"cpu": Hierarchy(2, folder), "kill": Hierarchy(2, folder)}


def _enable_controllers(folder: Path) -> list[str]:
    """Let groups below `folder` have memory and pids, moving this folder's own processes to a leaf if they block it."""
    here = set(_read(folder / "cgroup.controllers").split())
    wanted = [name for name in ("memory", "pids") if name in here]
    control = folder / "cgroup.subtree_control"
    missing = [name for name in wanted if name not in _read(control).split()]
    if missing:
        text = " ".join(f"+{name}" for name in missing)
        try:
            control.write_text(text)
        except OSError as error:
            if error.errno != errno.EBUSY:
                return [name for name in wanted if name not in missing]
            leaf = folder / "supervisor"
            leaf.mkdir(exist_ok=True)
            for pid in _read(folder / "cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    (leaf / "cgroup.procs").write_text(pid)
            control.write_text(text)
    return wanted


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


class Forest:
    """The groups of one executor: a folder of its own in each hierarchy, with one group per jail in it.

    The folder is locked while its executor lives, so that a later one can tell what a crashed one left behind.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.leaked = 0
        self._name = f"{_PREFIX}{os.getpid()}.{next(_instances)}"
        self._locks: list[int] = []

    def open(self) -> int:
        """Remove what crashed executors left, then make the own folders. Returns the number of groups removed."""
        removed = sum(_remove_stale(folder) for folder in self.layout.folders)
        for parent in self.layout.folders:
            folder = parent / self._name
            folder.mkdir()
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._locks.append(lock)
            if any(job in ("memory", "pids") and h == Hierarchy(2, parent) for job, h in self.layout.jobs.items()):
                _enable_controllers(folder)
        return removed

    def group(self, name: str) -> "Group":
        """A new, empty group. Raises OSError if it cannot be made."""
        folders = {job: h.folder / self._name / name for job, h in self.layout.jobs.items()}
        for folder in dict.fromkeys(folders.values()):
            folder.mkdir()
        return Group(folders, {job: h.version for job, h in self.layout.jobs.items()})

    def admit(self, user: int) -> None:
        """Let outside user `user` make processes in the v2 groups that are opened to it (`Group.entrances`).

        The kernel wants the right to write where the way from its own group to the new one turns.
        """
        for parent in self.layout.folders:
            if Hierarchy(2, parent) in self.layout.jobs.values():
                os.chown(parent / self._name / "cgroup.procs", user, -1)

    def close(self) -> None:
        """Remove the own folders; all groups must be gone. What is left is counted in `leaked`."""
        for parent in self.layout.folders:
            try:
                _remove_tree(parent / self._name)
            except OSError:
                self.leaked += 1
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()


def _remove_stale(parent: Path) -> int:
    removed = 0
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for group in [*folder.iterdir(), folder]:
                if group.is_dir():
                    _kill_all(group)
            removed += _remove_tree(folder)
        except BlockingIOError:
            continue  # its executor lives
        finally:
            os.close(lock)
    return removed


def _kill_all(folder: Path, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pids = _read(folder / "cgroup.procs").split()
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.005)


def _remove_tree(folder: Path) -> int:
    removed = 0
    for child in folder.iterdir():
        if child.is_dir():
            child.rmdir()
            removed += 1
    folder.rmdir()
    return removed


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
        return [] if folder is None else [int(pid) for pid in _read(folder / "cgroup.procs").split()]

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
