"""`thresher route`: a front before other servers."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

# Loaded with the command, so that a base install says which extra is missing before it reads any option.
from engine.cli._tiers import build_router
from engine.config import LogFormat, LogLevel, Settings
from engine.config_base import ConfigError
from engine.config_cascade import tier_of
from engine.config_layers import load_settings, parse_assignments, to_toml
from engine.logs import configure_logs
from engine.serving.app import EXIT_USAGE, run


def route(
    tier: Annotated[
        list[str] | None,
        typer.Option(
            "--tier",
            metavar="NAME=ADDRESS[,ADDRESS...]",
            help="A tier and the servers that serve it, cheap ones first; repeatable. Takes the place of the file's.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file with settings. Default: the one THRESHER_CONFIG names."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", help="unix:/path or host:port; repeatable. Default: a Unix socket of this user."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="One bearer token of TCP calls, which may do everything.")
    ] = None,
    tier_token_file: Annotated[
        Path | None, typer.Option("--tier-token-file", help="Bearer token of the tiers' servers on TCP.")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Allow plain text on addresses other than loopback.")
    ] = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="host:port of the Prometheus endpoint.")] = None,
    drain_seconds: Annotated[
        float | None,
        typer.Option(
            "--drain-seconds",
            help=f"Time for running solves after SIGTERM. Default: {Settings().serving.drain_seconds:g}.",
        ),
    ] = None,
    log_level: Annotated[LogLevel | None, typer.Option("--log-level")] = None,
    log_format: Annotated[LogFormat | None, typer.Option("--log-format")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.FIELD=VALUE", help="Any other setting; see --print-config; repeatable."),
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings in force as TOML and exit.")
    ] = False,
) -> None:
    """Serve solves over gRPC by passing them to other Thresher servers, cheap ones first (docs/cascades.md).

    It has no model and no sandbox, and keeps nothing but its sessions: any number of them may stand before the same
    servers. Settings come from where those of `thresher serve` do; of the sections models and engine nothing has an
    effect.
    Exit codes: 0 stopped on request, 2 wrong settings, 3 the front failed.
    """
    named: dict[str, dict[str, Any]] = {
        "serving": {
            "listen": tuple(listen) if listen else None,
            "token_file": token_file,
            "insecure": insecure,
            "metrics_listen": metrics,
            "drain_seconds": drain_seconds,
        },
        "cascade": {"token_file": tier_token_file},
        "log": {"level": log_level, "format": log_format},
    }
    try:
        if tier:
            named["cascade"]["tiers"] = [tier_of(word) for word in tier]
        flags = parse_assignments(assignments or ())
        for section, fields in named.items():
            flags.setdefault(section, {}).update({name: value for name, value in fields.items() if value is not None})
        settings = load_settings(config, flags)
    except ConfigError as error:
        typer.echo(f"thresher route: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    if print_config:
        typer.echo(to_toml(settings))
        return
    configure_logs(settings.log.level, settings.log.format)
    sys.exit(run(settings, build_router))
