"""Who may call. A Unix socket is guarded by its mode; every TCP call carries the server's bearer token."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from engine.config import ConfigError
from engine.serving.status import Unauthenticated

_SHORTEST_TOKEN = 16
# Probes cannot send a token, and health says no more than whether the server serves.
_OPEN_SERVICE = "/grpc.health.v1.Health/"


class TokenCheck:
    """Refuses TCP calls without the token; compares in constant time. Without a token no TCP call passes."""

    def __init__(self, token: str | None) -> None:
        self._digest = None if token is None else hashlib.sha256(token.encode()).digest()

    def __call__(self, method: str, peer: str, metadata: Iterable[tuple[str, str | bytes]] | None) -> None:
        """Raise Unauthenticated unless the call may pass. `peer` is what gRPC's core says, not the client."""
        if peer.startswith("unix:") or method.startswith(_OPEN_SERVICE):
            return
        given = [value for key, value in metadata or () if key == "authorization"]
        if not given:
            raise Unauthenticated("TOKEN_MISSING", "TCP calls need the metadata 'authorization: Bearer TOKEN'")
        scheme, _, token = str(given[0]).partition(" ")
        digest = hashlib.sha256(token.strip().encode()).digest()
        same = self._digest is not None and hmac.compare_digest(digest, self._digest)
        if len(given) > 1 or scheme.lower() != "bearer" or not same:
            raise Unauthenticated("TOKEN_WRONG", "the bearer token is not this server's; see its token_file")


def read_token(path: Path, setting: str) -> str:
    """The token in the file that `setting` names. Raises ConfigError for one that cannot be read, sent or trusted."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{setting}: {path} holds more than ASCII, which gRPC cannot send") from None
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if len(token) < _SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{setting}: {path} must hold one word of at least {_SHORTEST_TOKEN} characters; "
            "make one with: openssl rand -hex 32"
        )
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{setting}: {path} can be read by others; run: chmod 600 {path}")
    return token


def write_new_token(folder: Path) -> Path:
    """Draw a token and write it to a file of this process in `folder`, mode 0600."""
    path = folder / f"token-{os.getpid()}"
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
    return path
