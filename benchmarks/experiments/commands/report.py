"""`thresher bench report`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.experiments.commands.options import with_errors_told


def report(
    result: Annotated[Path, typer.Argument(metavar="RESULT.json", help="The result of an experiment.")],
) -> None:
    """Make the pages of a result again (RESULT.md and RESULT.html), with how this version writes them."""
    with_errors_told(lambda: _report(result))


def _report(path: Path) -> None:
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import find
    from benchmarks.report.files import write_pages

    try:
        found = json.loads(path.read_text())
        name = found["experiment"]
        experiment = find(name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CannotRun(f"{path} is not the result of an experiment: {error}") from error
    for written in write_pages(path, experiment.page(found)):
        typer.echo(f"written: {written}", err=True)
