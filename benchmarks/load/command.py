"""`thresher bench load`."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.experiments.commands.options import EXIT_INTERRUPTED, with_errors_told

if TYPE_CHECKING:
    from benchmarks.load.knee import Wish
    from benchmarks.load.loads import Load
    from benchmarks.load.mix import Mix

_TIMES_SLO = 4.0
"""In a knee search no call takes longer than so many times the promise: an overloaded server is soon empty again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What was said on the command line, see `load`."""

    rate: float | None
    users: int | None
    think: float
    ramp: str | None
    trace: Path | None
    speed: float
    knee: str | None
    mix: Path | None
    set_name: str
    problems: int
    k: int
    data: Path | None
    seconds: float
    warm_up: float
    patience: float
    slo: float
    share: float
    precision: float
    runs: int
    seed: int
    server: str | None
    metrics: str | None
    server_log: Path | None
    token_file: Path | None
    model: str
    arithmetic: str
    out: Path | None


def load(
    rate: Annotated[float | None, typer.Option(min=0.0001, help="Open loop: so many calls a second, Poisson.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Closed loop: so many users, each waits for its answer.")] = (
        None
    ),
    think: Annotated[float, typer.Option(min=0, help="Seconds between a user's answer and its next call.")] = 0.0,
    ramp: Annotated[
        str | None, typer.Option(metavar="A..B", help="Open loop: from A to B calls a second over --seconds.")
    ] = None,
    trace: Annotated[Path | None, typer.Option(help="Open loop: a recorded trace (docs/load.md).")] = None,
    speed: Annotated[float, typer.Option(min=0.001, help="The trace so many times as fast.")] = 1.0,
    knee: Annotated[
        str | None, typer.Option(metavar="A..B", help="Find the largest rate between A and B that holds --slo.")
    ] = None,
    mix: Annotated[Path | None, typer.Option(help="A mix file; without one --set, --problems and --k say it.")] = None,
    set_name: Annotated[str, typer.Option("--set", help="A problem set of `thresher data list`, or a .jsonl.")] = (
        "humaneval"
    ),
    problems: Annotated[int, typer.Option(min=1, help="The set's first so many problems.")] = 20,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Samples of a problem at most.")] = 16,
    data: Annotated[Path | None, typer.Option(help="Folder with the problem sets. Default: THRESHER_DATA.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long calls are made, of each run of a knee search.")] = 60,
    warm_up: Annotated[float, typer.Option(min=0, help="The first so many seconds do not count.")] = 5.0,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the last answers before they are given up.")
    ] = 60.0,
    slo: Annotated[float, typer.Option(min=0.001, help="Seconds within which an answer has to be there.")] = 5.0,
    share: Annotated[float, typer.Option(min=0.01, max=1, help="--knee: share of calls that must be in time.")] = 0.9,
    precision: Annotated[float, typer.Option(min=0.01, help="--knee: how close the two rates shall be.")] = 0.1,
    runs: Annotated[int, typer.Option(min=1, help="--knee: runs at one rate at most.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals, choices and samples.")] = 0,
    server: Annotated[
        str | None,
        typer.Option(help="Address of a running server (unix:/path, host:port). Default: one is started for the run."),
    ] = None,
    metrics: Annotated[str | None, typer.Option(help="host:port of that server's metrics, for the two books.")] = None,
    server_log: Annotated[
        Path | None, typer.Option(help="That server's log (JSON), for the solves that their clients have left.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token of a server on TCP.")] = None,
    model: Annotated[str, typer.Option(help="Of a server that is started here. Default: its default model.")] = "",
    arithmetic: Annotated[
        str, typer.Option(help="Of a server that is started here: int8, bfloat16, float32 or auto.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option(help="The result: FILE.json, with .md, .html and .calls.jsonl beside it.")
    ] = None,
) -> None:
    """Put a load on a server: time to first pass, goodput, tokens, waste, queue, refusals; or find its knee.

    One of --rate, --users, --ramp, --trace and --knee says how much. Times count from when a call was due, whatever the
    server was doing then. The server's metrics are read before and after, and must agree with what the clients were
    told. Exit codes: 0 done, 2 wrong use, 3 the server failed or the books differ.
    """
    given = LoadOptions(**locals())
    try:
        with_errors_told(lambda: _load(given))
    except KeyboardInterrupt:
        typer.echo("interrupted" + ("; the same command goes on" if given.knee else ""), err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _load(given: LoadOptions) -> None:
    from benchmarks.load.conduct import find_knee, one_run, served
    from benchmarks.load.knee import Wish

    # All that can be refused is refused before a server is started.
    much = _how_much(given)
    mix = mix_of_options(given.mix, given.set_name, given.problems, given.k, given.data)
    described = {"slo_seconds": given.slo, "seed": given.seed, "mix": mix.protocol, "warm_up_seconds": given.warm_up}
    command = ["thresher", *sys.argv[1:]]
    with served(
        given.server,
        metrics=given.metrics,
        log=given.server_log,
        token_file=given.token_file,
        model=given.model,
        arithmetic=given.arithmetic,
    ) as asked:
        if isinstance(much, Wish):
            within = mix.within(_TIMES_SLO * given.slo)
            result = find_knee(
                asked,
                within,
                much,
                protocol={**described, "mix": within.protocol},
                seconds=given.seconds,
                out=given.out or Path("thresher-bench") / "knee.json",
                command=command,
            )
        else:
            result = one_run(
                asked,
                mix,
                much,
                protocol={**described, "patience_seconds": given.patience},
                out=given.out or Path("thresher-bench") / "load.json",
                command=command,
            )
    _tell(result)


def mix_of_options(mix: Path | None, set_name: str, problems: int, k: int, data: Path | None) -> "Mix":
    """The mix file, or one set with one way to draw. Raises as `read_mix` does."""
    from benchmarks.load.mix import mix_of, read_mix

    if mix is not None:
        return read_mix(mix, data)
    sampling = {"k": k, "temperature": 0.8, "top_p": 0.95, "max_new_tokens": 256}
    return mix_of({"name": set_name, "problems": set_name, "count": problems, "sampling": sampling}, data)


def _how_much(given: LoadOptions) -> "Load | Wish":
    """The one load that is asked for, or the wish of a knee search. Raises CannotRun."""
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.load.knee import Wish

    kinds = {"--rate": given.rate, "--users": given.users, "--ramp": given.ramp, "--trace": given.trace}
    chosen = [name for name, value in {**kinds, "--knee": given.knee}.items() if value is not None]
    if len(chosen) != 1:
        said = ", ".join(chosen) or "none"
        raise CannotRun(f"say how much with one of {', '.join([*kinds, '--knee'])}; given: {said}")
    if given.knee is not None:
        low, high = span(given.knee, "--knee")
        return Wish(share=given.share, low=low, high=high, precision=given.precision, runs=given.runs)
    load = _load_of(given)
    if given.warm_up >= load.seconds:
        raise CannotRun(f"--warm-up: {given.warm_up:g} s leave nothing of a run of {load.seconds:g} s")
    return load


def _load_of(given: LoadOptions) -> "Load":
    from benchmarks.load.loads import Ramp, Rate, Replay, Users
    from benchmarks.load.trace import read_trace

    if given.rate is not None:
        return Rate(rate=given.rate, seconds=given.seconds)
    if given.users is not None:
        return Users(users=given.users, think=given.think, seconds=given.seconds)
    if given.ramp is not None:
        first, last = span(given.ramp, "--ramp")
        return Ramp(first=first, last=last, seconds=given.seconds)
    assert given.trace is not None
    return Replay(name=given.trace.name, points=read_trace(given.trace), speed=given.speed)


def span(text: str, option: str) -> tuple[float, float]:
    """Two rates above 0, as in `0.1..2`; only a ramp may fall. Raises CannotRun."""
    from benchmarks.experiments.errors import CannotRun

    first, dots, last = text.partition("..")
    try:
        rates = float(first), float(last)
    except ValueError:
        rates = 0.0, 0.0
    if not dots or min(rates) <= 0 or (option != "--ramp" and rates[0] >= rates[1]):
        raise CannotRun(f"{option}: {text!r} is not two rates above 0, such as 0.1..2")
    return rates


def _tell(result: Mapping[str, Any]) -> None:
    from benchmarks.experiments.errors import RunFailed
    from benchmarks.load.knee_results import knee_page
    from benchmarks.load.results import page_of
    from benchmarks.report.markdown import headline

    knee = result["experiment"] == "knee"
    typer.echo(headline(knee_page(result) if knee else page_of(result)))
    books = [trial["books"] for trial in result["trials"]] if knee else [result["books"]]
    differences = [difference for one in books if one["agree"] is False for difference in one["differences"]]
    if differences:
        raise RunFailed("\n  ".join(["the two books differ:", *differences]))
