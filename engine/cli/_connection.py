"""The options by which a command finds its server."""

from pathlib import Path
from typing import Annotated

import typer
from thresher.client import ProblemError, ThresherError, Tls

Address = Annotated[
    str | None,
    typer.Option("--address", help="unix:/path or host:port. Default: THRESHER_ADDRESS, else the local server."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with the bearer token that a server on TCP asks for. Default: THRESHER_TOKEN, which holds the token "
        "itself, else the local server's own.",
    ),
]
UseTls = Annotated[
    bool, typer.Option("--tls", help="Call by TLS, believing the public issuers. Default: THRESHER_TLS.")
]
TlsCa = Annotated[
    Path | None,
    typer.Option("--tls-ca", help="Call by TLS, believing these issuers (PEM). Default: THRESHER_TLS_CA."),
]
TlsCertificate = Annotated[
    Path | None,
    typer.Option(
        "--tls-certificate",
        help="Certificate (PEM) to show to a server that asks for one. Default: THRESHER_TLS_CERTIFICATE.",
    ),
]
TlsKey = Annotated[
    Path | None, typer.Option("--tls-key", help="Private key of that certificate (PEM). Default: THRESHER_TLS_KEY.")
]


def read_token(path: Path | None) -> str | None:
    """The token in a file; None without one. Raises ProblemError where it holds none."""
    if path is None:
        return None
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError("", f"--token-file: cannot read {path}: {error}") from error
    if not token or not token.isprintable() or " " in token:
        raise ProblemError("", f"--token-file: {path} must hold the token and nothing else")
    return token


def read_tls(use: bool, ca: Path | None, certificate: Path | None, key: Path | None) -> Tls | None:
    """What the options say of TLS; None where they say nothing. Raises ProblemError for files that cannot be used."""
    if not use and ca is None and certificate is None and key is None:
        return None
    try:
        tls = Tls(ca=ca, certificate=certificate, key=key)
        tls.credentials()
    except ThresherError as error:
        raise ProblemError("", f"--tls: {error.message}") from error
    return tls
