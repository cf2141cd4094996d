"""What a prediction comes to, and how near it is to a load test."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import fingerprint
from benchmarks.load.figures import Window, figures_of_runs
from benchmarks.load.loads import Load, Users
from benchmarks.load.mix import Mix
from benchmarks.load.results import seconds_words, share_words
from benchmarks.plan.guesses import Guessing
from benchmarks.plan.recorded import Measured
from benchmarks.plan.twin import Twin
from benchmarks.report.page import Block, Curve, Curves, Figure, Figures, Page, Table

_BOUND = 0.2
"""How far a prediction may be off."""
_CHECKED = {
    "solved a second": ("solved_per_second",),
    "goodput a second": ("goodput_per_second",),
    "time to first pass, median": ("time_to_first_pass", "p50"),
    "time to first pass, p90": ("time_to_first_pass", "p90"),
}


_MAY_DIFFER = ("k", "width", "seed")
"""What of `sampling` may be another one than was measured: the samples are drawn from the same distribution."""


def require_measured(measured: Measured, mix: Mix) -> None:
    """Raises CannotRun where an entry draws in another way than was measured: its samples would be others."""
    listed: list[Mapping[str, Any]] = measured.about["mix"]
    before = {entry["name"]: entry for entry in listed}
    for entry in mix.protocol:
        if entry["name"] not in before:
            raise CannotRun(f"{entry['name']} was not measured; measure with the same mix (--measure)")
        ours, theirs = (_drawn(one) for one in (entry, before[entry["name"]]))
        if ours != theirs:
            raise CannotRun(f"{entry['name']} was measured with {theirs}, here it is {ours}; measure again")


def _drawn(entry: Mapping[str, Any]) -> dict[str, Any]:
    sampling: Mapping[str, Any] = entry.get("sampling", {})
    drawn = {name: value for name, value in sampling.items() if name not in _MAY_DIFFER}
    return {"ask": entry.get("ask"), "sampling": drawn}


def predict(
    measured: Measured,
    mix: Mix,
    load: Load,
    *,
    seed: int,
    slo: float,
    warm_up: float,
    patience: float,
    rows: int = 64,
    plays: int = 1,
    guessing: Guessing | None = None,
) -> dict[str, Any]:
    """Play a load on the twin so many times, with other samples each; figures as a load test has them."""
    twins = [Twin(measured, mix, rows=rows, guessing=guessing) for _ in range(plays)]
    runs = [twin.play(load, seed, draw, patience) for draw, twin in enumerate(twins)]
    steps = sum(twin.steps for twin in twins)
    return {
        "clients": figures_of_runs(runs, Window(first=warm_up, last=load.seconds), slo),
        "plays": plays,
        "mean_rows_of_a_step": round(sum(twin.rows for twin in twins) / steps, 2) if steps else 0.0,
    }


def play_again(measured: Measured, mix: Mix, guessing: Guessing, rows: int = 64) -> list[dict[str, Any]]:
    """The measuring loads on the twin beside how they were: what is off here is off everywhere.

    Medians are of the time to the first pass, in seconds, from when a solve was sent.
    """
    found: list[dict[str, Any]] = []
    for users in sorted({solve.users for solve in measured.solves}):
        were = [solve for solve in measured.solves if solve.users == users]
        twin = Twin(measured, mix, rows=rows, guessing=guessing)
        played = twin.play(Users(users=users, think=0.0, seconds=float(measured.about["seconds"])), seed=1)
        found.append(
            {
                "users": users,
                "solves": len(played),
                "median": _median(
                    answer.first_pass - answer.sent for answer in played if answer.first_pass is not None
                ),
                "solves_measured": len(were),
                "median_measured": _median(solve.first_pass for solve in were if solve.first_pass is not None),
            }
        )
    return found


def _median(values: Iterable[float]) -> float | None:
    listed = list(values)
    return round(statistics.median(listed), 3) if listed else None


def plan_result(
    predictions: Mapping[str, Mapping[str, Any]],
    protocol: Mapping[str, Any],
    checked: Mapping[str, Any] | None,
    provenance: Mapping[str, Any],
    played_again: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The document: predictions by the load's name, the comparison with a load test if there is one, and the measuring
    loads as `play_again` has them."""
    plain = dict(protocol)
    return {
        "experiment": "plan",
        "fingerprint": fingerprint(plain),
        "slo_seconds": plain["slo_seconds"],
        "predictions": dict(predictions),
        "checked": None if checked is None else dict(checked),
        "played_again": list(played_again),
        "protocol": plain,
        "provenance": dict(provenance),
    }


def check(prediction: Mapping[str, Any], tested: Mapping[str, Any]) -> dict[str, Any]:
    """A prediction beside the load test of the same load."""
    lines: dict[str, Any] = {}
    for words, path in _CHECKED.items():
        ours, theirs = _at(prediction["clients"], path), _at(tested["clients"], path)
        off = None if ours is None or not theirs else round(ours / theirs - 1, 4)
        lines[words] = {"predicted": ours, "measured": theirs, "off": off}
    within = all(line["off"] is not None and abs(line["off"]) <= _BOUND for line in lines.values())
    return {"within": within, "bound": _BOUND, "lines": lines, "load_test": tested["provenance"]}


