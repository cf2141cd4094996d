"""What a server's log says of each solve that ended (`solve_ended`): all there is of those whose client has left."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One solve as the server has counted it. accounting: without the figures that are zero."""

    id: str
    model: str
    outcome: str
    priority: str
    accounting: dict[str, Any] = field(default_factory=dict[str, Any])
    verdicts: dict[str, int] = field(default_factory=dict[str, int])


class ServerLog:
    """A log file that a server (`log.format = "json"`) is writing to, read from where it was when this was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._from = path.stat().st_size

    def receipts(self) -> list[Receipt]:
        """Those that were written since."""
        with self._path.open("rb") as file:
            file.seek(self._from)
            return list(_receipts(file))


def _receipts(lines: Iterable[bytes]) -> Iterable[Receipt]:
    for line in lines:
        # Whatever else the process says goes to the same file.
        if b'"solve_ended"' not in line:
            continue
        try:
            found: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and found.get("event") == "solve_ended":
            yield Receipt(
                id=found["request_id"],
                model=found["model"],
                outcome=found["outcome"],
                priority=found["priority"],
                accounting=found["accounting"],
                verdicts=found["verdicts"],
            )
