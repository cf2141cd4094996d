"""`thresher solve`: sends a problem, shows the solve live, prints the program that passed."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from thresher.client import Client, ProblemError, ThresherError, solve_spec, to_plain
from thresher.client.account import winner
from thresher.client.errors import waiting_words, with_option
from thresher.client.plain import enum_words
from thresher.v1 import solve_pb2

from engine.cli._connection import Address, TlsCa, TlsCertificate, TlsKey, TokenFile, UseTls, read_tls, read_token
from engine.cli._document import add_tests, override, read_document
from engine.cli._drawing import (
    add_attempts,
    add_variants,
    open_end,
    options_beside,
    set_constraint,
    set_mode,
    set_temperatures,
)
from engine.cli._interrupt import on_interrupt
from engine.cli._live import SolveDisplay
from engine.cli._output import (
    EXIT_GOOD,
    EXIT_INTERRUPTED,
    EXIT_NOT_SOLVED,
    call_error,
    print_json,
    usage_error,
)
from engine.cli._recording import Recorder
from engine.cli._report import lowered_line, outcome_word, print_cost, print_program, prune_line
from engine.cli._rounds import solve_in_rounds

_POLICIES = enum_words(solve_pb2.ReturnPolicy.DESCRIPTOR)
_MODES = enum_words(solve_pb2.SamplingMode.DESCRIPTOR)
_PRIORITIES = enum_words(solve_pb2.Priority.DESCRIPTOR)
_PRUNES = enum_words(solve_pb2.Prune.DESCRIPTOR)
_LOADING_SECONDS = 240.0
_GRACE_SECONDS = 30.0
"""How much longer than --timeout the call may take before it fails: the server ends by itself at --timeout."""


def solve(
    file: Annotated[
        Path | None, typer.Argument(help="Problem file (.json, .yaml; docs/problem-files.md), or - for standard input.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="The task in words, instead of a file.")] = None,
    test: Annotated[list[str] | None, typer.Option(help="A test, e.g. 'assert f(1) == 2'. May be repeated.")] = None,
    entry_point: Annotated[str | None, typer.Option(help="Name of the function that the tests call.")] = None,
    k: Annotated[int | None, typer.Option("--k", "-k", help="Samples to draw at most.")] = None,
    mode: Annotated[str | None, typer.Option(help=f"How to draw: {', '.join(_MODES)} (docs/sampling.md).")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    temperatures: Annotated[
        str | None, typer.Option(metavar="T,T,...", help="Several, drawn at in turns, such as 0.2,0.8.")
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Nucleus sampling.")] = None,
    variant: Annotated[
        list[Path] | None,
        typer.Option(help="Another prompt: a file with the task in words, or a problem file. May be repeated."),
    ] = None,
    distinct_programs: Annotated[
        bool | None, typer.Option("--distinct-programs", help="With --mode distinct: k programs, not k texts.")
    ] = None,
    length_penalty: Annotated[float | None, typer.Option(help="With --mode beam: 1, or 0 for short texts.")] = None,
    prune: Annotated[
        str | None, typer.Option(help=f"Give up early what cannot become a program: {', '.join(_PRUNES)}.")
    ] = None,
    regex: Annotated[str | None, typer.Option(help="What every text must match.")] = None,
    ebnf: Annotated[Path | None, typer.Option(help="File with a grammar that every text must match.")] = None,
    json_schema: Annotated[Path | None, typer.Option(help="File with a JSON schema for every text.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same candidates.")] = None,
    policy: Annotated[str | None, typer.Option(help=f"When to end: {', '.join(_POLICIES)}.")] = None,
    model: Annotated[str | None, typer.Option(help="A model that the server has; its default otherwise.")] = None,
    priority: Annotated[str | None, typer.Option(help=f"Who goes first: {', '.join(_PRIORITIES)}.")] = None,
    client_name: Annotated[
        str | None, typer.Option("--client", help="Whose it is, where clients share a server; this process otherwise.")
    ] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Length of one sample at most.")] = None,
    width: Annotated[int | None, typer.Option(help="Rows in one step at most; the server decides otherwise.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds after which the solve ends with what it has.")] = None,
    max_rows: Annotated[int | None, typer.Option(help="Rows of the model after which it does.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Tokens of all samples after which it does.")] = None,
    max_executions: Annotated[int | None, typer.Option(help="Programs executed after which it does.")] = None,
    to_the_end: Annotated[
        bool, typer.Option("--open-end", help="No k: draw until a program passes or one of these is reached.")
    ] = False,
    attempt: Annotated[
        list[Path] | None,
        typer.Option(help="A program that somebody wrote for it: judged before any is drawn. May be repeated."),
    ] = None,
    attempts_in_prompt: Annotated[
        bool | None, typer.Option("--attempts-in-prompt", help="Show the model those that failed, and how.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="Turns at most: in each the model is told what failed before (docs/refine.md).")
    ] = 1,
    address: Address = None,
    token_file: TokenFile = None,
    tls: UseTls = False,
    tls_ca: TlsCa = None,
    tls_certificate: TlsCertificate = None,
    tls_key: TlsKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing on the way.")] = False,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the solve's events there, programs too, for `replay`.")
    ] = None,
) -> None:
    """Solve a programming problem: draw programs, test each, print the first that passes.

    The program goes to standard output, everything else to standard error.
    Exit code: 0 solved, 1 not solved, 2 wrong use, 3 server or sandbox failure, 130 interrupted.
    """
    options = options_beside(file)
    try:
        document = _document(file, prompt, test or [])
        override(document, "", entry_point=entry_point, policy=policy, model=model, priority=priority)
        set_mode(document, mode)
        override(document, "sampling", k=k, top_p=top_p, seed=seed, width=width)
        override(document, "sampling", max_new_tokens=max_new_tokens, length_penalty=length_penalty)
        override(document, "sampling", distinct_programs=distinct_programs, prune=prune)
        set_temperatures(document, temperature, temperatures)
        set_constraint(document, regex, ebnf, json_schema)
        add_variants(document, variant or [])
        add_attempts(document, attempt or [])
        override(document, "cascade", attempts_in_prompt=attempts_in_prompt)
        override(document, "budget", wall_seconds=timeout, rows=max_rows, generated_tokens=max_tokens)
        override(document, "budget", executions=max_executions)
        if to_the_end:
            open_end(document, k)
        spec = solve_spec(document)
        token, secured = read_token(token_file), read_tls(tls, tls_ca, tls_certificate, tls_key)
    except ProblemError as error:
        raise usage_error(with_option(str(error), options), as_json=as_json) from error
    if rounds > 1 and record is not None:
        raise usage_error("--record: one solve is recorded, and --rounds makes several; leave one out", as_json=as_json)
    if not as_json and not quiet and rounds == 1:
        # Only the table shows branches; the lines in a pipe tell of programs.
        spec.events.branches = spec.events.token_deltas = sys.stderr.isatty()
    if record is not None:
        spec.events.branches = spec.events.token_deltas = spec.events.failing_code = True
    deadline = None if timeout is None else rounds * timeout + _GRACE_SECONDS
    connect = partial(Client, address, token=token, tls=secured, name=client_name)
    try:
        recorder = nullcontext() if record is None else Recorder(record, spec)
    except OSError as error:
        raise usage_error(f"--record: {record} cannot be written: {error.strerror}", as_json=as_json) from error
    with recorder as recording:
        if rounds == 1:
            work = partial(_solve, spec, connect, deadline, as_json=as_json, quiet=quiet, recording=recording)
        else:
            work = partial(solve_in_rounds, spec, rounds, connect, deadline, as_json=as_json, quiet=quiet)
        code = _run(work, connect, options, as_json=as_json, quiet=quiet)
    raise typer.Exit(code)


def _document(file: Path | None, prompt: str | None, tests: list[str]) -> dict[str, Any]:
    """The problem as it is written in a file, or as the options put it together."""
    if (file is None) == (prompt is None):
        raise ProblemError("", "give either a problem file or --prompt with --test")
    document: dict[str, Any] = {"prompt": prompt} if file is None else read_document(file)
    add_tests(document, tests)
    return document


def _run(
    work: Callable[[], int], connect: Callable[[], Client], options: Mapping[str, str], *, as_json: bool, quiet: bool
) -> int:
    """What is asked of the server, to its exit code. A server that is still loading its model is waited for."""
    try:
        return work()
    except ThresherError as error:
        if error.reason != "STARTING":
            raise call_error(error, as_json=as_json, options=options) from error
        waiting = waiting_words(error)
    if not as_json and not quiet:
        typer.echo(f"thresher: {waiting}; that does not count towards --timeout", err=True)
    try:
        with connect() as client:
            client.wait_ready(_LOADING_SECONDS)
        return work()
    except ThresherError as error:
        raise call_error(error, as_json=as_json, options=options) from error


def _interrupted() -> int:
    typer.echo("thresher: interrupted; the solve is cancelled", err=True)
    return EXIT_INTERRUPTED


def _solve(
    spec: solve_pb2.SolveSpec,
    connect: Callable[[], Client],
    deadline: float | None,
    *,
    as_json: bool,
    quiet: bool,
    recording: Recorder | None,
) -> int:
    started = time.monotonic()
    display = SolveDisplay(Console(stderr=True), quiet=quiet or as_json)
    try:
        with (
            connect() as client,
            client.solve(spec, timeout=deadline) as stream,
            on_interrupt(stream.cancel) as interrupted,
            display,
        ):
            request_id = ""
            for event in stream:
                request_id = request_id or event.accepted.request_id
                display.handle(event)
                if recording is not None:
                    recording.handle(event)
            summary = stream.summary
        if interrupted:
            return _interrupted()
    except KeyboardInterrupt:
        return _interrupted()
    if summary is None:
        raise AssertionError("a stream without a summary raises")
    best = winner(summary)
    if as_json:
        print_json(
            {
                "solved": best is not None,
                "outcome": outcome_word(summary),
                "program": best.code if best is not None else None,
                "request_id": request_id,
                "model": display.progress.model,
                "seconds": round(time.monotonic() - started, 3),
                "summary": to_plain(summary),
            }
        )
        return EXIT_GOOD if best is not None else EXIT_NOT_SOLVED
    if best is not None:
        print_program(Console(), best.code)
    if not quiet:
        notes = Console(stderr=True)
        notes.print("solved" if best is not None else f"not solved ({outcome_word(summary)})", style="bold")
        print_cost(notes, summary)
        for line in filter(None, (lowered_line(summary.lowered_limits), prune_line(spec, summary))):
            notes.print(line, style="yellow", soft_wrap=True)
    return EXIT_GOOD if best is not None else EXIT_NOT_SOLVED
