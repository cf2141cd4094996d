"""What all commands share in how they speak: exit codes, JSON documents, errors."""

import json
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import grpc
import typer
from thresher.client import ThresherError
from thresher.client.errors import with_option

EXIT_GOOD = 0
EXIT_NOT_SOLVED = 1
EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130

# The request itself is at fault: asking again in the same way gives the same answer.
_CALLER_AT_FAULT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.OUT_OF_RANGE,
}


def print_json(document: dict[str, Any]) -> None:
    """Writes the one document of a `--json` run."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def usage_error(message: str, *, as_json: bool) -> typer.Exit:
    """Says what is wrong with the command line or a file; to be raised."""
    if as_json:
        print_json({"error": {"code": "USAGE", "reason": "", "message": message, "details": {}, "advice": ""}})
    else:
        typer.echo(f"thresher: {message}", err=True)
    return typer.Exit(EXIT_USAGE)


def call_error(error: ThresherError, *, as_json: bool, options: Mapping[str, str] = MappingProxyType({})) -> typer.Exit:
    """Says what went wrong with a call; to be raised. Exit code 2 where the request is at fault, else 3.

    `options` of the command, by the field of the request that each sets, are named to a person.
    """
    if as_json:
        document = {
            "code": error.code.name,
            "reason": error.reason,
            "message": error.message,
            "details": error.details,
            "advice": error.advice,
        }
        print_json({"error": document})
    else:
        typer.echo(f"thresher: {with_option(error.message, options)} [{error.reason or error.code.name}]", err=True)
        for violation in error.details.get("violations", ()):
            if violation["description"] in error.message:
                continue
            wrong = f"{violation['field']}: {violation['description']}"
            typer.echo(f"  {with_option(wrong, options)}", err=True)
        if error.advice:
            typer.echo(f"  {error.advice}", err=True)
    return typer.Exit(EXIT_USAGE if error.code in _CALLER_AT_FAULT else EXIT_FAILED)
