"""Whether the weights and the pages of several models fit into this machine's memory together.

Pages are mapped when they are first written: models that ask for too much would start well, and be killed later.
"""

from pathlib import Path

from engine.loop.messages import Ready
from engine.solving.control_groups import ControlGroups

_GROUPS = ControlGroups()
_MEMORY = Path("/proc/meminfo")


class ModelsDoNotFit(Exception):
    """The models need more memory than there is; the message says which of them needs what."""


class Memory:
    """What was free before any model was loaded, and what the loaded ones need of it. None is unknown."""

    def __init__(self, free: int | None) -> None:
        self._free = free
        self._loaded: dict[str, Ready] = {}

    def take(self, model: str, facts: Ready) -> None:
        """A model is loaded. Raises ModelsDoNotFit if not all pages of all models loaded so far fit beside them."""
        self._loaded[model] = facts
        needed = sum(one.resident_bytes + one.pool_bytes for one in self._loaded.values())
        if len(self._loaded) > 1 and self._free is not None and needed > self._free:
            each = ", ".join(
                f"{name} {_size(one.resident_bytes)} and {_size(one.pool_bytes)} for pages"
                for name, one in self._loaded.items()
            )
            raise ModelsDoNotFit(
                f"the models do not fit into memory together: {each}, in all {_size(needed)}, and {_size(self._free)} "
                "were free; give engine.kv_bytes or kv_bytes in engine.shares less, or serve fewer models"
            )


def free_bytes(memory: Path = _MEMORY, groups: ControlGroups = _GROUPS) -> int | None:
    """Bytes that new processes may take: what the machine has available, or less where a control group says so.

    None where neither says anything.
    """
    limit = groups.limit("memory", "memory.max", "memory.limit_in_bytes")
    return min((size for size in (_available(memory), limit) if size is not None), default=None)


def _available(memory: Path) -> int | None:
    try:
        lines = [line.split() for line in memory.read_text().splitlines()]
    except OSError:
        return None
    sizes = {words[0].removesuffix(":"): int(words[1]) << 10 for words in lines if len(words) > 1}
    if "MemAvailable" in sizes or "MemFree" not in sizes:
        return sizes.get("MemAvailable")
    # Kernels before 3.14, and some containers' own files. What Linux counted then (34e431b0ae39), but for the few pages
    # below the low watermarks; not Cached, of which shared memory is a part that cannot be freed.
    return sum(sizes.get(name, 0) for name in ("MemFree", "Active(file)", "Inactive(file)", "SReclaimable"))


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"
