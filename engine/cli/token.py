"""`thresher token`: adds, lists and revokes the callers of a server on TCP, in the file `serving.tokens_file`."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli._output import print_json, usage_error
from engine.config_base import ConfigError
from engine.serving.tokens import Scope, TokenRecord, change_tokens, digest_of, draw_token, read_tokens, utc_now

_VARIABLE = "THRESHER_SERVING_TOKENS_FILE"
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WIDEST = 10_000
_QUOTAS = ("requests_per_second", "solves", "k", "tests")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Callers of a server on TCP: their tokens, rights, quotas and expiry.",
    epilog="A running server takes changes within a second. Exit codes: 0 good; 2 wrong use, or an unusable file.",
)

File = Annotated[
    Path, typer.Option("--file", envvar=_VARIABLE, show_envvar=True, help="The server's serving.tokens_file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whom it is for; logs show it.")],
    file: File,
    scope: Annotated[list[Scope] | None, typer.Option(help="What it may do; repeatable. Default: solve.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="90d, 12h, 30m, 4w, or a date such as 2027-01-31 (UTC). Default: never.")
    ] = None,
    requests_per_second: Annotated[float | None, typer.Option(help="Calls; a second's worth may come at once.")] = None,
    solves: Annotated[int | None, typer.Option(help="Solves at a time.")] = None,
    k: Annotated[int | None, typer.Option("--k", help="Samples of one solve.")] = None,
    tests: Annotated[int | None, typer.Option(help="Tests of one problem or program.")] = None,
    certificate: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Known by this name in its TLS certificate; no token is made (mutual TLS)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a caller, and print its token: this once, since only a hash of it is kept."""
    try:
        until = None if expires is None else _moment(expires)
        bounds = _bounds(requests_per_second=requests_per_second, solves=solves, k=k, tests=tests)
        token, identity = draw_token()
        record = TokenRecord(
            id=identity,
            name=name,
            scopes=tuple(scope or (Scope.SOLVE,)),
            sha256=digest_of(token) if certificate is None else None,
            certificate=certificate,
            created=utc_now().replace(microsecond=0),
            expires=until,
            **bounds,
        )
        change_tokens(file, "--file", lambda records: (*records, record))
    except (ConfigError, ValueError) as error:
        raise usage_error(str(error), as_json=as_json) from None
    if as_json:
        print_json({"token": token if certificate is None else None, **_row(record)})
        return
    if certificate is None:
        typer.echo(token)
    typer.echo(f"added {identity} ({name}) to {file}", err=True)


@app.command("list")
def list_tokens(file: File, as_json: AsJson = False) -> None:
    """Show the callers. Tokens themselves cannot be shown: they are not kept."""
    try:
        records = read_tokens(file, "--file")
    except ConfigError as error:
        raise usage_error(str(error), as_json=as_json) from None
    if as_json:
        print_json({"tokens": [_row(record) for record in records]})
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "name", "known by", "scopes", "expires", "quota"):
        table.add_column(title, overflow="fold")
    for record in records:
        known = "token" if record.certificate is None else f"certificate {record.certificate}"
        quota = ", ".join(
            f"{field} {getattr(record, field):g}" for field in _QUOTAS if getattr(record, field) is not None
        )
        table.add_row(record.id, record.name, known, ", ".join(record.scopes), _until(record), quota or "the server's")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDEST
    console.print(table)


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="ID_OR_NAME", help="As `thresher token list` shows them.")],
    file: File,
    as_json: AsJson = False,
) -> None:
    """Take a caller out. A running server ends its calls."""
    gone: list[TokenRecord] = []

    def without(records: tuple[TokenRecord, ...]) -> Sequence[TokenRecord]:
        gone.extend(record for record in records if which in (record.id, record.name))
        return [record for record in records if record not in gone]

    try:
        left = change_tokens(file, "--file", without)
    except ConfigError as error:
        raise usage_error(str(error), as_json=as_json) from None
    if not gone:
        known = ", ".join(f"{record.id} ({record.name})" for record in left) or "none"
        raise usage_error(f"{file} has no token {which!r}; there are: {known}", as_json=as_json)
    if as_json:
        print_json({"revoked": [_row(record) for record in gone]})
    else:
        typer.echo(f"revoked {', '.join(f'{record.id} ({record.name})' for record in gone)}", err=True)


def _bounds(**given: float | None) -> dict[str, Any]:
    for field, value in given.items():
        if value is not None and not value > 0:
            raise ValueError(f"--{field.replace('_', '-')} is {value:g}; it must be above 0")
    return given


def _moment(text: str) -> datetime:
    """A point in time, from now on or by the calendar."""
    if match := re.fullmatch(r"(\d{1,5})([mhdw])", text):
        return utc_now().replace(microsecond=0) + timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--expires is {text!r}; give 90d, 12h, 30m, 4w or a date such as 2027-01-31") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment <= utc_now():
        raise ValueError(f"--expires {text} is in the past")
    return moment


def _until(record: TokenRecord) -> str:
    if record.expires is None:
        return "never"
    text = f"{record.expires:%Y-%m-%d %H:%M}"
    return f"{text} (over)" if record.expired(utc_now()) else text


def _row(record: TokenRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "scopes": list(record.scopes),
        "certificate": record.certificate,
        "created": record.created.isoformat(),
        "expires": None if record.expires is None else record.expires.isoformat(),
        "expired": record.expired(utc_now()),
        "quota": {field: getattr(record, field) for field in _QUOTAS if getattr(record, field) is not None},
    }
