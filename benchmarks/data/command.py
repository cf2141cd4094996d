"""`thresher data`: which problem sets are here, what a problem is, whether a set is what it claims."""

import asyncio
import dataclasses
import difflib
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.data import shown
from benchmarks.data.errors import DataDamaged, DataError, DataMissing, UnknownSet
from benchmarks.data.places import Found
from benchmarks.data.record import DataSet
from benchmarks.data.registry import SETS, found, load, program_maker
from benchmarks.data.validate import Fault, References, faults, run_references
from engine.cli._output import EXIT_FAILED, EXIT_NOT_SOLVED, EXIT_USAGE, print_json
from executor import Executor, ExecutorConfig, ExecutorError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Problem sets: which are here, what a problem is, whether a set is what it claims.",
    epilog="Exit codes: 0 good; 1 a set has faults, or a reference fails; 2 wrong use; 3 no data, or no sandbox.",
)

Data = Annotated[
    Path | None, typer.Option("--data", help="Folder of sets, looked in before THRESHER_DATA, the cache and the hub.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]

_OWN_PROBLEM = re.compile(r"(.+\.jsonl(?:\.gz)?)/(.+)")
_MOST_FAULTS = 20
_WIDE = 200


@app.command("list")
def list_sets(data: Data = None, as_json: AsJson = False) -> None:
    """Show the sets that have a name, and which of them are on this machine. Nothing is fetched."""
    try:
        rows = [_row(name, data) for name in SETS]
    except DataError as error:
        raise _failed(error) from error
    if as_json:
        print_json({"sets": rows})
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE  # nobody is there to widen a window
    console.print(shown.table(rows))
    console.print("a file of problems of your own (.jsonl, docs/data.md) can stand for a name", style="dim")


@app.command()
def show(
    problem: Annotated[str, typer.Argument(metavar="SET/ID", help="For example mbpp/20, or my.jsonl/first.")],
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Show one problem: the task, its tests, its reference."""
    name, identity = _parted(problem)
    try:
        loaded = load(name, data=data)
    except DataError as error:
        raise _failed(error) from error
    record = next((record for record in loaded.records if record.id == identity), None)
    if record is None:
        near = difflib.get_close_matches(identity, [one.id for one in loaded.records], n=3, cutoff=0.5)
        hint = f"near it are {', '.join(near)}" if near else f"the first is {loaded.records[0].id}"
        raise _wrong_use(f"{name} has no problem {identity!r} here; {hint}")
    if as_json:
        print_json({"origin": dataclasses.asdict(loaded.origin), "record": dataclasses.asdict(record)})
        return
    console = Console(highlight=False, soft_wrap=True)
    console.print(shown.problem(loaded.origin.name, record))
    console.print(f"\n{_origin(loaded)}", style="dim", markup=False)


@app.command()
def validate(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Sets, or files; all that are here if none is given.")
    ] = None,
    references: Annotated[
        bool, typer.Option("--references", help="Also run every reference against its tests, in the sandbox: minutes.")
    ] = False,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check every record of sets: distinct ids, tests and set-up code that a server takes, and more."""
    good = True
    results: list[dict[str, Any]] = []
    for name in names or _here(data):
        try:
            loaded = load(name, data=data)
            wrong = faults(loaded)
        except DataDamaged as error:
            loaded, wrong = None, [Fault("", str(error))]
        except DataError as error:
            raise _failed(error) from error
        judged = _judged(name, loaded, shown_progress=not as_json) if loaded and references and not wrong else None
        good = good and not wrong and not (judged and judged.failed)
        results.append(_result(name, loaded, wrong, judged))
        if not as_json:
            _print_result(name, loaded, wrong, judged)
    if as_json:
        print_json({"good": good, "sets": results})
    if not good:
        raise typer.Exit(EXIT_NOT_SOLVED)


def _row(name: str, data: Path | None) -> dict[str, Any]:
    place = found(name, data)
    if not isinstance(place, Found):
        return shown.row(SETS[name], "not here", None)
    try:
        return shown.row(SETS[name], place.where, load(name, data=data))
    except DataDamaged:
        return shown.row(SETS[name], f"{place.where}, damaged: see `thresher data validate {name}`", None)


def _here(data: Path | None) -> list[str]:
    try:
        names = [name for name in SETS if isinstance(found(name, data), Found)]
    except DataError as error:
        raise _failed(error) from error
    if not names:
        raise _failed(DataMissing("no set is here; `thresher data validate SET` says how to get one"))
    return names


def _parted(problem: str) -> tuple[str, str]:
    own = _OWN_PROBLEM.fullmatch(problem)
    name, identity = own.groups() if own else (problem.partition("/")[0], problem.partition("/")[2])
    if not identity:
        raise _wrong_use(f"{problem!r} names no problem; say {problem.rstrip('/') or 'mbpp'}/ID")
    return name, identity


def _judged(name: str, loaded: DataSet, *, shown_progress: bool) -> References:
    total = sum(len(record.references) for record in loaded.records)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    hidden = not (shown_progress and console.is_terminal)
    with Progress(*columns, console=console, disable=hidden, transient=True) as progress:
        task = progress.add_task(f"references of {loaded.origin.name}", total=total)

        async def run() -> References:
            async with Executor(ExecutorConfig()) as executor:
                return await run_references(
                    loaded, program_maker(name), executor, lambda done: progress.update(task, completed=done)
                )

        try:
            return asyncio.run(run())
        except ExceptionGroup as failures:
            sandbox = failures.subgroup((ExecutorError, RuntimeError))
            if sandbox is None:
                raise
            typer.echo(f"thresher: {sandbox.exceptions[0]}", err=True)
        except ExecutorError as failure:
            typer.echo(f"thresher: {failure}", err=True)
    raise typer.Exit(EXIT_FAILED)


def _result(name: str, loaded: DataSet | None, wrong: list[Fault], judged: References | None) -> dict[str, Any]:
    return {
        "name": name,
        "records": None if loaded is None else len(loaded.records),
        "version": None if loaded is None else loaded.origin.version,
        "faults": [dataclasses.asdict(fault) for fault in wrong],
        "references": None if judged is None else dataclasses.asdict(judged),
    }


def _print_result(name: str, loaded: DataSet | None, wrong: list[Fault], judged: References | None) -> None:
    count = f"{len(loaded.records):,} records, " if loaded else ""
    words = [f"{name}: {count}{f'faults: {len(wrong)}' if wrong else 'good'}"]
    words += [f"  {fault.id}: {fault.text}" if fault.id else f"  {fault.text}" for fault in wrong[:_MOST_FAULTS]]
    if len(wrong) > _MOST_FAULTS:
        words.append(f"  ... and {len(wrong) - _MOST_FAULTS} more (see --json)")
    if judged is not None:
        words[0] += f"; references {judged.passed}/{judged.programs}" if judged.programs else "; no references"
        if judged.held_out:
            words[0] += f", of which with held-out tests {judged.held_out_passed}/{judged.held_out}"
        words += [f"  {name}: {text}" for name, text in judged.failed.items()]
    typer.echo("\n".join(words))


def _origin(loaded: DataSet) -> str:
    origin = loaded.origin
    line = f"{origin.title}, {origin.version}. Licence: {origin.licence}. {origin.url}".rstrip()
    return f"{line}\n{loaded.note}" if loaded.note else line


def _wrong_use(message: str) -> typer.Exit:
    typer.echo(f"thresher: {message}", err=True)
    return typer.Exit(EXIT_USAGE)


def _failed(error: DataError) -> typer.Exit:
    if isinstance(error, UnknownSet):
        return _wrong_use(str(error))
    typer.echo(f"thresher: {error}", err=True)
    return typer.Exit(EXIT_FAILED)
