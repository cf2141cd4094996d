"""`thresher bench plan`."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.experiments.commands.options import with_errors_told

if TYPE_CHECKING:
    from benchmarks.load.loads import Load
    from benchmarks.load.mix import Mix
    from benchmarks.plan.recorded import Measured

_MEASURED = Path("thresher-bench") / "measured.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """What was said on the command line, see `plan`."""

    measure: bool
    measured: Path
    rate: float | None
    users: int | None
    think: float
    trace: Path | None
    speed: float
    sweep: str | None
    mix: Path | None
    set_name: str
    problems: int
    k: int
    data: Path | None
    samples: int
    each: float
    seconds: float
    warm_up: float
    patience: float
    slo: float
    seed: int
    rows: int
    plays: int
    check: Path | None
    server: str | None
    metrics: str | None
    token_file: Path | None
    model: str
    arithmetic: str
    out: Path | None


def plan(
    measure: Annotated[bool, typer.Option("--measure", help="Measure first: a few minutes on a server.")] = False,
    measured: Annotated[Path, typer.Option(help="The measurements: written by --measure, read without.")] = _MEASURED,
    rate: Annotated[float | None, typer.Option(min=0.0001, help="Open loop: so many calls a second, Poisson.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Closed loop: so many users.")] = None,
    think: Annotated[float, typer.Option(min=0, help="Seconds between a user's answer and its next call.")] = 0.0,
    trace: Annotated[Path | None, typer.Option(help="Open loop: a recorded trace (docs/load.md).")] = None,
    speed: Annotated[float, typer.Option(min=0.001, help="The trace so many times as fast.")] = 1.0,
    sweep: Annotated[
        str | None, typer.Option(metavar="A..B", help="Open loop: eight rates from A to B calls a second.")
    ] = None,
    mix: Annotated[Path | None, typer.Option(help="A mix file; without one --set, --problems and --k say it.")] = None,
    set_name: Annotated[str, typer.Option("--set", help="A problem set of `thresher data list`, or a .jsonl.")] = (
        "humaneval"
    ),
    problems: Annotated[int, typer.Option(min=1, help="The set's first so many problems.")] = 20,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Samples of a problem at most.")] = 16,
    data: Annotated[Path | None, typer.Option(help="Folder with the problem sets. Default: THRESHER_DATA.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="--measure: samples of each problem.")] = 64,
    each: Annotated[float, typer.Option(min=1, help="--measure: seconds of each of two loads, for the steps.")] = 60,
    seconds: Annotated[float, typer.Option(min=1, help="How long calls are made.")] = 600,
    warm_up: Annotated[float, typer.Option(min=0, help="The first so many seconds do not count.")] = 5.0,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the last answers before they are given up.")
    ] = 60.0,
    slo: Annotated[float, typer.Option(min=0.001, help="Seconds within which an answer has to be there.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Of arrivals and choices; a load test's makes the same calls.")] = 0,
    rows: Annotated[int, typer.Option(min=1, help="The server's engine.max_rows.")] = 64,
    plays: Annotated[int, typer.Option(min=1, help="The load is played so many times, with other samples each.")] = 3,
    check: Annotated[
        Path | None, typer.Option(metavar="LOAD.json", help="A load test of the very load: how far is this off?")
    ] = None,
    server: Annotated[str | None, typer.Option(help="--measure: a running server. Default: one is started.")] = None,
    metrics: Annotated[str | None, typer.Option(help="host:port of that server's metrics.")] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the bearer token of a server on TCP.")] = None,
    model: Annotated[str, typer.Option(help="Of a server that is started here. Default: its default model.")] = "",
    arithmetic: Annotated[
        str, typer.Option(help="Of a server that is started here: int8, bfloat16, float32 or auto.")
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="The result: FILE.json, with .md and .html beside it.")] = None,
) -> None:
    """Predict solved problems a second and the time to first pass for a model, k and load, from a few measurements.

    First `--measure`, once for a machine, a model and a mix; then any load of that mix, without a server: the engine's
    own scheduler plays it in made time. Exit codes: 0 done, 1 --check is off by more than 20 %, 2 wrong use, 3 the
    server failed.
    """
    given = PlanOptions(**locals())
    with_errors_told(lambda: _plan(given))


def _plan(given: PlanOptions) -> None:
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.load.command import mix_of_options
    from benchmarks.plan.measure import require_plain
    from benchmarks.plan.recorded import read_measured
    from benchmarks.plan.results import require_measured

    mix = mix_of_options(given.mix, given.set_name, given.problems, given.k, given.data)
    for entry in mix.entries:
        require_plain(entry)
    loads = _loads(given)
    if not loads and not given.measure:
        raise CannotRun("say what to predict with --rate, --users, --trace or --sweep, or measure with --measure")
    if given.check is not None and len(loads) != 1:
        raise CannotRun("--check goes with one load, that of the load test")
    found = _measure(given, mix) if given.measure else read_measured(given.measured)
    require_measured(found, mix)
    if loads:
        _tell(given, mix, found, loads)


def _loads(given: PlanOptions) -> "dict[str, Load]":
    """The loads to predict, by name."""
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.load.command import span
    from benchmarks.load.loads import Rate, Replay, Users
    from benchmarks.load.trace import read_trace

    found: dict[str, Load] = {}
    if given.rate is not None:
        found[f"{given.rate:g} calls/s"] = Rate(rate=given.rate, seconds=given.seconds)
    if given.users is not None:
        found[f"{given.users} users"] = Users(users=given.users, think=given.think, seconds=given.seconds)
    if given.trace is not None:
        found[given.trace.name] = Replay(name=given.trace.name, points=read_trace(given.trace), speed=given.speed)
    if given.sweep is not None:
        low, high = span(given.sweep, "--sweep")
        rates = [float(f"{low * (high / low) ** (place / 7):.3g}") for place in range(8)]
        found |= {f"{rate:g} calls/s": Rate(rate=rate, seconds=given.seconds) for rate in rates}
    short = [name for name, load in found.items() if load.seconds <= given.warm_up]
    if short:
        raise CannotRun(f"--warm-up: {given.warm_up:g} s leave nothing of {', '.join(short)}")
    return found


def _measure(given: PlanOptions, mix: "Mix") -> "Measured":
    import asyncio

    from benchmarks.load.conduct import served
    from benchmarks.plan.measure import measure
    from benchmarks.plan.recorded import write_measured
    from benchmarks.record import provenance

    with served(
        given.server,
        metrics=given.metrics,
        log=None,
        token_file=given.token_file,
        model=given.model,
        arithmetic=given.arithmetic,
    ) as asked:
        found = asyncio.run(
            measure(
                asked,
                mix,
                samples=given.samples,
                seconds=given.each,
                users=given.users or 4,
                provenance=provenance(["thresher", *sys.argv[1:]]),
                say=lambda text: typer.echo(text, err=True),
            )
        )
    write_measured(given.measured, found)
    typer.echo(f"written: {given.measured}", err=True)
    return found


def _tell(given: PlanOptions, mix: "Mix", measured: "Measured", loads: "Mapping[str, Load]") -> None:
    from benchmarks.plan.results import (
        check,
        plan_page,
        plan_result,
        play_again,
        predict,
        read_tested,
        require_same,
    )
    from benchmarks.plan.twin import guessing_of
    from benchmarks.record import provenance
    from benchmarks.report.files import write_all
    from benchmarks.report.markdown import headline

    same = {
        "mix": mix.protocol,
        "seed": given.seed,
        "slo_seconds": given.slo,
        "warm_up_seconds": given.warm_up,
        "patience_seconds": given.patience,
    }
    tested: dict[str, Any] | None = None
    if given.check is not None:
        (load,) = loads.values()
        tested = read_tested(given.check)
        require_same(tested, {**same, "load": load.protocol})
    guessing = guessing_of(measured, mix, given.rows)
    predictions = {
        name: predict(
            measured,
            mix,
            load,
            seed=given.seed,
            slo=given.slo,
            warm_up=given.warm_up,
            patience=given.patience,
            rows=given.rows,
            plays=given.plays,
            guessing=guessing,
        )
        for name, load in loads.items()
    }
    protocol = {
        **same,
        "rows": given.rows,
        "plays": given.plays,
        "guessing": {name: round(value, 3) for name, value in asdict(guessing).items()},
        "loads": {name: load.protocol for name, load in loads.items()},
        "measured": {"about": measured.about, "provenance": measured.provenance},
    }
    checked = None if tested is None else check(next(iter(predictions.values())), tested)
    again = play_again(measured, mix, guessing, given.rows)
    result = plan_result(predictions, protocol, checked, provenance(["thresher", *sys.argv[1:]]), again)
    if given.out is not None:
        write_all(given.out, result, plan_page)
    typer.echo(headline(plan_page({**result, "checked": None})))
    for name, one in predictions.items() if len(predictions) > 1 else ():
        first = one["clients"]["time_to_first_pass"]["p50"]
        typer.echo(f"{name}: {one['clients']['solved_per_second']:.3f} solved/s, first pass p50 {first or 0:.2f} s")
    if checked is not None:
        for words, line in checked["lines"].items():
            off = "–" if line["off"] is None else f"{100 * line['off']:+.1f} %"
            typer.echo(f"{words}: predicted {line['predicted']}, measured {line['measured']}, off by {off}")
        if not checked["within"]:
            raise typer.Exit(1)
