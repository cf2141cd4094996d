"""Whether the weights and the pages of several models fit into this machine's memory together.

Pages are mapped when they are first written: models that ask for too much would start well, and be killed later.
"""

from pathlib import Path

from engine.loop.messages import Ready

_CGROUPS = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")


class ModelsDoNotFit(Exception):
    """The models need more memory than there is; the message says which of them needs what."""


class Memory:
    """What was free before any model was loaded, and what the loaded ones need of it."""

    def __init__(self, free: int) -> None:
        self._free = free
        self._loaded: dict[str, Ready] = {}

    def take(self, model: str, facts: Ready) -> None:
        """A model is loaded. Raises ModelsDoNotFit if not all pages of all models loaded so far fit beside them."""
        self._loaded[model] = facts
        needed = sum(one.resident_bytes + one.pool_bytes for one in self._loaded.values())
        if len(self._loaded) > 1 and needed > self._free:
            each = ", ".join(
                f"{name} {_size(one.resident_bytes)} and {_size(one.pool_bytes)} for pages"
                for name, one in self._loaded.items()
            )
            raise ModelsDoNotFit(
                f"the models do not fit into memory together: {each}, in all {_size(needed)}, and {_size(self._free)} "
                "were free; give engine.kv_bytes or kv_bytes in engine.shares less, or serve fewer models"
            )


def free_bytes(memory: Path = _MEMORY, cgroups: Path = _CGROUPS) -> int:
    """Bytes that new processes may take: what the machine has available, or less where a control group says so."""
    lines = dict(line.split(":", 1) for line in memory.read_text().splitlines())
    available = int(lines["MemAvailable"].split()[0]) << 10
    limit = cgroup_limit(cgroups, "memory.max", "memory/memory.limit_in_bytes")
    return available if limit is None else min(available, limit)


def cgroup_limit(cgroups: Path, *names: str) -> int | None:
    """The first limit that there is, of control groups v2 or v1; None is no bound."""
    for name in names:
        try:
            text = (cgroups / name).read_text().strip()
        except OSError:
            continue
        # v1 says "none" by the largest number of pages.
        return int(text) if text.isdecimal() and int(text) < 1 << 60 else None
    return None


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
