"""A recorded solve: its events as lines of JSON, read by `thresher replay`.

`thresher solve --record` writes them, and so does a server with `recorder.folder`, which puts its decisions between.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from thresher.v1 import solve_pb2

VERSION = 1
_MOST_BYTES = 64 << 20


class BadRecording(Exception):
    """A file that is no recording, or one of another version; the text says which."""


class Recorder:
    """Writes a recording of at most 64 MiB; use it as a context manager, and give it each event.

    What comes beyond that is left out but for the summary, and the file says so. It holds programs, so only its owner
    may read it. Raises OSError for a file that cannot be written.
    """

    def __init__(self, path: Path, spec: solve_pb2.SolveSpec, most_bytes: int = _MOST_BYTES) -> None:
        self._left = most_bytes
        self._left_out = 0
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = os.fdopen(handle, "w", encoding="utf-8")
        self._write({"thresher_recording": VERSION, "problem": _asked(spec)})

    def handle(self, event: solve_pb2.SolveEvent) -> None:
        """Takes one event in."""
        document = MessageToDict(event, preserving_proto_field_name=True)
        if self._left > 0 or event.HasField("summary"):
            self._write(document)
        else:
            self._left_out += 1

    def _write(self, document: dict[str, Any]) -> None:
        line = json.dumps(document, ensure_ascii=False) + "\n"
        self._left -= len(line.encode())
        self._file.write(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._left_out:
            self._write({"left_out": self._left_out})
        self._file.close()


def _asked(spec: solve_pb2.SolveSpec) -> dict[str, Any]:
    return {
        "id": spec.problem.problem_id,
        "tests": len(spec.problem.tests),
        "k": spec.sampling.k if spec.sampling.HasField("k") else None,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was asked, the events, the decisions of a server's recorder (engine.solving.flight.Decision, with
    `seconds` since the solve was accepted), and how many of both were left out."""

    problem: dict[str, Any]
    events: list[solve_pb2.SolveEvent]
    decisions: list[dict[str, Any]]
    left_out: int


def read_recording(path: Path) -> Recorded:
    """A recording. Raises BadRecording."""
    try:
        # Not splitlines: JSON leaves U+2028 and its like in a program's text as they are.
        lines = path.read_text(encoding="utf-8").split("\n")
        head, *rest = [json.loads(line) for line in lines if line.strip()] or [{}]
    except OSError as error:
        raise BadRecording(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise BadRecording(f"{path} is no recording of a solve: {error}") from None
    version = head.get("thresher_recording") if isinstance(head, dict) else None
    if version != VERSION:
        said = "no recording of a solve" if version is None else f"a recording of version {version}"
        raise BadRecording(f"{path} is {said}; this program reads version {VERSION}")
    return Recorded(
        problem=head["problem"],
        events=list(_events(path, rest)),
        decisions=[line["decision"] for line in rest if "decision" in line],
        left_out=sum(line.get("left_out", 0) for line in rest),
    )


def _events(path: Path, lines: Iterable[dict[str, Any]]) -> Iterable[solve_pb2.SolveEvent]:
    for line in lines:
        if "left_out" in line or "decision" in line:
            continue
        try:
            yield ParseDict(line, solve_pb2.SolveEvent(), ignore_unknown_fields=True)
        except ParseError as error:
            raise BadRecording(f"{path}: a line is no event: {error}") from None
