"""What the control groups of this process leave it: the limits of its own group, and of each group around that one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ControlGroups:
    """The groups that hold this process, of v1, v2 or both.

    `root` is where they are mounted: v2 itself, or a folder for each controller of v1, and `unified` for v2 beside
    them. `own` is /proc/self/cgroup, with a line `id:controllers:path` for each hierarchy; v2 has no controllers there.
    """

    root: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")

    def limit(self, controller: str, name: str, old_name: str) -> int | None:
        """The smallest limit, by the file that v2 or v1 has for it; None is no bound."""
        found = [*self._each("", _number(name)), *self._each(controller, _number(old_name))]
        return min(found, default=None)

    def cores(self) -> float | None:
        """The smallest share of time that a quota gives, in cores; None without one."""
        return min([*self._each("", _quota), *self._each("cpu", _old_quota)], default=None)

    def _each[T: (int, float)](self, controller: str, read: Callable[[Path], T | None]) -> Iterator[T]:
        """What is said by the groups that this process is in for a controller; "" is v2."""
        roots = (self.root / controller,) if controller else (self.root, self.root / "unified")
        parts = self._path(controller)
        for root in roots:
            # A limit holds for all that is below it, so that those further up count too. In a container the path may be
            # that of the host, of which only the end is mounted: what does not exist says nothing.
            for length in range(len(parts) + 1):
                try:
                    found = read(root.joinpath(*parts[:length]))
                except (OSError, ValueError):
                    continue
                if found is not None:
                    yield found

    def _path(self, controller: str) -> tuple[str, ...]:
        try:
            lines = self.own.read_text().splitlines()
        except OSError:
            return ()
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                parts = Path(path.lstrip("/")).parts
                return () if ".." in parts else parts  # outside of what this process sees
        return ()


def _number(name: str) -> Callable[[Path], int | None]:
    def read(folder: Path) -> int | None:
        text = (folder / name).read_text().strip()
        # v1 says "none" by the largest number of pages, or by -1; v2 by "max".
        return int(text) if text.isdecimal() and int(text) < 1 << 60 else None

    return read


def _quota(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _old_quota(folder: Path) -> float | None:
    quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
    return None if quota < 0 else quota / period
