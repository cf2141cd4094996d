"""What a stretch of work costs, everything counted: a control group of its own holds this process and all it starts."""

import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds: of the wall clock and of CPU. `a - b` is what went by from b to a.

    `cpu` is all that the control group used: this process, its helpers and every jail, the killed ones too. `host` is
    this process, `helpers` its direct children (the spawner). `machine` is how long the machine's cores were busy: on a
    quiet machine it exceeds `cpu` by the kernel's own threads, which clean up after namespaces and groups.
    """

    wall: float
    cpu: float
    host: float
    helpers: float
    machine: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(
            self.wall - other.wall,
            self.cpu - other.cpu,
            self.host - other.host,
            self.helpers - other.helpers,
            self.machine - other.machine,
        )

    def per(self, count: int) -> dict[str, float]:
        """CPU milliseconds for each of `count` pieces of work, by who used them."""
        parts = {
            "total": self.cpu,
            "executor": self.host,
            "spawner": self.helpers,
            "jails": self.cpu - self.host - self.helpers,
            "machine_busy": self.machine,
        }
        return {name: round(1000 * seconds / count, 2) for name, seconds in parts.items()}


class Ledger:
    """The control group (version 2) that this process is in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def cpu_stat(self) -> Path:
        """The file with the CPU time of the group and of all groups below, those that are gone included."""
        return self.folder / "cpu.stat"

    def read(self) -> Cost:
        """Where the clocks stand."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return Cost(
            wall=time.monotonic(),
            cpu=cpu_seconds(self.cpu_stat),
            host=usage.ru_utime + usage.ru_stime,
            helpers=sum(_main_thread_seconds(pid) for pid in children()),
            machine=_machine_seconds(),
        )

    def yardstick(self, runs: int = 20) -> float:
        """CPU milliseconds of `python -I -c pass`, the median: how fast this machine is just now."""
        times: list[float] = []
        for _ in range(runs):
            before = cpu_seconds(self.cpu_stat)
            subprocess.run([sys.executable, "-I", "-c", "pass"], check=True)
            times.append(1000 * (cpu_seconds(self.cpu_stat) - before))
        return middle(times)

    def processes(self) -> set[int]:
        """All live processes of the group and of those below it."""
        found: set[int] = set()
        for folder in self.groups():
            try:
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
            except (FileNotFoundError, OSError):
                continue  # it was removed under our eyes
        return found

    def groups(self) -> list[Path]:
        """The group and all groups below it."""
        return [Path(path) for path, _, _ in os.walk(self.folder)]


@contextmanager
def ledger() -> Generator[Ledger]:
    """Move this process into a new group for as long as it lasts.

    Raises:
        RuntimeError: there is no writable cgroup v2 hierarchy, so CPU time cannot be measured here.
    """
    root = _second_version()
    before = root / _own_path().lstrip("/")
    folder = before / f"benchmark.{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "cgroup.procs").write_text(str(os.getpid()))
    except OSError as error:
        raise RuntimeError(f"CPU time is measured by a cgroup v2 group, which cannot be made here: {error}") from None
    try:
        yield Ledger(folder)
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()))
        folder.rmdir()


def cpu_seconds(cpu_stat: Path) -> float:
    """User and system time of a group, in seconds."""
    for line in cpu_stat.read_text().splitlines():
        key, _, value = line.partition(" ")
        if key == "usage_usec":
            return int(value) / 1e6
    raise RuntimeError(f"{cpu_stat} has no usage_usec")


def children() -> list[int]:
    """Direct children of this process (of its main thread, which starts them all)."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Count, p50, p95, p99 (nearest rank) and maximum."""
    ordered = sorted(values)

    def rank(share: float) -> float:
        return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], digits)

    return {
        "count": len(ordered),
        "p50": rank(0.5),
        "p95": rank(0.95),
        "p99": rank(0.99),
        "max": round(ordered[-1], digits),
    }


def middle(values: Sequence[float], digits: int = 2) -> float:
    """The median, rounded."""
    return round(statistics.median(values), digits)


def _main_thread_seconds(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _machine_seconds() -> float:
    # user nice system idle iowait irq softirq steal: all but idle, iowait and what the hypervisor took
    fields = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields[:3]) + sum(fields[5:7])) / _TICK


def _second_version() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        fields = line.split()
        if fields[2] == "cgroup2":
            return Path(fields[1])
    raise RuntimeError("CPU time is measured by a cgroup v2 group: no such hierarchy is mounted")


def _own_path() -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        if line.startswith("0::"):
            return line[3:]
    raise RuntimeError("CPU time is measured by a cgroup v2 group: this process is in none")
