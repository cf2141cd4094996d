"""What is asked for: a mix file (docs/load.md), or one set with the same options for every problem."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thresher.client import ProblemError, load_document, solve_spec
from thresher.client.reader import Reader
from thresher.v1 import solve_pb2

from benchmarks import data
from benchmarks.experiments.errors import CannotRun

_PASSED_ON = ("policy", "priority", "sampling", "budget", "limits", "model", "stop_after_passes")
"""Keys of an entry that are those of a problem file, for each of its problems."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """A share of the calls is cancelled by the client, between so many and so many seconds after they were due."""

    share: float
    after: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kind of caller. `specs` are its problems as requests, asked for in turn; `problems` are their names.

    weight: how often it is chosen beside the others. clients: so many names take turns. timeout: the deadline of each
    call in seconds; None for none. asked: what the file says, for the protocol.
    """

    name: str
    weight: float
    specs: tuple[solve_pb2.SolveSpec, ...]
    problems: tuple[str, ...]
    clients: int = 1
    timeout: float | None = None
    cancel: Cancel | None = None
    asked: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Mix:
    """All kinds of callers."""

    entries: tuple[Entry, ...]

    def find(self, name: str) -> int:
        """The number of an entry. Raises CannotRun."""
        names = [entry.name for entry in self.entries]
        if name not in names:
            raise CannotRun(f"the mix has no entry {name!r}; it has: {', '.join(names)}")
        return names.index(name)

    def within(self, timeout: float) -> "Mix":
        """The same with no call longer than `timeout` seconds."""
        return Mix(
            tuple(
                dataclasses.replace(entry, timeout=timeout if entry.timeout is None else min(timeout, entry.timeout))
                for entry in self.entries
            )
        )

    @property
    def protocol(self) -> list[dict[str, Any]]:
        """What is asked for, as JSON values."""
        return [
            {"name": entry.name, "weight": entry.weight, "timeout": entry.timeout, **entry.asked}
            for entry in self.entries
        ]


def read_mix(path: Path, folder: Path | None = None) -> Mix:
    """A mix file; `folder` holds the problem sets (--data). Raises ProblemError, DataError, CannotRun and OSError."""
    reader = Reader(load_document(path))
    listed: list[Any] = reader.take("mix", list)
    reader.done()
    if not listed:
        raise ProblemError("mix", "is empty; name at least one entry")
    entries = tuple(_entry(Reader(one, f"mix[{n}]"), path.parent, folder) for n, one in enumerate(listed))
    names = [entry.name for entry in entries]
    if len(set(names)) != len(names):
        raise ProblemError("mix", f"two entries have one name: {', '.join(sorted(names))}")
    return Mix(entries)


def mix_of(document: Mapping[str, Any], folder: Path | None = None) -> Mix:
    """A mix of one entry, given as a mix file would have it. Raises as `read_mix` does."""
    return Mix((_entry(Reader(document), Path(), folder),))


def _entry(reader: Reader, beside: Path, folder: Path | None) -> Entry:
    name = reader.take("name", str)
    weight = _above_zero(reader, "weight", reader.take("weight", float, 1.0))
    problems = reader.take_any("problems") if reader.has("problems") else None
    first, count = reader.take("first", int, 0), reader.take("count", int, None)
    ask = reader.take("ask", str, None)
    if ask not in (None, "stub", "words"):
        raise ProblemError(reader.path("ask"), f"{ask!r} is neither stub nor words")
    passed_on = {key: reader.take_any(key) for key in _PASSED_ON if reader.has(key)}
    documents = _documents(reader, problems, beside, folder, ask)[first : None if count is None else first + count]
    if not documents:
        raise ProblemError(reader.path("problems"), f"none is left from number {first} on")
    specs = [_spec({**document, **passed_on}, reader.path("problems")) for document in documents]
    timeout = reader.take("timeout", float, None)
    entry = Entry(
        name=name,
        weight=weight,
        specs=tuple(specs),
        problems=tuple(str(one.get("problem_id", f"{name}/{n}")) for n, one in enumerate(documents, first)),
        clients=int(_above_zero(reader, "clients", reader.take("clients", int, 1))),
        timeout=None if timeout is None else _above_zero(reader, "timeout", timeout),
        cancel=_cancel(reader),
        asked={
            "problems": problems if isinstance(problems, str) else len(documents),
            "first": first,
            "count": len(documents),
            **({} if ask is None else {"ask": ask}),
            **passed_on,
        },
    )
    reader.done()
    return entry


def _documents(
    reader: Reader, problems: Any, beside: Path, folder: Path | None, ask: Any
) -> Sequence[Mapping[str, Any]]:
    """Problem documents of a set by its name or file, or of a list of problem files and documents."""
    if isinstance(problems, str):
        path = beside / problems
        found = data.load(str(path) if path.is_file() else problems, data=folder)
        # Where no test may be shown, those that a person holds back decide (HumanEval).
        return [
            data.document(record, ask=ask, held_out="hidden" if record.visible else "decide")
            for record in found.records
        ]
    if not isinstance(problems, list) or ask is not None:
        what = "a set, a .jsonl file, or a list of problem files and problems; `ask` goes with the first two"
        raise ProblemError(reader.path("problems"), f"expected {what}")
    listed: list[Any] = problems
    return [load_document(beside / one) if isinstance(one, str) else one for one in listed]


def _spec(document: Mapping[str, Any], path: str) -> solve_pb2.SolveSpec:
    if document.get("request_id"):
        raise ProblemError(f"{path}.request_id", "each call gets one of its own; leave it out")
    return solve_spec(document)


def _cancel(reader: Reader) -> Cancel | None:
    section = reader.section("cancel")
    if section is None:
        return None
    share: float = section.take("share", float)
    after: list[Any] = section.take("after", list)
    if not 0 < share <= 1:
        raise ProblemError(section.path("share"), f"{share:g} is no share above 0 and up to 1")
    if len(after) != 2 or not all(isinstance(one, int | float) for one in after) or not 0 <= after[0] <= after[1]:
        raise ProblemError(section.path("after"), f"{after} is not [least, most] seconds")
    section.done()
    return Cancel(share=share, after=(float(after[0]), float(after[1])))


def _above_zero(reader: Reader, key: str, value: float) -> float:
    if value <= 0:
        raise ProblemError(reader.path(key), f"expected a number above 0, found {value:g}")
    return value
