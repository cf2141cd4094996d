"""The flight recorder: the last solves of this server, each with its events and the decisions on it, in a folder.

A recording is what `thresher solve --record` writes, and has the decisions beside the events. It is written once its
solve has ended, by a thread; until then it is in memory, where all of them together take no more than they may on the
disk. While the recorder is on, each solve is asked for all of its events; what its caller has not asked for goes into
the recording alone.
"""

import asyncio
import json
import os
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from engine.config_base import ConfigError
from engine.config_recorder import RecorderSettings
from engine.logs import get_logger
from engine.serving.backend import SolverLike
from engine.serving.solve_out import EventWriter
from engine.solving.events import BranchDelta, BranchEnded, BranchStarted, EventBody, SolveEvent, TestFinished
from engine.solving.flight import Decision, recording_to
from engine.solving.spec import EventOptions, SolveSpec
from engine.solving.summary import Summary
from engine.solving.tiers import Cut

VERSION = 1
"""Of the files; `thresher replay` reads it."""
_SUFFIX = ".jsonl"
_NAMES = f"{'[0-9]' * 20}-*{_SUFFIX}"
"""What is a recording; whatever else is in the folder is somebody else's."""
_SECONDS_OF_TEXT = 0.2
_LONGEST_CLOSE = 4.0
_log = get_logger(__name__)


@dataclass(slots=True)
class Room:
    """Bytes that recordings which are not written yet may still take, all together."""

    left: int


class Recording:
    """The lines of one solve, at most `most_bytes` of them, and no more than `room` has, but for its end."""

    def __init__(self, spec: SolveSpec, most_bytes: int, room: Room) -> None:
        self.name = f"{time.time_ns():020d}-{re.sub(r'[^A-Za-z0-9._-]', '_', spec.request_id)[:64]}{_SUFFIX}"
        self._began = time.monotonic()
        self._left = most_bytes
        self._room = room
        self._taken = 0
        self._over = False
        self._left_out = 0
        self._lines: list[str] = []
        problem = {"id": spec.problem_id, "tests": len(spec.tests), "k": spec.sampling.k}
        self._add({"thresher_recording": VERSION, "problem": problem}, needed=True)

    def event(self, document: dict[str, Any], *, last: bool) -> None:
        """An event, as JSON has it."""
        self._add(document, needed=last)

    def decision(self, decision: Decision) -> None:
        """A decision, made now."""
        known = {name: value for name, value in asdict(decision).items() if value is not None}
        self._add({"decision": {**known, "seconds": round(time.monotonic() - self._began, 6)}}, needed=False)

    def text(self) -> str:
        """The whole file."""
        last = [_line({"left_out": self._left_out})] if self._left_out else []
        return "".join([*self._lines, *last])

    def end(self) -> None:
        """It is written, or nobody wants it: its room is free again, and what comes late is not kept."""
        self._over = True
        self._lines.clear()
        self._room.left += self._taken
        self._taken = 0

    def _add(self, document: dict[str, Any], *, needed: bool) -> None:
        if self._over:
            return
        if min(self._left, self._room.left) <= 0 and not needed:
            self._left_out += 1
            return
        line = _line(document)
        size = len(line.encode())
        self._left -= size
        self._room.left -= size
        self._taken += size
        self._lines.append(line)


class Recorder:
    """Keeps the last solves in a folder. Raises ConfigError where that cannot be."""

    def __init__(self, settings: RecorderSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._room = Room(settings.max_bytes)
        self._writing: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._written = ""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "it may not be written to")
        except OSError as error:
            raise ConfigError(f"recorder.folder: {folder} cannot be used: {error.strerror}") from None

    @classmethod
    def of(cls, settings: RecorderSettings) -> "Recorder | None":
        """None where nothing is to be recorded."""
        return None if settings.folder is None else cls(settings, settings.folder)

    async def solve(
        self, solver: SolverLike, spec: SolveSpec, *, deadline: float | None, cut: Cut | None = None
    ) -> AsyncGenerator[SolveEvent, None]:
        """As `solver.solve`, and recorded."""
        asked = replace(spec, events=_all(spec.events))
        writer = EventWriter(asked)
        recording = Recording(spec, self._settings.max_bytes // 4, self._room)
        recording_to.set(recording.decision)  # of this call's own task, or of the solve's
        sequence = 0
        try:
            async with aclosing(solver.solve(asked, deadline=deadline, cut=cut)) as events:
                async for event in events:
                    document = MessageToDict(writer.event(event), preserving_proto_field_name=True)
                    recording.event(document, last=isinstance(event.body, Summary))
                    if _wanted(event.body, spec.events):
                        sequence += 1
                        yield replace(event, sequence=sequence)
        finally:
            if sequence:
                self._keep_later(recording)
            else:
                recording.end()  # one that was refused has nothing to tell

    def _keep_later(self, recording: Recording) -> None:
        """The answer does not wait for the disk."""
        task = asyncio.create_task(self._keep(recording))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def close(self) -> None:
        """Wait until all is written, but not for ever: a disk may hang, a network's say. What is left then is lost."""
        if not self._writing:
            return
        _, left = await asyncio.wait(self._writing, timeout=_LONGEST_CLOSE)
        if not left:
            return
        file = str(self._folder / self._written)
        _log.warning("recordings are lost: the disk does not take them", file=file, recordings=len(left))
        for task in left:
            task.cancel()
        await asyncio.wait(left)

    async def _keep(self, recording: Recording) -> None:
        async with self._turn:
            self._written = recording.name
            try:
                await _in_daemon_thread(lambda: self._write(recording))
            except OSError as error:
                _log.warning("a recording was not written", folder=str(self._folder), error=error.strerror)
            finally:
                recording.end()

    def _write(self, recording: Recording) -> None:
        text = recording.text()  # a disk that hangs here may come back when the recording has been given up
        written = self._folder / recording.name
        handle = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError:
            written.unlink(missing_ok=True)  # half a recording is none, and a full disk is not to fill with them
            raise
        # Names begin with the time, so that their order is that of the solves' beginnings.
        kept, size = 0, 0
        for path in sorted(self._folder.glob(_NAMES), reverse=True):
            kept, size = kept + 1, size + path.stat().st_size
            if kept > self._settings.solves or size > self._settings.max_bytes:
                path.unlink(missing_ok=True)


async def _in_daemon_thread(work: Callable[[], None]) -> None:
    """Do it in a thread that no end of a process waits for, as it does for those of `asyncio.to_thread`."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # it took so long that the loop is closed
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="recorder", daemon=True).start()
    await done


def _line(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False) + "\n"


def _all(events: EventOptions) -> EventOptions:
    interval = events.delta_interval if events.token_deltas else _SECONDS_OF_TEXT
    return EventOptions(token_deltas=True, delta_interval=interval, test_results=True, failing_code=True, branches=True)


def _wanted(body: EventBody, events: EventOptions) -> bool:
    """Whether the caller gets this one."""
    match body:
        case BranchDelta():
            return events.token_deltas
        case BranchStarted() | BranchEnded():
            return events.branches
        case TestFinished():
            return events.test_results
        case _:
            return True