def read_tested(path: Path) -> dict[str, Any]:
    """The result of a load test. Raises CannotRun for what is none."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotRun(f"--check: {path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("experiment") != "load":
        raise CannotRun(f"--check: {path} is no result of `thresher bench load`")
    return found


def require_same(tested: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Raises CannotRun where a load test has another value of what was asked: nothing would be compared then."""
    protocol = tested["protocol"]
    for name, value in asked.items():
        if protocol[name] != value:
            raise CannotRun(f"--check: the load test has another {name}: {protocol[name]}, here it is {value}")


def plan_page(result: Mapping[str, Any]) -> Page:
    """The page of a prediction."""
    predictions, slo = result["predictions"], result["slo_seconds"]
    blocks: list[Block] = []
    first = next(iter(predictions.values()))["clients"]
    if len(predictions) == 1:
        blocks.append(_figures(first))
    rates = {float(one["clients"]["offered_per_second"]): one["clients"] for one in predictions.values()}
    if len(rates) > 1:
        x = tuple(sorted(rates))
        in_time = Curve(name="answered in time", x=x, y=tuple(rates[rate]["in_time"]["share"] for rate in x))
        good = tuple(rates[rate]["goodput_per_second"] / rate if rate else 0.0 for rate in x)
        blocks.append(
            Curves(
                title="By load",
                says=f"Predicted shares of calls: answered within {slo:g} s, and solved within that.",
                x_label="calls offered a second",
                y_label="calls",
                curves=(in_time, Curve(name="solved in time", x=x, y=good)),
                log_x=True,
                at=x,
            )
        )
    blocks.append(_table(predictions, slo))
    if result["checked"] is not None:
        blocks.append(_check_table(result["checked"]))
    if result["played_again"]:
        blocks.append(_again_table(result["played_again"]))
    off = result["checked"] is not None and not result["checked"]["within"]
    return Page(
        title="Plan",
        lead="Predicted from measurements by the engine's own scheduler in made time; nothing was asked of a model.",
        blocks=tuple(blocks),
        warning="A load test says otherwise: see below." if off else "",
        protocol=result["protocol"],
        provenance=result["provenance"],
        fingerprint=result["fingerprint"],
    )


def _at(found: Mapping[str, Any], path: tuple[str, ...]) -> float | None:
    value: Any = found
    for name in path:
        value = value[name]
    return None if value is None else float(value)


def _figures(clients: Mapping[str, Any]) -> Figures:
    first = clients["time_to_first_pass"]
    tail = f"median; p90 {seconds_words(first['p90'])}, p99 {seconds_words(first['p99'])}"
    return Figures(
        figures=(
            Figure(label="solved a second", value=f"{clients['solved_per_second']:.3f}", note="predicted"),
            Figure(label="time to first pass", value=seconds_words(first["p50"]), note=tail),
            Figure(label="answered in time", value=share_words(clients["in_time"])),
        )
    )


def _table(predictions: Mapping[str, Mapping[str, Any]], slo: float) -> Table:
    rows = tuple(
        (
            name,
            f"{one['clients']['solved_per_second']:.3f}",
            *(seconds_words(one["clients"]["time_to_first_pass"][p]) for p in ("p50", "p90", "p99")),
            share_words(one["clients"]["in_time"]),
            f"{one['mean_rows_of_a_step']:.1f}",
        )
        for name, one in predictions.items()
    )
    head = ("load", "solved/s", "first pass p50", "p90", "p99", f"in time ({slo:g} s)", "rows of a step")
    return Table(title="Predictions", head=head, rows=rows, align="lrrrrrr")


def _check_table(checked: Mapping[str, Any]) -> Table:
    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.3f}"

    rows = tuple(
        (
            words,
            shown(one["predicted"]),
            shown(one["measured"]),
            "–" if one["off"] is None else f"{100 * one['off']:+.1f} %",
        )
        for words, one in checked["lines"].items()
    )
    note = f"The load test of the very same calls. The bound is {100 * checked['bound']:g} %."
    return Table(
        title="Beside a load test", head=("", "predicted", "measured", "off by"), rows=rows, align="lrrr", note=note
    )


def _again_table(played: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            str(one["users"]),
            str(one["solves"]),
            seconds_words(one["median"]),
            str(one["solves_measured"]),
            seconds_words(one["median_measured"]),
        )
        for one in played
    )
    head = ("users", "solves", "first pass p50", "measured: solves", "first pass p50")
    note = "The loads of which lengths of steps and drafts were learned, played like any other."
    return Table(title="The measurements, played again", head=head, rows=rows, align="lrrrr", note=note)
