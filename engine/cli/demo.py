"""What `make demo` runs: from nothing to a passing program, with everything real.

Fetches the default model, starts a server of its own on a Unix socket in a temporary folder, sends it a problem over
gRPC, shows branches, candidates and verdicts while they appear, prints the winner and its cost, and stops the server.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.rule import Rule
from rich.text import Text
from thresher.client import Client, ProblemError, ThresherError, load_document, solve_spec
from thresher.client.account import winner
from thresher.v1 import solve_pb2

from engine.cli._live import SolveDisplay
from engine.cli._output import EXIT_FAILED, EXIT_GOOD, EXIT_INTERRUPTED, EXIT_NOT_SOLVED, EXIT_USAGE
from engine.cli._report import outcome_word, print_cost, print_program
from engine.cli.main import run_app

_EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
_MODEL = "qwen2.5-coder-0.5b-instruct"
_START_SECONDS = 180.0
_STOP_SECONDS = 30.0


class _DemoFailed(Exception):
    """Ends the demo with exit code 3; the text says why."""


def demo(
    problem: Annotated[Path, typer.Option(help="Problem file.")] = _EXAMPLES / "common_prefix.yaml",
    model: Annotated[str, typer.Option(help="Model name, or path of a GGUF file.")] = _MODEL,
) -> None:
    """Solve one real problem, from fetching the model to the passing program."""
    console = Console(highlight=False)
    try:
        document = load_document(problem)
        spec = solve_spec(document)
    except (ProblemError, OSError) as error:
        console.print(f"demo: {problem}: {error}", markup=False)
        raise typer.Exit(EXIT_USAGE) from error
    try:
        _step(console, 1, f"the model: {model}")
        _fetch(console, model)
        with tempfile.TemporaryDirectory(prefix="thresher-demo-") as folder:
            _step(console, 2, "the server, on a Unix socket of its own")
            with _server(console, Path(folder), model) as address:
                _step(console, 3, f"the problem, over gRPC: {problem.name}")
                console.print(Text(str(document.get("prompt", "")).strip(), style="italic"))
                summary = _solve(console, address, spec)
                _step(console, 5, "shutting down")
    except _DemoFailed as error:
        console.print(f"demo: {error}", markup=False, style="bold red")
        raise typer.Exit(EXIT_FAILED) from error
    except KeyboardInterrupt:
        console.print("demo: interrupted")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(EXIT_GOOD if winner(summary) is not None else EXIT_NOT_SOLVED)


def _step(console: Console, number: int, text: str) -> None:
    console.print(Rule(Text(f" {number}. {text} ", style="bold"), align="left", style="dim"))


def _fetch(console: Console, model: str) -> None:
    from engine.models.catalogue import CATALOGUE, cache_folder, fetch
    from engine.models.errors import ModelError
    from engine.models.store import State, state_of

    entry = CATALOGUE.get(model)
    if entry is not None and state_of(entry, cache_folder()) is State.READY:
        console.print(f"already in {cache_folder()}, hash checked")
        return
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
            task = progress.add_task("fetching", total=entry.size if entry else None)
            path = fetch(model, lambda done, total: progress.update(task, completed=done, total=total))
    except (ModelError, OSError) as error:
        raise _DemoFailed(str(error)) from error
    console.print(f"{path}")


@contextmanager
def _server(console: Console, folder: Path, model: str) -> Generator[str]:
    """A server in a process of its own; its address. Raises _DemoFailed with the end of its log."""
    address = f"unix:{folder}/demo.sock"
    log = folder / "server.log"
    # Its runtime file must not be what other clients of this user find.
    environ = os.environ | {"XDG_RUNTIME_DIR": str(folder)}
    command = [sys.executable, "-m", "engine.cli.main", "serve", "--listen", address, "--model", model]
    started = time.monotonic()
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches the demo, which then stops the server in good order.
        process = subprocess.Popen(
            [*command, "--drain-seconds", "5"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
        )
    try:
        with Client(address) as client:

            def still_there() -> None:
                if process.poll() is not None:
                    raise _DemoFailed(f"the server ended with status {process.returncode}:\n{_tail(log)}")

            try:
                with console.status("starting"):
                    client.wait_ready(_START_SECONDS, between=still_there)
                info = client.server_info(timeout=10)
                models = client.models(timeout=10)
            except ThresherError as error:
                raise _DemoFailed(f"the server does not answer: {error}\n{_tail(log)}") from error
        served = ", ".join(f"{m.name.removeprefix('models/')} ({m.dtype} on {m.device})" for m in models)
        console.print(f"thresher {info.version} ready after {time.monotonic() - started:.1f} s: {served}")
        weak = f", without: {', '.join(info.sandbox.weaknesses)}" if info.sandbox.weaknesses else ""
        console.print(f"sandbox: {info.sandbox.backend} {info.sandbox.version}{weak}")
        yield address
    finally:
        _stop(process)
    if process.returncode != 0:
        raise _DemoFailed(f"the server stopped with status {process.returncode}:\n{_tail(log)}")
    console.print("the server stopped cleanly")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _solve(console: Console, address: str, spec: solve_pb2.SolveSpec) -> solve_pb2.Summary:
    spec.events.branches = spec.events.token_deltas = console.is_terminal
    for test in spec.problem.tests:
        hidden = "held out: " if test.hidden else ""
        kind = test.WhichOneof("kind")
        text = test.snippet.code if kind == "snippet" else f"{kind} test {test.name}".strip()
        console.print(Text(f"  {hidden}{text}", style="dim"))
    console.print()
    try:
        with Client(address) as client, client.solve(spec) as stream, SolveDisplay(console) as display:
            for event in stream:
                display.handle(event)
    except ThresherError as error:
        raise _DemoFailed(str(error)) from error
    summary = stream.summary
    if summary is None:
        raise AssertionError("a stream without a summary raises")
    best = winner(summary)
    if best is None:
        _step(console, 4, f"no program passed ({outcome_word(summary)})")
    else:
        _step(console, 4, f"the program that passed: program {best.index}")
        print_program(console, best.code)
    console.print()
    print_cost(console, summary)
    return summary


def _run() -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(demo)
    run_app(app)


if __name__ == "__main__":
    _run()
