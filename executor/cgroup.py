"""Control groups: one group per jail, to limit it, to measure it and to kill all of it at once.

Four jobs (memory, pids, cpu, kill) are each done by whichever hierarchy this machine offers: v2 for all of them, v1 for
some and v2 for kill and CPU time (hybrid), or v1 alone, where the freezer stands in for cgroup.kill.
"""

import contextlib
import errno
import fcntl
import itertools
import logging
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from executor.group import Group, read_text

JOBS = ("memory", "pids", "cpu", "kill")
WEAKNESS_OF_JOB = {
    "memory": "memory-per-process",
    "pids": "processes-per-user",
    "cpu": "cpu-per-process",
    "kill": "kill-by-init",
}
_PREFIX = "thresher."
_V1_CONTROLLER = {"memory": "memory", "pids": "pids", "cpu": "cpuacct", "kill": "freezer"}
_ATTEMPTS = 1000
_instances = itertools.count()
_log = logging.getLogger(__name__)


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
    def measures_waiting(self) -> bool:
        """Whether it is known how long a program waits for a core: then a busy machine does not count against it."""
        cpu = self.jobs.get("cpu")
        return cpu is not None and cpu.version == 2 and (cpu.folder / "cpu.pressure").exists()

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
    here = set(read_text(folder / "cgroup.controllers").split())
    wanted = [name for name in ("memory", "pids") if name in here]
    control = folder / "cgroup.subtree_control"
    missing = [name for name in wanted if name not in read_text(control).split()]
    if missing:
        text = " ".join(f"+{name}" for name in missing)
        try:
            control.write_text(text)
        except OSError as error:
            if error.errno != errno.EBUSY:
                return [name for name in wanted if name not in missing]
            leaf = folder / "supervisor"
            leaf.mkdir(exist_ok=True)
            for pid in read_text(folder / "cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    (leaf / "cgroup.procs").write_text(pid)
            control.write_text(text)
    return wanted


class Forest:
    """The groups of one executor: a folder of its own in each hierarchy, with one group per jail in it.

    The folder is locked while its executor lives, so that a later one can tell what a crashed one left behind.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.leaked = 0
        self._name = f"{_PREFIX}{os.getpid()}.{next(_instances)}"
        self._locks: list[int] = []

    def open(self) -> None:
        """Remove what crashed executors left, then make the own folders. Raises OSError."""
        for folder in self.layout.folders:
            _remove_stale(folder)
        for parent in self.layout.folders:
            folder = parent / self._name
            self._locks.append(_make_locked(folder))
            if any(job in ("memory", "pids") and h == Hierarchy(2, parent) for job, h in self.layout.jobs.items()):
                _enable_controllers(folder)

    def group(self, name: str) -> Group:
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


def _make_locked(folder: Path) -> int:
    """Make `folder` and lock it; returns the descriptor that holds the lock. Raises OSError.

    An executor that starts at the same time may find the folder before it is locked, take it for one left behind and
    remove it: then it is made again.
    """
    for _ in range(_ATTEMPTS):
        folder.mkdir(exist_ok=True)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(folder).st_ino == os.fstat(lock).st_ino:
                return lock
        except (BlockingIOError, FileNotFoundError):
            time.sleep(0.002)  # somebody looks whether it lives, or has just removed it
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)
    raise BlockingIOError(errno.EAGAIN, f"other executors keep taking {folder}")


def _remove_stale(parent: Path) -> None:
    """Remove the folders below `parent` that no executor holds; what resists is left to the next one that starts."""
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
            _remove_tree(folder)
        except BlockingIOError:
            continue  # its executor lives
        except FileNotFoundError:
            continue  # another one that starts removed it first
        except OSError as error:
            _log.warning("%s, left by an executor that died, cannot be removed: %s", folder, error)
        finally:
            os.close(lock)


def _kill_all(folder: Path, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pids = read_text(folder / "cgroup.procs").split()
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.005)


def _remove_tree(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir():
            child.rmdir()
    folder.rmdir()
