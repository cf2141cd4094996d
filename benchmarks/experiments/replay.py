"""Samples that were recorded: replayed one by one, judged anew, with no model.

A recording is a file of JSON lines (.gz as well), in one of these forms:

- `{"task_id", "samples": [text, ...]}`: completions of the problem's stub, cut at the first stop string;
- `{"task_id", "completion"}`: one completion a line, as above; several lines of a task are its samples in order;
- `{"task_id", "solution"}`, or `evaluated_solution`, which goes before the others: a whole program a line;
- `{"id", "source_codes": [text, ...]}`: whole programs;
- a .json file with one object, `{task_id: [text, ...]}`: completions;
- the ledger of a run (`benchmarks.experiments.ledger`), for the samples of one of its arms.
"""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Arm, Draw, Task
from benchmarks.experiments.outcome import Outcome

_WHOLE = ("evaluated_solution", "solution")


class Replay:
    """The samples of one recording.

    `stop` cuts completions; `arm` chooses one of a ledger's arms; `imports` are modules that each program finds
    imported, where the recording's own harness had them. Raises CannotRun where the file cannot be read as any of the
    forms, and for an import that is no module's name.
    """

    def __init__(self, path: Path, *, stop: tuple[str, ...] = (), arm: str = "", imports: tuple[str, ...] = ()) -> None:
        self._path = path
        self._stop = stop
        for name in imports:
            if not all(part.isidentifier() for part in name.split(".")):
                raise CannotRun(f"--recorded-imports: {name!r} is no module's name; say some such as math,typing")
        self._imports = imports
        try:
            content = path.read_bytes()
            text = gzip.decompress(content) if path.suffix == ".gz" else content
            lines: list[dict[str, Any]] = _lines(text, whole=".json" in path.suffixes)
        except (OSError, ValueError, EOFError) as error:
            raise CannotRun(f"--recorded: {path} cannot be read as JSON lines: {error}") from error
        self._sha256 = hashlib.sha256(content).hexdigest()
        ledger = bool(lines) and "ledger" in lines[0]
        try:
            outcomes = list(_ledger(lines, arm)) if ledger else []
            found = _programs_of(outcomes) if ledger else [one for line in lines for one in _line(line)]
        except (KeyError, TypeError, ValueError) as error:
            raise CannotRun(f"--recorded: {path} has none of the forms of a recording ({error!r})") from error
        self._arm = arm if ledger else ""
        self._measured = {outcome.id: outcome.measured_by_sample() for outcome in outcomes}
        self._samples: dict[str, list[tuple[bool, str]]] = {}
        for task_id, whole, code in found:
            self._samples.setdefault(task_id, []).append((whole, code))

    def described(self) -> dict[str, Any]:
        """See Programs."""
        return {
            "samples_from": "a recording",
            "recording": self._path.name,
            "recording_sha256": self._sha256,
            **({"recording_arm": self._arm} if self._arm else {}),
            "completions_cut_at": list(self._stop),
            **({"imported_before_each_program": list(self._imports)} if self._imports else {}),
        }

    def has(self, task_id: str) -> bool:
        """Whether there are samples of this problem."""
        return bool(self._of(task_id))

    def fewest(self, task_ids: Iterable[str]) -> int:
        """The smallest number of samples that any of these problems has."""
        return min((len(self._of(task_id)) for task_id in task_ids), default=0)

    def check(self, arm: Arm) -> None:
        """Each task needs as many samples as are asked for."""
        few = [task.id for task in arm.tasks if len(self._of(task.id)) < arm.draw.samples]
        if few:
            raise CannotRun(
                f"{self._path.name} has fewer than {arm.draw.samples} samples for {len(few)} of {len(arm.tasks)} "
                f"problems ({', '.join(few[:5])}); ask for fewer (--samples), or for those recorded (--only-recorded)"
            )

    def draw(self, task: Task, draw: Draw) -> Sequence[str]:
        """See Programs."""
        recorded = self._of(task.id)[: draw.samples]
        head = "".join(f"import {name}\n" for name in self._imports)
        return [head + (code if whole else task.record.stub + cut(code, self._stop)) for whole, code in recorded]

    def measured(self, task: Task, draw: Draw) -> Sequence[tuple[int, float]]:
        """See Programs: known of the samples of a model in a ledger."""
        return self._measured.get(task.id, [])[: draw.samples]

    def _of(self, task_id: str) -> list[tuple[bool, str]]:
        """By our id, or by the one that recordings have: the set before it (Mbpp/2), or no split (train/2000)."""
        names = (task_id, f"Mbpp/{task_id}", task_id.rpartition("/")[2])
        return next((found for name in names if (found := self._samples.get(name))), [])


def cut(text: str, stop: Iterable[str]) -> str:
    """A text up to the first of the stop strings in it."""
    found = [place for one in stop if (place := text.find(one)) >= 0]
    return text[: min(found)] if found else text


def _lines(text: bytes, *, whole: bool) -> list[dict[str, Any]]:
    if whole:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("a .json file is one object of problems and their samples")
        samples: dict[str, Any] = found
        return [{"task_id": name, "samples": texts} for name, texts in samples.items()]
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _line(line: dict[str, Any]) -> Iterator[tuple[str, bool, str]]:
    if "source_codes" in line:
        for text in line["source_codes"]:
            yield str(line["id"]), True, text
        return
    task_id = str(line["task_id"])
    for key in _WHOLE:
        if key in line:
            yield task_id, True, line[key]
            return
    for text in line["samples"] if "samples" in line else [line["completion"]]:
        yield task_id, False, text


def _ledger(lines: list[dict[str, Any]], arm: str) -> Iterator[Outcome]:
    arms = {line["arm"] for line in lines if "arm" in line}
    if arm not in arms and (arm or len(arms) != 1):
        raise CannotRun(f"--recorded-arm: {arm!r} is none of the arms of that run: {', '.join(sorted(arms))}")
    chosen = arm or arms.pop()
    for line in lines:
        if line.get("arm") == chosen:
            yield Outcome.read(line["outcome"])


def _programs_of(outcomes: Iterable[Outcome]) -> list[tuple[str, bool, str]]:
    return [(outcome.id, True, candidate.code) for outcome in outcomes for candidate in outcome.by_sample()]
