"""`thresher replay`: makes a page of a recorded solve."""

from pathlib import Path
from typing import Annotated

import typer

from engine.cli._output import EXIT_FAILED, usage_error
from engine.cli._recording import BadRecording, read_recording
from engine.cli._replay import page_of, picture_of


def replay(
    file: Annotated[
        Path,
        typer.Argument(help="A recording of `thresher solve --record FILE`, or one of a server's recorder.folder."),
    ],
    out: Annotated[Path | None, typer.Option("--out", help="The page. Default: FILE.html beside it.")] = None,
) -> None:
    """Draw a recorded solve: the sampling tree over time, forks, verdicts, the first pass, and what was cut off.

    A server's recording also shows what the scheduler decided, and why.

    The page is one file that any browser opens; it holds the programs. Exit codes: 0 good, 2 no recording, 3 the page
    cannot be written.
    """
    try:
        recorded = read_recording(file)
    except BadRecording as error:
        raise usage_error(str(error), as_json=False) from None
    target = out or file.with_name(f"{file.name}.html")
    try:
        target.touch(0o600)
        target.write_text(page_of(picture_of(recorded)), encoding="utf-8")
    except OSError as error:
        typer.echo(f"thresher replay: {target} cannot be written: {error.strerror}", err=True)
        raise typer.Exit(EXIT_FAILED) from None
    typer.echo(str(target))
