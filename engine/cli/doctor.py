"""`thresher doctor`: says what this machine can do, and for each thing that fails, what to do about it."""

from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from engine.cli._findings import Finding, Status, findings
from engine.cli._output import EXIT_FAILED, print_json

_MARKS = {Status.OK: ("ok", "green"), Status.NOTE: ("note", "yellow"), Status.FAILED: ("FAIL", "bold red")}


def doctor(
    deploy: Annotated[
        bool,
        typer.Option(
            "--deploy", help="Examine a container or unit from inside: settings, files, limits, rights of the sandbox."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Examine this machine: Python, sandbox, engine, models, local server.

    With --deploy the settings are those that `thresher serve` would have: of THRESHER_CONFIG and THRESHER_* variables.

    Exit code: 0 nothing failed, 3 something did.
    """
    console = Console(highlight=False)
    found: list[Finding] = []
    for finding in _deployed() if deploy else findings():
        found.append(finding)
        if not as_json:
            _print(console, finding)
    failed = [finding for finding in found if finding.status is Status.FAILED]
    if as_json:
        rows = [
            {"part": f.part, "name": f.name, "status": f.status.value, "detail": f.detail, "fix": f.fix} for f in found
        ]
        print_json({"ok": not failed, "checks": rows})
    elif failed:
        console.print(f"{len(failed)} of {len(found)} checks failed", style="bold red")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _deployed() -> Iterator[Finding]:
    # Loaded when asked for: a base install lacks what it looks with.
    from engine.cli._deploy import deploy_findings

    return deploy_findings()


def _print(console: Console, finding: Finding) -> None:
    mark, style = _MARKS[finding.status]
    line = Text(f"{mark:>4}", style=style)
    line.append(f"  {finding.part}: {finding.name}", style="bold")
    line.append(f"  {finding.detail}", style="default")
    console.print(line, soft_wrap=True)
    if finding.fix:
        console.print(Text(f"      -> {finding.fix}", style="cyan"), soft_wrap=True)
