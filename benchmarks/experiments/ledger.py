"""What a run has done so far, on disk: one line a problem, so that a run that was killed goes on where it was.

A ledger is a JSON lines file. Its first line holds the protocol; then come lines for sessions (who ran it, when, on
what), for sources (what the samples came from, as it said itself) and for outcomes. A line is on the disk before the
next problem is counted as done; a last line without an end was being written when the run was killed, and goes.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.experiments.errors import LedgerError, OtherProtocol
from benchmarks.experiments.experiment import fingerprint
from benchmarks.experiments.outcome import Outcome

FORMAT = 1
_SHOWN = 12


class Ledger:
    """Use in a `with` statement: the file is held by this process meanwhile.

    `outcomes` maps (arm, problem) to what is done. Raises OtherProtocol, LedgerError.
    """

    def __init__(self, path: Path, protocol: Mapping[str, Any]) -> None:
        self.path = path
        self.protocol: dict[str, Any] = json.loads(json.dumps(protocol))
        self.sources: dict[str, dict[str, Any]] = {}
        self.sessions: list[dict[str, Any]] = []
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self._new = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise LedgerError(f"{path} cannot be written: {error}; name another file by --out") from error
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def add(self, arm: str, outcome: Outcome) -> None:
        """Keep what came of a problem; it is on the disk when this returns."""
        self.outcomes[arm, outcome.id] = outcome
        self._append({"arm": arm, "outcome": outcome.plain()})

    def add_session(self, session: Mapping[str, Any]) -> None:
        """Keep who works on this run from here on."""
        self.sessions.append(dict(session))
        self._append({"session": self.sessions[-1]})

    def require_source(self, model: str, said: Mapping[str, Any]) -> None:
        """The samples of one model come from one source: what it says of itself is kept, or must be what was kept.

        Raises OtherProtocol where it is not.
        """
        values: dict[str, Any] = json.loads(json.dumps(said))
        if model not in self.sources:
            self.sources[model] = values
            self._append({"source": values, "model": model})
        elif self.sources[model] != values:
            raise OtherProtocol(self._refusal(self.sources[model], values))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._new and not self.outcomes:
            self.path.unlink(missing_ok=True)  # a run that could not begin leaves nothing behind
        self._file.close()

    def _open(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LedgerError(f"{self.path} is in use by another run; wait for it, or name another file") from error
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            self._new = True
            self._file.truncate(0)
            self._append({"ledger": FORMAT, "fingerprint": fingerprint(self.protocol), "protocol": self.protocol})
            return
        try:
            head, *lines = [json.loads(line) for line in whole.splitlines()]
            known = head["ledger"] == FORMAT
            recorded: dict[str, Any] = head["protocol"]
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(f"{self.path} is not a ledger of a run ({error}); name another file") from error
        if not known:
            raise LedgerError(f"{self.path} has the format {head['ledger']}, this is {FORMAT}; name another file")
        if recorded != self.protocol:
            raise OtherProtocol(self._refusal(recorded, self.protocol))
        self._file.truncate(len(whole))
        for line in lines:
            self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "session" in line:
            self.sessions.append(line["session"])
        elif "source" in line:
            self.sources[line["model"]] = line["source"]
        else:
            outcome = Outcome.read(line["outcome"])
            self.outcomes[line["arm"], outcome.id] = outcome

    def _append(self, values: Mapping[str, Any]) -> None:
        # ASCII only: programs may hold lone surrogates, which are no UTF-8.
        self._file.write(json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _refusal(self, recorded: dict[str, Any], now: dict[str, Any]) -> str:
        lines = differences(recorded, now)
        more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        shown = "\n".join(f"  {line}" for line in lines[:_SHOWN])
        return (
            f"{self.path} holds a run by another protocol:\n{shown}{more}\n"
            "run that one to its end, name another file by --out, or delete this one"
        )


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two protocols differ, one line each."""
    before, after = _flat(recorded), _flat(now)
    return [
        f"{key}: recorded {_shown(before, key)}, now {_shown(after, key)}"
        for key in sorted({*before, *after})
        if before.get(key, ...) != after.get(key, ...)
    ]


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key])[:80] if key in values else "nothing"


def _flat(values: Any, path: str = "") -> dict[str, Any]:
    if isinstance(values, Mapping) and values:
        return {key: leaf for name, value in values.items() for key, leaf in _flat(value, f"{path}.{name}").items()}
    if isinstance(values, list) and values:
        # Arms are told apart by their names, not by their places.
        named = {
            (item["name"] if isinstance(item, dict) and "name" in item else i): item for i, item in enumerate(values)
        }
        return {key: leaf for name, value in named.items() for key, leaf in _flat(value, f"{path}[{name}]").items()}
    return {path.removeprefix("."): values}
