"""The `thresher` command. Subcommands are found by the entry-point group `thresher.commands` and loaded when used."""

import sys
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated, Any

import typer
import typer.core
import typer.main
from rich.markup import escape

GROUP = "thresher.commands"
_OWN = {"engine", "executor", "kernels", "thresher"}


class CommandsByEntryPoint(typer.core.TyperGroup):
    """A group whose commands are named by installed packages: ours, and those of plugins.

    What an entry point names is a typer app (a group of commands) or a plain function (one command).
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all installed commands."""
        return sorted({*super().list_commands(ctx), *(point.name for point in entry_points(group=GROUP))})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Loads one command; None where there is none of that name."""
        if cmd_name not in self.commands:
            point = next((point for point in entry_points(group=GROUP) if point.name == cmd_name), None)
            if point is None:
                return None
            self.add_command(_load(point), cmd_name)
        return super().get_command(ctx, cmd_name)


def _load(point: EntryPoint) -> Any:
    try:
        target = point.load()
    except ModuleNotFoundError as error:
        advice = missing_package_advice(error)
        if advice is None:
            raise
        target = _unusable(point.name, advice)
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(point.name)(target)
        target = app
    command = typer.main.get_command(target)
    command.name = point.name
    return command


def _unusable(name: str, advice: str) -> typer.Typer:
    """A command that only says what it lacks, so that `thresher --help` still lists the others."""
    app = typer.Typer(add_completion=False)

    @app.command(
        name,
        help=f"Not usable here: {escape(advice)}",  # rich would take [server] for markup
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def explain() -> None:  # pyright: ignore[reportUnusedFunction]  # typer keeps it
        typer.echo(f"thresher {name}: {advice}", err=True)
        raise typer.Exit(3)

    return app


def missing_package_advice(error: ModuleNotFoundError) -> str | None:
    """What to install where a package of the `server` extra is missing; None where the module is one of ours."""
    package = (error.name or "").partition(".")[0]
    if not package or package in _OWN:
        return None
    return f"{package} is not installed; run: pip install 'thresher[server]'"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"thresher {version('thresher')}")
        raise typer.Exit


app = typer.Typer(
    cls=CommandsByEntryPoint,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Synthesises programs by sampling: draws many from a code model, runs each against the tests, returns the "
    "first that passes.",
    epilog="Exit codes: 0 solved or all passed; 1 not solved; 2 wrong use; 3 the server or the sandbox failed; "
    "130 interrupted.",
)


@app.callback()
def _main(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None: ...


def run_app(target: typer.Typer) -> None:
    """Runs a typer app and exits; where a package is missing, says which instead of showing a traceback."""
    try:
        target()
    except ModuleNotFoundError as error:
        advice = missing_package_advice(error)
        if advice is None:
            raise
        typer.echo(f"thresher: {advice}", err=True)
        sys.exit(3)


def run() -> None:
    """Runs the command line of this process and exits."""
    run_app(app)


if __name__ == "__main__":
    run()
