"""Where a local server is found: its socket and its runtime file. Standard library only; server and client share it.

The folder is `$XDG_RUNTIME_DIR/thresher`, or `/tmp/thresher-<uid>` where that variable names no folder of this user.
The server writes `server.json` into it: {"address": "unix:/...", "pid": 123, "token_file": null, "tls": false}.
Beside it each server keeps the same of its own as `server-<pid>.json`: when one ends, clients find one that still runs.
"""

import json
import os
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


class UnsafeRuntimeDir(Exception):
    """The folder belongs to somebody else or is open to others, so what lies in it cannot be trusted."""


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """A running server: where it listens, its process, the file with its bearer token where it wants one, and whether
    it speaks TLS there."""

    address: str
    pid: int
    token_file: str | None = None
    tls: bool = False

    @property
    def alive(self) -> bool:
        """Whether that process still exists."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def runtime_dir() -> Path:
    """The folder's path; it may not exist yet."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        try:
            found = Path(base).stat()
        except OSError:
            found = None
        # sudo and su may leave another user's folder in the variable.
        if found is not None and stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            return Path(base) / "thresher"
    return Path(f"/tmp/thresher-{os.getuid()}")


def ensure_runtime_dir() -> Path:
    """Makes the folder with mode 0700 where it is missing. Raises UnsafeRuntimeDir where it is not ours alone."""
    folder = runtime_dir()
    folder.mkdir(mode=0o700, exist_ok=True)
    _require_own(folder)
    return folder


def default_socket() -> Path:
    """Path of the Unix socket that a server listens on unless told otherwise."""
    return runtime_dir() / "thresher.sock"


def runtime_file() -> Path:
    """Path of the runtime file."""
    return runtime_dir() / "server.json"


def write_runtime_file(info: RuntimeInfo) -> Path:
    """Writes the runtime file in one step, mode 0600. The last server to start is the one that clients find."""
    folder = ensure_runtime_dir()
    _write(folder / f"server-{info.pid}.json", info)
    return _write(runtime_file(), info)


def _write(path: Path, info: RuntimeInfo) -> Path:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".server-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(info), file)
    Path(temporary).replace(path)
    return path


def read_runtime_file() -> RuntimeInfo | None:
    """What the runtime file says; None where there is none.

    Raises UnsafeRuntimeDir, or ValueError where the file is not what a server writes.
    """
    return _read(runtime_file())


def _read(path: Path) -> RuntimeInfo | None:
    if not path.exists():
        return None
    _require_own(path.parent)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        address, pid, token_file = found["address"], found["pid"], found.get("token_file")
        tls = found.get("tls", False)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a runtime file of Thresher ({error}); remove it") from error
    kinds = isinstance(address, str) and type(pid) is int and isinstance(token_file, str | None) and type(tls) is bool
    if not kinds:
        raise ValueError(f"{path} is not a runtime file of Thresher (a value has the wrong type); remove it")
    return RuntimeInfo(address, pid, token_file, tls)


def remove_runtime_file(pid: int) -> bool:
    """Removes the runtime file if it is that of process `pid`, or leaves it to the youngest server that still runs;
    says whether it was."""
    try:
        info = read_runtime_file()
    except ValueError:
        return False
    runtime_file().with_name(f"server-{pid}.json").unlink(missing_ok=True)
    if info is None or info.pid != pid:
        return False
    others = _others()
    if others:
        _write(runtime_file(), others[-1])
    else:
        runtime_file().unlink(missing_ok=True)
    return True


def _others() -> list[RuntimeInfo]:
    """The servers that run, the youngest last; files of those that ended without a word are removed."""
    found: list[tuple[float, RuntimeInfo]] = []
    for path in runtime_dir().glob("server-*.json"):
        try:
            info, written = _read(path), path.stat().st_mtime
        except (OSError, ValueError):
            continue
        if info is not None and info.alive:
            found.append((written, info))
        else:
            path.unlink(missing_ok=True)
    return [info for _, info in sorted(found, key=lambda one: one[0])]


def _require_own(folder: Path) -> None:
    """Anybody may make a folder in /tmp under our name first and lead clients to a server of theirs."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeRuntimeDir(f"{folder} is not a folder; remove it, or set XDG_RUNTIME_DIR to a folder of yours")
    if found.st_uid != os.getuid():
        raise UnsafeRuntimeDir(f"{folder} belongs to uid {found.st_uid}; set XDG_RUNTIME_DIR to a folder of yours")
    if found.st_mode & 0o077:
        raise UnsafeRuntimeDir(f"{folder} is open to others (mode {found.st_mode & 0o777:o}); run chmod 700 {folder}")
