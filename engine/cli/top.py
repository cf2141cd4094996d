"""`thresher top`: a server's figures on the terminal, as they change."""

import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from engine.cli._connection import TlsCa, TlsCertificate, TlsKey, UseTls
from engine.cli._output import EXIT_FAILED, print_json, usage_error
from engine.cli._top import Figures, History, picture
from engine.exposition import Book, read

_TIMEOUT = 10.0


def top(
    metrics: Annotated[
        str,
        typer.Option("--metrics", metavar="HOST:PORT", help="The server's metrics endpoint (serving.metrics_listen)."),
    ] = "127.0.0.1:9464",
    every: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between looks.")] = 1.0,
    window: Annotated[float, typer.Option(min=1, max=3600, help="Seconds that rates and quantiles are of.")] = 15.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, show the figures between, and end.")] = False,
    tls: UseTls = False,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: one JSON document on standard output.")] = False,
) -> None:
    """Watch a server: solves, branches, rows of a step, pages, sandbox, first passes, goodput, waste. Ctrl-C ends it.

    The server must have been started with --metrics HOST:PORT. A server that is gone for a while is waited for. Exit
    codes: 0 good, 2 wrong use, 3 no metrics there at the first look.
    """
    if as_json and not once:
        raise usage_error("--json goes with --once", as_json=True)
    if (tls_certificate is None) != (tls_key is None):
        raise usage_error("--tls-certificate and --tls-key go together; give both or neither", as_json=as_json)
    context = _context(tls_ca, tls_certificate, tls_key, as_json=as_json) if tls or tls_ca or tls_certificate else None
    history, console = History(window), Console(highlight=False)

    def look() -> Figures:
        return history.add(_scrape(metrics, context))

    def fail(error: OSError | ValueError) -> typer.Exit:
        message = f"no metrics at {metrics} ({_why(error)}); start the server with --metrics HOST:PORT and name that"
        if as_json:
            print_json({"error": {"code": "UNAVAILABLE", "message": message}})
        else:
            typer.echo(f"thresher top: {message}", err=True)
        return typer.Exit(EXIT_FAILED)

    try:
        found = look()
        if once:
            time.sleep(every)
            found = look()
    except (OSError, ValueError) as error:
        raise fail(error) from None
    if as_json:
        print_json(found.plain())
        return
    if once:
        console.print(picture(metrics, found))
        return
    gone = ""
    try:
        with Live(picture(metrics, found), console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                try:
                    found, gone = look(), ""
                except (OSError, ValueError) as error:
                    gone = gone or f"no answer since {time.strftime('%H:%M:%S')} ({_why(error)}); still asking"
                live.update(picture(metrics, found, gone), refresh=True)
    except KeyboardInterrupt:
        return


def _why(error: OSError | ValueError) -> object:
    return error.reason if isinstance(error, urllib.error.URLError) else error


def _context(ca: Path | None, certificate: Path | None, key: Path | None, *, as_json: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise usage_error(f"--tls: these files cannot be used: {error}", as_json=as_json) from error
    return context


def _scrape(address: str, context: ssl.SSLContext | None) -> Book:
    """The server's series. Raises OSError or ValueError where there is no such endpoint."""
    url = f"{'http' if context is None else 'https'}://{address}/metrics"
    with urllib.request.urlopen(url, timeout=_TIMEOUT, context=context) as answer:
        return read(answer.read().decode())
