"""The file of callers, in JSON, kept by `thresher token`: who may call by TCP, with which rights, how much, how long.

A token is never kept: the file holds its SHA-256. A slow hash with a salt (scrypt) protects secrets that people choose,
since those can be guessed; a token is 256 random bits, so nobody finds it by trying, salted or not, and a slow hash
would only let strangers burn the server's CPU with wrong tokens.
"""

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from engine.config_base import ConfigError

_PREFIX = "thr"
_ID_BYTES = 4
_SECRET_BYTES = 32
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class Scope(StrEnum):
    """A right. Whoever has any may also ask what the server is and how busy it is."""

    SOLVE = "solve"
    """SynthesisService."""
    EXECUTE = "execute"
    """ExecutionService."""
    ADMIN = "admin"
    """Every method; and the names that it gives its clients count, so that one token may call for several people."""


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One caller, known by the SHA-256 of its token, in hex, or by a name in its TLS certificate. Absent: no bound."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    scopes: Annotated[tuple[Scope, ...], msgspec.Meta(min_length=1)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    certificate: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    created: Annotated[datetime, msgspec.Meta(tz=True)]
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    requests_per_second: Annotated[float, msgspec.Meta(gt=0)] | None = None
    solves: _Positive | None = None
    """At a time."""
    k: _Positive | None = None
    """Samples of one solve."""
    tests: _Positive | None = None
    """Tests of one problem or program."""

    def expired(self, now: datetime) -> bool:
        """Whether it holds no longer."""
        return self.expires is not None and self.expires <= now


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tokens: list[TokenRecord]


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def id_of(token: str) -> str | None:
    """The id that a token names; None for a text that is no token of such a file."""
    prefix, _, rest = token.partition("-")
    identity, separator, _ = rest.partition("-")
    return identity if prefix == _PREFIX and separator and identity else None


def draw_token() -> tuple[str, str]:
    """A new token and the id in it."""
    identity = secrets.token_hex(_ID_BYTES)
    return f"{_PREFIX}-{identity}-{secrets.token_urlsafe(_SECRET_BYTES)}", identity


def read_tokens(path: Path, setting: str) -> tuple[TokenRecord, ...]:
    """All records. Raises ConfigError for a file that cannot be read, understood or trusted.

    Others may read it, the hashes are of no use to them; but whoever can write it could let himself in.
    """
    try:
        text = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if mode & 0o022:
        raise ConfigError(f"{setting}: {path} can be written by others; run: chmod go-w {path}")
    try:
        found = msgspec.json.decode(text, type=_File).tokens
    except msgspec.DecodeError as error:
        raise ConfigError(f"{setting}: {path} is not a file of `thresher token`: {error}") from None
    _check(found, path, setting)
    return tuple(found)


def _check(records: Sequence[TokenRecord], path: Path, setting: str) -> None:
    for record in records:
        if (record.sha256 is None) == (record.certificate is None):
            raise ConfigError(f"{setting}: {path}: token {record.id} must have one of sha256 and certificate")
    for kind in ("id", "name", "certificate"):
        values = [value for record in records if (value := getattr(record, kind)) is not None]
        if twice := next((value for value in values if values.count(value) > 1), None):
            raise ConfigError(f"{setting}: {path}: {kind} {twice!r} is there twice")


def change_tokens(
    path: Path, setting: str, change: Callable[[tuple[TokenRecord, ...]], Sequence[TokenRecord]]
) -> tuple[TokenRecord, ...]:
    """Read the file (none is an empty one), and write what `change` makes of it, in one step.

    Two at a time wait for each other. A new file has mode 0600, an old one keeps mode and owner. Raises ConfigError.
    """
    try:
        with _alone(path.absolute().parent):
            records = tuple(change(read_tokens(path, setting) if path.exists() else ()))
            _check(records, path, setting)
            _write(path, records)
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be written: {error.strerror}") from None
    return records


@contextmanager
def _alone(folder: Path) -> Generator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, records: Sequence[TokenRecord]) -> None:
    text = msgspec.json.format(msgspec.json.encode(_File(list(records))), indent=2) + b"\n"
    target = path.resolve()
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            if target.exists():
                old = target.stat()
                os.fchmod(file.fileno(), old.st_mode & 0o777)
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), old.st_uid, old.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def utc_now() -> datetime:
    """The clock by which tokens expire."""
    return datetime.now(UTC)
