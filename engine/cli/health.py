"""`thresher health`: one question to a server, for the probes of containers and for scripts."""

import time
from typing import Annotated

import typer
from thresher.client import Client, ProblemError, ThresherError

from engine.cli._connection import Address, TlsCa, TlsCertificate, TlsKey, UseTls, read_tls
from engine.cli._output import EXIT_FAILED, call_error, print_json, usage_error


def health(
    service: Annotated[
        str,
        typer.Argument(
            help="A full service name such as thresher.v1.SynthesisService, or models/NAME. Default: all of it."
        ),
    ] = "",
    timeout: Annotated[float, typer.Option(help="Seconds that the server may take to answer.")] = 5.0,
    wait: Annotated[float, typer.Option(help="Seconds to wait until it serves; 0 asks once.")] = 0.0,
    address: Address = None,
    tls: UseTls = False,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Ask a server whether it serves. Needs no token.

    Exit code: 0 SERVING, 2 wrong use, 3 anything else.
    """
    try:
        secured = read_tls(tls, tls_ca, tls_certificate, tls_key)
    except ProblemError as error:
        raise usage_error(str(error), as_json=as_json) from error
    until = time.monotonic() + wait
    while True:
        try:
            with Client(address, tls=secured) as client:
                status = client.health(service, timeout=timeout)
        except ThresherError as error:
            if time.monotonic() >= until:
                raise call_error(error, as_json=as_json) from error
        else:
            if status == "SERVING" or time.monotonic() >= until:
                break
        time.sleep(min(0.2, max(0.0, until - time.monotonic())))
    if as_json:
        print_json({"status": status})
    else:
        typer.echo(status)
    if status != "SERVING":
        raise typer.Exit(EXIT_FAILED)
