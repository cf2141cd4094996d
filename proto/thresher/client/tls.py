"""TLS of a client: whom it believes, and how it shows itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from thresher.client.errors import ThresherError

_VARIABLES = {"ca": "THRESHER_TLS_CA", "certificate": "THRESHER_TLS_CERTIFICATE", "key": "THRESHER_TLS_KEY"}


@dataclass(frozen=True, slots=True)
class Tls:
    """Files in PEM, and a name.

    `ca`: who may have issued the server's certificate, by default those that gRPC knows (the public ones, or
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH). `certificate` and `key`: the client's own, for a server that asks for one.
    `name`: the name in the server's certificate, where that is not the one in its address.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        """Raises ThresherError for one half of a pair."""
        if (self.certificate is None) != (self.key is None):
            raise _bad("certificate and key go together; give both or neither")

    def credentials(self) -> grpc.ChannelCredentials:
        """For a secure channel. Raises ThresherError for a file that cannot be read."""
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Tls | None":
        """What THRESHER_TLS_CA, THRESHER_TLS_CERTIFICATE, THRESHER_TLS_KEY and THRESHER_TLS_NAME say; THRESHER_TLS=1 is
        TLS without any of them. None where there is no such variable."""
        files = {field: Path(value) for field, name in _VARIABLES.items() if (value := environ.get(name))}
        name = environ.get("THRESHER_TLS_NAME") or None
        if not files and name is None and environ.get("THRESHER_TLS", "") in ("", "0"):
            return None
        return cls(**files, name=name)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise _bad(f"{path} cannot be read: {error.strerror}") from error


def _bad(message: str) -> ThresherError:
    return ThresherError(grpc.StatusCode.INVALID_ARGUMENT, "BAD_TLS", f"TLS: {message}")
