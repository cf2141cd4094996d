"""`thresher lsp`: the language server on standard input and output."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

_LEVELS = ("error", "warning", "info", "debug")


def lsp(
    address: Annotated[
        str | None,
        typer.Option("--address", help="unix:/path or host:port. Default: THRESHER_ADDRESS, else the local server."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="File with the bearer token of a server on TCP.")
    ] = None,
    log_file: Annotated[Path | None, typer.Option("--log-file", help="Where to log; standard error otherwise.")] = None,
    log_level: Annotated[str, typer.Option("--log-level", help=f"One of {', '.join(_LEVELS)}.")] = "warning",
) -> None:
    """Serve an editor: functions written by Thresher, decided by their tests (docs/editors.md).

    Speaks the Language Server Protocol on standard input and output; editors start it themselves.
    """
    try:
        from pygls.exceptions import JsonRpcException

        from thresher.lsp.connection import Connection
        from thresher.lsp.server import make_server
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"pygls", "lsprotocol"}:
            raise
        typer.echo(f"thresher lsp: {package} is not installed; run: pip install 'thresher[lsp]'", err=True)
        raise typer.Exit(3) from error
    if log_level not in _LEVELS:
        typer.echo(f"thresher lsp: --log-level: {log_level!r} is none of {', '.join(_LEVELS)}", err=True)
        raise typer.Exit(2)
    handler = logging.StreamHandler(sys.stderr) if log_file is None else logging.FileHandler(log_file)
    # An answer that says no is no error of this program; pygls logs each with its traceback.
    handler.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], JsonRpcException)))
    logging.basicConfig(handlers=[handler], level=log_level.upper())
    make_server(Connection(address, _token(token_file))).start_io()


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"thresher lsp: --token-file: cannot read {path}: {error}", err=True)
        raise typer.Exit(2) from error
