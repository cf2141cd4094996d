"""TLS of the server: the files it is made of, which are taken anew without a restart, and the names of a client's."""

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import grpc

from engine.config import ServingSettings
from engine.config_base import ConfigError
from engine.logs import get_logger
from engine.serving.file_watch import signature

_LONGEST_NAME = 128
_ALTERNATIVE_NAME = "x509_subject_alternative_name"
_COMMON_NAME = "x509_common_name"

_log = get_logger(__name__)


def names_in_certificate(context: Mapping[str, Iterable[bytes]]) -> tuple[str, ...]:
    """The names in the certificate that TLS has verified, of gRPC's authentication context; none without one.

    The common name counts only where there are no alternative names, as everywhere today.
    """
    for kind in (_ALTERNATIVE_NAME, _COMMON_NAME):
        names = [name.decode("utf-8", "replace") for name in context.get(kind, ())]
        if names:
            return tuple(name for name in names if name.isprintable() and 0 < len(name) <= _LONGEST_NAME)
    return ()


class ServerTls:
    """The certificate, key and client CA of a server."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """Raises ConfigError for files that cannot be used together."""
        self.certificate = certificate
        self.key = key
        self.client_ca = client_ca
        self._seen = self._signature()
        self._first = self._load()
        self._fresh: grpc.ServerCertificateConfiguration | None = None
        self._metrics: ssl.SSLContext | None = None

    @classmethod
    def of(cls, serving: ServingSettings) -> "ServerTls | None":
        """What the settings ask for. Raises ConfigError."""
        if serving.tls_certificate is None or serving.tls_key is None:
            return None
        return cls(serving.tls_certificate, serving.tls_key, serving.tls_client_ca)

    def credentials(self) -> grpc.ServerCredentials:
        """For secure ports. Each handshake takes the newest certificate."""
        # The type stubs leave out what lets the certificate change.
        return cast(Any, grpc).dynamic_ssl_server_credentials(
            self._first, self._fetch, require_client_authentication=self.client_ca is not None
        )

    def of_metrics(self) -> dict[str, Any]:
        """What the metrics endpoint is started with, to ask of scrapers what is asked of callers."""
        mutual = self.client_ca is not None
        client_ca = str(self.client_ca) if mutual else None
        return {
            "certfile": str(self.certificate),
            "keyfile": str(self.key),
            "client_cafile": client_ca,
            "client_auth_required": mutual,
        }

    def serve_metrics(self, endpoint: ssl.SSLSocket) -> None:
        """Keep the metrics endpoint up to date, too."""
        # Else the one thread that accepts would wait for whoever connects and says nothing.
        cast(Any, endpoint).do_handshake_on_connect = False
        self._metrics = endpoint.context

    def refresh(self, *, force: bool = False) -> None:
        """Read changed files. Those that do not fit together are told in the log, and the old ones stay in use."""
        now = self._signature()
        if now == self._seen and not force:
            return
        self._seen = now
        try:
            self._fresh = self._load()
            if self._metrics is not None:
                self._metrics.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ConfigError, OSError) as error:
            _log.error("the changed TLS files cannot be used; the old ones stay in use", error=str(error))
        else:
            _log.info("TLS files read", certificate=str(self.certificate))

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        # Called in threads of gRPC's core.
        fresh, self._fresh = self._fresh, None
        return fresh

    def _load(self) -> grpc.ServerCertificateConfiguration:
        try:
            if self.key.stat().st_mode & 0o007:
                raise ConfigError(f"serving.tls_key: {self.key} can be read by everybody; run: chmod o= {self.key}")
            chain, key = self.certificate.read_bytes(), self.key.read_bytes()
            roots = None if self.client_ca is None else self.client_ca.read_bytes()
        except OSError as error:
            raise ConfigError(f"serving.tls_*: {error.filename} cannot be read: {error.strerror}") from None
        # gRPC says nothing of files that do not fit together: every handshake would fail.
        probe = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            probe.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"serving.tls_certificate, serving.tls_key: {self.certificate} and {self.key} are no certificate with "
                f"its key, in PEM and without a password: {error}"
            ) from None
        if self.client_ca is not None:
            try:
                probe.load_verify_locations(self.client_ca)
            except ssl.SSLError as error:
                raise ConfigError(
                    f"serving.tls_client_ca: {self.client_ca} holds no certificate in PEM: {error}"
                ) from None
        return cast(Any, grpc).ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)

    def _signature(self) -> tuple[tuple[int, ...], ...]:
        return tuple(signature(path) for path in (self.certificate, self.key, self.client_ca) if path is not None)


def _no_password() -> str:
    raise ValueError("the key has a password")
