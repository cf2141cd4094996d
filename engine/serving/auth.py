"""Who may call. A Unix socket is guarded by its mode; a TCP call shows a bearer token or a client's certificate."""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from engine.config_base import ConfigError
from engine.logs import get_logger
from engine.serving.callers import ALL_SCOPES, LOCAL, Caller, Meter, Quota
from engine.serving.file_watch import signature
from engine.serving.status import Unauthenticated
from engine.serving.tokens import Scope, TokenRecord, digest_of, id_of, read_tokens, utc_now

_SHORTEST_TOKEN = 16
# Probes cannot send a token, and health says no more than whether the server serves.
_OPEN_SERVICE = "/grpc.health.v1.Health/"
_SETTING = "serving.tokens_file"
# Compared where a token names no id of the file, so that a wrong id takes as long as a wrong secret.
_NOBODY = hashlib.sha256(b"").hexdigest()

_log = get_logger(__name__)


class Access:
    """Says who a call is of, and whether that caller may make it.

    Three kinds of TCP callers: the one `token` of an operator; those of `tokens_file`, by token or by a name in their
    certificate; and, without such a file, whoever has a certificate that TLS has verified (`certificates`).
    """

    def __init__(
        self,
        token: str | None,
        *,
        tokens_file: Path | None = None,
        certificates: bool = False,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Raises ConfigError for a file that cannot be used."""
        self._digest = None if token is None else digest_of(token)
        self._single = Caller("token_file", "token_file", ALL_SCOPES, names_clients=True)
        self._file = tokens_file
        self._certificates = certificates and tokens_file is None
        self._clock = clock
        self._by_id: dict[str, tuple[str, Caller]] = {}
        self._by_certificate: dict[str, Caller] = {}
        self._unlisted: dict[str, Caller] = {}
        self._seen: tuple[int, ...] = ()
        if tokens_file is not None:
            self._seen = signature(tokens_file)
            self._take(read_tokens(tokens_file, _SETTING))

    def admit(
        self,
        method: str,
        peer: str,
        metadata: Iterable[tuple[str, str | bytes]] | None,
        certificate: Sequence[str] = (),
    ) -> Caller:
        """The caller, whose right to this method and whose request are counted.

        `peer` is what gRPC's core says, not the client; `certificate` are the names in a verified certificate. Raises
        Unauthenticated, Forbidden or OverQuota.
        """
        if peer.startswith("unix:") or method.startswith(_OPEN_SERVICE):
            return LOCAL
        caller = self._who(metadata, certificate)
        caller.require_valid(self._clock())
        caller.require(method)
        caller.take_request()
        return caller

    def _who(self, metadata: Iterable[tuple[str, str | bytes]] | None, certificate: Sequence[str]) -> Caller:
        given = [value for key, value in metadata or () if key == "authorization"]
        if given:
            return self._by_token(given)
        listed = next((self._by_certificate[name] for name in certificate if name in self._by_certificate), None)
        if listed is not None:
            return listed
        if certificate and self._certificates:
            return self._unlisted.setdefault(certificate[0], _of_certificate(certificate[0]))
        if certificate:
            raise Unauthenticated("TOKEN_MISSING", "this certificate is of no caller of the tokens_file; send a token")
        raise Unauthenticated("TOKEN_MISSING", "TCP calls need the metadata 'authorization: Bearer TOKEN'")

    def _by_token(self, given: list[str | bytes]) -> Caller:
        scheme, _, token = str(given[0]).partition(" ")
        token = token.strip()
        digest = digest_of(token)
        kept, caller = self._by_id.get(id_of(token) or "", (_NOBODY, None))
        same = hmac.compare_digest(digest, kept)
        single = self._digest is not None and hmac.compare_digest(digest, self._digest)
        if len(given) == 1 and scheme.lower() == "bearer":
            if caller is not None and same:
                return caller
            if single:
                return self._single
        raise Unauthenticated(
            "TOKEN_WRONG", "the bearer token is none of this server's; see its token_file, tokens_file"
        )

    def refresh(self, *, force: bool = False) -> Mapping[str, Unauthenticated]:
        """Read the file again if it has changed. The keys of callers who may call no longer, and why.

        A file that cannot be used is told in the log, and what held before holds on: a slip of the pen must not lock
        everybody out.
        """
        before = self._listed()
        if self._file is not None and (force or signature(self._file) != self._seen):
            self._seen = signature(self._file)
            try:
                self._take(read_tokens(self._file, _SETTING))
            except ConfigError as error:
                _log.error("the tokens_file cannot be used; the tokens read before still hold", error=str(error))
            else:
                _log.info("tokens read", callers=len(self._listed()))
        after, now = self._listed(), self._clock()
        gone: dict[str, Unauthenticated] = {}
        for key in before:
            if key not in after or before[key].scopes - after[key].scopes:
                gone[key] = Unauthenticated("TOKEN_REVOKED", "these credentials were revoked during the call")
            else:
                try:
                    after[key].require_valid(now)
                except Unauthenticated as expired:
                    gone[key] = expired
        return gone

    def _listed(self) -> dict[str, Caller]:
        callers = [caller for _, caller in self._by_id.values()] + list(self._by_certificate.values())
        return {caller.key: caller for caller in callers}

    def _take(self, records: Sequence[TokenRecord]) -> None:
        meters = {key: caller.meter for key, caller in self._listed().items()}
        callers = {record.id: _of_record(record, meters) for record in records}
        self._by_id = {one.id: (one.sha256, callers[one.id]) for one in records if one.sha256 is not None}
        self._by_certificate = {one.certificate: callers[one.id] for one in records if one.certificate is not None}


def _of_record(record: TokenRecord, meters: Mapping[str, Meter]) -> Caller:
    key = f"token:{record.id}"
    scopes = frozenset(record.scopes)
    return Caller(
        key=key,
        name=record.name,
        scopes=scopes,
        quota=Quota(record.requests_per_second, record.solves, record.k, record.tests),
        expires=record.expires,
        names_clients=Scope.ADMIN in scopes,
        meter=meters.get(key) or Meter(),
    )


def _of_certificate(name: str) -> Caller:
    return Caller(f"certificate:{name}", name, frozenset({Scope.SOLVE, Scope.EXECUTE}))


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
