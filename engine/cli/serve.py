"""`thresher serve`: the server."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

# Loaded with the command, so that a base install says which extra is missing before it reads any option.
from engine.config import (
    Arithmetic,
    ConfigError,
    LogFormat,
    LogLevel,
    load_settings,
    parse_assignments,
    to_json,
    to_toml,
)
from engine.logs import configure_logs
from engine.serving.app import EXIT_USAGE, run


def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file with settings. Default: the one THRESHER_CONFIG names."),
    ] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", help="unix:/path or host:port; repeatable. Default: a Unix socket of this user."),
    ] = None,
    token_file: Annotated[Path | None, typer.Option("--token-file", help="Bearer token of TCP calls.")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Allow plain text on addresses other than loopback.")
    ] = None,
    metrics: Annotated[str | None, typer.Option("--metrics", help="host:port of the Prometheus endpoint.")] = None,
    drain_seconds: Annotated[
        float | None, typer.Option("--drain-seconds", help="Time for running solves after SIGTERM; default 30.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Model name or path of a GGUF file; repeatable, the first is default."),
    ] = None,
    arithmetic: Annotated[Arithmetic | None, typer.Option("--arithmetic", help="Number format of the model.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads of the model.")] = None,
    slots: Annotated[int | None, typer.Option("--slots", help="Programs that run at the same time.")] = None,
    allow_weaker: Annotated[
        list[str] | None, typer.Option("--allow-weaker", help="Sandbox guarantee that may be missing; repeatable.")
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
    json_output: Annotated[bool, typer.Option("--json", help="With --print-config: print JSON.")] = False,
) -> None:
    """Serve solves over gRPC until SIGTERM or SIGINT.

    Settings come from defaults, then the TOML file, then THRESHER_<SECTION>_<FIELD> variables, then options.
    Exit codes: 0 stopped on request, 2 wrong settings, 3 the server failed.
    """
    named: dict[str, dict[str, Any]] = {
        "serving": {
            "listen": tuple(listen) if listen else None,
            "token_file": token_file,
            "insecure": insecure,
            "metrics_listen": metrics,
            "drain_seconds": drain_seconds,
        },
        "models": {
            "serve": tuple(model) if model else None,
            # Models on the command line replace those of the file, and so does the default among them.
            "default": model[0] if model else None,
            "arithmetic": arithmetic,
        },
        "engine": {"threads": threads},
        "executor": {"slots": slots, "allow_weaker": tuple(allow_weaker) if allow_weaker else None},
        "log": {"level": log_level, "format": log_format},
    }
    try:
        flags = parse_assignments(assignments or ())
        for section, fields in named.items():
            flags.setdefault(section, {}).update({name: value for name, value in fields.items() if value is not None})
        settings = load_settings(config, flags)
    except ConfigError as error:
        typer.echo(f"thresher serve: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    if json_output and not print_config:
        typer.echo("thresher serve: --json goes with --print-config", err=True)
        raise typer.Exit(EXIT_USAGE)
    if print_config:
        typer.echo(to_json(settings) if json_output else to_toml(settings))
        return
    configure_logs(settings.log.level, settings.log.format)
    from engine.solving.build import build_solver

    sys.exit(run(settings, build_solver))
