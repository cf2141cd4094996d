"""Recorded traces: when which entry of a mix was asked for what, as JSON lines (docs/load.md).

    {"trace": 1, "about": "where it is from"}
    {"at": 0.42, "entry": "editor", "problem": "HumanEval/7"}

The first line is for readers and may be left out. `at`: seconds since the trace's beginning. `entry`: by default drawn
by the mix's weights. `problem`: by default the entry's next in turn. Other keys are passed over, so that what a load
test writes for each call (OUT.calls.jsonl) is a trace as well: there `due` stands for `at`. And so is a server's log
(`log.format = "json"`): its calls of Solve and SolveOnce, also those that were refused, each when it came.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.experiments.errors import CannotRun

FORMAT = 1
_OF_LOG = ("/thresher.v1.SynthesisService/Solve", "/thresher.v1.SynthesisService/SolveOnce")


@dataclass(frozen=True, slots=True)
class Point:
    """One call of a trace; an empty entry or problem leaves the choice to who replays it."""

    at: float
    entry: str = ""
    problem: str = ""


def read_trace(path: Path) -> tuple[Point, ...]:
    """The calls of a trace in order of time. Raises CannotRun, which names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}") from error
    logged = list(_log_lines(lines))
    points = _points_of_log(logged) if logged else list(_points(path, lines))
    if not points:
        raise CannotRun(f"{path} holds no call")
    # Calls are written as they end.
    return tuple(sorted(points, key=lambda point: point.at))


def write_trace(path: Path, about: str, points: Iterable[Point]) -> None:
    """Write a trace that `read_trace` reads."""
    lines: list[Mapping[str, Any]] = [{"trace": FORMAT, "about": about}]
    for point in points:
        named = {"entry": point.entry, "problem": point.problem}
        lines.append({"at": round(point.at, 3), **{key: value for key, value in named.items() if value}})
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def _points(path: Path, lines: Sequence[str]) -> Iterator[Point]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found: Any = json.loads(line)
            point = None if number == 1 and "trace" in found else _point(found)
        except (ValueError, TypeError, KeyError) as error:
            raise CannotRun(f'{path}, line {number}: expected {{"at": seconds, ...}}, found {line[:60]!r}') from error
        if point is not None:
            yield point
        elif found["trace"] != FORMAT:
            raise CannotRun(f"{path} is a trace of format {found['trace']}; this version reads {FORMAT}")


def _point(found: Mapping[str, Any]) -> Point:
    at = float(found["at"] if "at" in found else found["due"])
    if at < 0:
        raise ValueError(at)
    return Point(at, str(found.get("entry", "")), str(found.get("problem", "")))


def _log_lines(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """The lines of a server's log; whatever else the process says goes to the same file."""
    for line in lines:
        try:
            found: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "event" in found and "timestamp" in found:
            yield found


def _points_of_log(lines: Iterable[Mapping[str, Any]]) -> list[Point]:
    """A call is logged as it ends, with its length."""
    came = [
        datetime.fromisoformat(line["timestamp"]).timestamp() - float(line["seconds"])
        for line in lines
        if line["event"] == "call" and line["method"] in _OF_LOG
    ]
    first = min(came, default=0.0)
    return [Point(round(when - first, 4)) for when in came]
