"""`thresher serve`: the server."""

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

# Loaded with the command, so that a base install says which extra is missing before it reads any option.
from engine.config import Arithmetic, LogFormat, LogLevel, Settings
from engine.config_base import ConfigError
from engine.config_cascade import tier_of
from engine.config_layers import load_settings, parse_assignments, to_json, to_toml
from engine.logs import configure_logs, get_logger
from engine.metrics import Metrics
from engine.serving.app import EXIT_USAGE, SolverFactory, run
from engine.serving.backend import SolverLike


def serve(
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
    tokens_file: Annotated[
        Path | None, typer.Option("--tokens-file", help="Tokens of several callers; see `thresher token`.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", help="Certificate chain (PEM): TCP addresses then speak TLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Private key of that certificate (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option("--tls-client-ca", help="Issuers (PEM) of the certificates that callers must have: mutual TLS."),
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
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="Model name, or path of a GGUF file or folder; repeatable, the first is default."),
    ] = None,
    arithmetic: Annotated[Arithmetic | None, typer.Option("--arithmetic", help="Number format of the model.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads of the model.")] = None,
    slots: Annotated[int | None, typer.Option("--slots", help="Programs that run at the same time.")] = None,
    executor: Annotated[
        list[str] | None,
        typer.Option(
            "--executor",
            metavar="ADDRESS",
            help="Run programs on that server instead of here; repeatable, and 'local' is this machine.",
        ),
    ] = None,
    executor_token_file: Annotated[
        Path | None, typer.Option("--executor-token-file", help="Bearer token of executors on TCP.")
    ] = None,
    executor_only: Annotated[
        bool | None, typer.Option("--executor-only", help="Run programs for other servers; load no model.")
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(
            "--tier",
            metavar="NAME=MODEL|ADDRESS[,ADDRESS...]",
            help="A tier of a cascade: a model of this server, or other servers; repeatable, cheap ones first.",
        ),
    ] = None,
    tier_token_file: Annotated[
        Path | None, typer.Option("--tier-token-file", help="Bearer token of tiers' servers on TCP.")
    ] = None,
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

    Settings come from defaults, then the TOML file, then THRESHER_<SECTION>_<FIELD> variables, then options. SIGHUP
    reads tokens and certificates again.
    Exit codes: 0 stopped on request, 2 wrong settings, 3 the server failed.
    """
    if executor_only and (model or arithmetic is not None or threads is not None):
        typer.echo(
            "thresher serve: --executor-only loads no model: leave out --model, --arithmetic, --threads", err=True
        )
        raise typer.Exit(EXIT_USAGE)
    named: dict[str, dict[str, Any]] = {
        "serving": {
            "listen": tuple(listen) if listen else None,
            "token_file": token_file,
            "tokens_file": tokens_file,
            "tls_certificate": tls_certificate,
            "tls_key": tls_key,
            "tls_client_ca": tls_client_ca,
            "insecure": insecure,
            "metrics_listen": metrics,
            "drain_seconds": drain_seconds,
            "executor_only": executor_only,
        },
        "models": {
            "serve": tuple(model) if model else None,
            # Models on the command line replace those of the file, and so does the default among them.
            "default": model[0] if model else None,
            "arithmetic": arithmetic,
        },
        "engine": {"threads": threads},
        "executor": {
            "slots": slots,
            "remotes": tuple(executor) if executor else None,
            "remote_token_file": executor_token_file,
            "allow_weaker": tuple(allow_weaker) if allow_weaker else None,
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
        typer.echo(f"thresher serve: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    if json_output and not print_config:
        typer.echo("thresher serve: --json goes with --print-config", err=True)
        raise typer.Exit(EXIT_USAGE)
    if print_config:
        typer.echo(to_json(settings) if json_output else to_toml(settings))
        return
    configure_logs(settings.log.level, settings.log.format)
    # At once: what comes next takes seconds, and on a first start minutes.
    models = [] if settings.serving.executor_only else list(settings.models.serve)
    get_logger(__name__).info("starting", version=version("thresher"), models=models)
    sys.exit(run(settings, _factory(settings)))


def _factory(settings: Settings) -> SolverFactory:
    """What runs behind the front."""
    if settings.serving.executor_only:
        from engine.solving.executor_only import build_executor_only

        return build_executor_only
    if importlib.util.find_spec("torch") is None:
        # Only the engine's process would notice, and say it with a traceback.
        raise ModuleNotFoundError(name="torch")
    from engine.cli._tiers import with_cascade
    from engine.remote.build import build_executor
    from engine.solving.build import build_solver, model_name

    def build(settings: Settings, metrics: Metrics) -> SolverLike:
        solver = build_solver(settings, metrics, build_executor(settings, metrics))
        if not settings.cascade.tiers:
            return solver
        names = {name: model_name(name) for name in settings.models.serve}
        return with_cascade(solver, names, settings, metrics)

    return build
