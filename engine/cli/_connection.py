"""The options by which a command finds its server."""

from pathlib import Path
from typing import Annotated

import typer
from thresher.client import ProblemError

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
