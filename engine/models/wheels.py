"""Wheels as a mirror of model files: found by pip, fetched here so that an interrupted download can go on."""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.models.errors import BrokenOff, SourceFailed

Expect = Callable[[int], None]

_CHUNK = 1 << 20
_POLL_SECONDS = 0.2
_SILENCE_SECONDS = 20.0
_PARTIAL, _NOTHING_BEYOND = 206, 416
_PIP = (sys.executable, "-m", "pip")
_QUIET = (
    *("--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check"),
    *("--quiet", "--retries", "2", "--timeout", "15"),
)


def unfinished_wheel(package: str, version: str, folder: Path) -> Path:
    """Where a download lies while it is not complete."""
    return folder / f".{package}-{version}.whl.part"


@contextmanager
def fetched_wheel(package: str, version: str, folder: Path, expect: Expect) -> Generator[Path]:
    """The whole wheel as a file, which goes away afterwards; what an interruption leaves is continued the next time.

    pip says where it is, so its settings (index, mirrors, proxies) hold; where only pip can fetch it, by credentials or
    certificates of its own, it does, and an interrupted download then begins anew. `expect` hears the bytes that have
    arrived. Raises SourceFailed.
    """
    url, sha256 = _find(package, version)
    path = unfinished_wheel(package, version, folder)
    try:
        if not (path.exists() and _is_right(path, sha256)):
            try:
                _continue(url, path, expect)
            except urllib.error.URLError:
                _fetch_by_pip(package, version, folder, path, expect)
            if not _is_right(path, sha256):
                raise SourceFailed(f"{package}=={version}: the index delivered other bytes than it announced")
        yield path
    except BrokenOff:
        raise
    except SourceFailed:
        path.unlink(missing_ok=True)
        raise
    path.unlink()


def _find(package: str, version: str) -> tuple[str, str | None]:
    """Address and sha256 of the wheel that pip would take."""
    command = [*_PIP, "install", "--dry-run", "--ignore-installed", "--report", "-", *_QUIET, f"{package}=={version}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        raise _pip_failed(package, version, done.returncode, done.stderr)
    try:
        (found,) = json.loads(done.stdout)["install"]
        archive: dict[str, Any] = found["download_info"].get("archive_info", {})
        return found["download_info"]["url"], archive.get("hashes", {}).get("sha256")
    except (ValueError, KeyError) as error:
        raise SourceFailed(f"{package}=={version}: pip's report cannot be read: {error}") from error


def _is_right(path: Path, sha256: str | None) -> bool:
    if sha256 is None:
        return True  # the model's own hash decides
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _continue(url: str, path: Path, expect: Expect) -> None:
    """Fetch what is missing of the file. URLError if there is no answer, BrokenOff if it ends too early."""
    with path.open("ab") as file:
        start = file.tell()
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=_SILENCE_SECONDS
            ) as answer:
                if start and answer.status != _PARTIAL:
                    file.truncate(0)
                left = int(answer.headers.get("Content-Length") or 0)
                while chunk := answer.read(_CHUNK):
                    file.write(chunk)
                    expect(file.tell())
                    left -= len(chunk)
        except urllib.error.HTTPError as error:
            if error.code != _NOTHING_BEYOND or not start:
                raise
            left = 0
            file.truncate(0)  # more than the whole wheel: it was none of it
        except urllib.error.URLError:
            raise
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOff(f"broke off: {error}") from error
        empty = not path.stat().st_size
    if left > 0:
        raise BrokenOff(f"broke off {left} bytes before the end")
    if empty and start:
        _continue(url, path, expect)


def _fetch_by_pip(package: str, version: str, folder: Path, path: Path, expect: Expect) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".wheel-") as temporary:
        incoming, target, errors = Path(temporary, "incoming"), Path(temporary, "wheel"), Path(temporary, "errors")
        incoming.mkdir()
        with errors.open("w+b") as log:
            process = subprocess.Popen(
                [*_PIP, "download", *_QUIET, "--dest", str(target), f"{package}=={version}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                # pip collects a download in the folder for temporary files, where it can be watched.
                env=os.environ | {"TMPDIR": str(incoming)},
            )
            try:
                while process.poll() is None:
                    expect(_size(incoming))
                    time.sleep(_POLL_SECONDS)
            finally:
                process.kill()
                process.wait()
        wheels = sorted(target.glob("*.whl"))
        if process.returncode != 0 or len(wheels) != 1:
            raise _pip_failed(package, version, process.returncode, errors.read_bytes())
        shutil.move(wheels[0], path)


def _pip_failed(package: str, version: str, status: int, errors: bytes) -> SourceFailed:
    lines = errors.decode(errors="replace").strip().splitlines()
    return SourceFailed(f"{package}=={version}: {lines[-1] if lines else f'pip exited with status {status}'}")


def _size(folder: Path) -> int:
    total = 0
    for place, _, names in folder.walk():
        for name in names:
            try:
                total += (place / name).stat().st_size
            except FileNotFoundError:
                continue  # pip tidies up meanwhile
    return total
