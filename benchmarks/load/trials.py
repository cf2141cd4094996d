"""Runs of a knee search on disk, a line each, so that a search that was killed goes on where it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.experiments.errors import LedgerError, OtherProtocol
from benchmarks.experiments.ledger import differences


class Trials:
    """A JSON lines file: the protocol first, then a line for each run, found again by its rate and number.

    Raises OtherProtocol where the file holds a search by another protocol, LedgerError where it holds something else.
    """

    def __init__(self, path: Path, protocol: Mapping[str, Any]) -> None:
        self.path = path
        self._found: dict[tuple[float, int], dict[str, Any]] = {}
        plain: dict[str, Any] = json.loads(json.dumps(protocol))
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        # A last line without an end was being written when the search was killed.
        whole = content[: content.rfind(b"\n") + 1]
        path.write_bytes(whole or json.dumps({"protocol": plain}).encode() + b"\n")
        if not whole:
            return
        try:
            head, *lines = [json.loads(line) for line in whole.splitlines()]
            recorded: dict[str, Any] = head["protocol"]
            self._found = {(line["rate"], line["run"]): line for line in lines}
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(f"{path} holds no runs of a knee search ({error}); name another file") from error
        if recorded != plain:
            shown = "\n".join(f"  {line}" for line in differences(recorded, plain))
            raise OtherProtocol(
                f"{path} holds a search by another protocol:\n{shown}\nrun that one to its end, name another file by "
                "--out, or delete this one"
            )

    @property
    def all(self) -> list[dict[str, Any]]:
        """Every run so far."""
        return list(self._found.values())

    def get(self, rate: float, run: int) -> dict[str, Any] | None:
        """A run that was made before."""
        return self._found.get((rate, run))

    def add(self, rate: float, run: int, values: Mapping[str, Any]) -> None:
        """Keep a run."""
        line = {"rate": rate, "run": run, **values}
        self._found[rate, run] = line
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
