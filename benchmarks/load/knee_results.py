"""The result of a knee search as a document and as a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiments.experiment import fingerprint
from benchmarks.load.knee import Knee
from benchmarks.load.results import seconds_words, share_words
from benchmarks.report.page import Block, Curve, Curves, Figure, Figures, Page, Table


def knee_result(
    protocol: Mapping[str, Any], knee: Knee, trials: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """The document of a search."""
    plain = dict(protocol)
    return {
        "experiment": "knee",
        "fingerprint": fingerprint(plain),
        "slo_seconds": plain["slo_seconds"],
        "held_rate": knee.held,
        "failed_rate": knee.failed,
        "certain": knee.certain,
        "steps": [step.plain() for step in sorted(knee.steps, key=lambda step: step.rate)],
        "trials": list(trials),
        "books_agree": all(trial["books"]["agree"] is not False for trial in trials),
        "protocol": plain,
        "provenance": dict(provenance),
    }


def knee_words(result: Mapping[str, Any]) -> str:
    """What was found, in a sentence."""
    wanted, slo = result["protocol"]["wish"]["share"], result["slo_seconds"]
    promise = f"{100 * wanted:g} % of the calls answered within {slo:g} s"
    held, failed = result["held_rate"], result["failed_rate"]
    doubt = "" if result["certain"] else ", as far as the runs can tell"
    if held is None:
        return f"Not even {failed:g} calls a second hold the promise{doubt}: {promise}."
    if failed is None:
        return f"{held:g} calls a second still hold the promise, the most that was tried{doubt}: {promise}."
    return f"The knee is between {held:g} and {failed:g} calls a second{doubt}: {promise}."


def knee_page(result: Mapping[str, Any]) -> Page:
    """The page of a search."""
    wanted, steps = result["protocol"]["wish"]["share"], result["steps"]
    trials: dict[float, Mapping[str, Any]] = {trial["rate"]: trial for trial in result["trials"]}
    rates = tuple(float(step["rate"]) for step in steps)
    blocks: list[Block] = [_figures(result, trials)]
    if len(rates) > 1:
        curve = Curve(
            name="in time",
            x=rates,
            y=tuple(step["share"] for step in steps),
            low=tuple(step["interval_95"][0] for step in steps),
            high=tuple(step["interval_95"][1] for step in steps),
        )
        line = Curve(name="promised", x=(rates[0], rates[-1]), y=(wanted, wanted), dashed=True)
        blocks.append(
            Curves(
                title="Where it bends",
                says=f"The share of calls answered within {result['slo_seconds']:g} s, by how many were offered.",
                x_label="calls offered a second",
                y_label="calls answered in time",
                curves=(curve, line),
                log_x=True,
                at=rates,
                note="Bands: 95 % intervals over the calls, fewer independent ones where neighbours fare alike.",
            )
        )
    blocks.append(_table(result))
    return Page(
        title="The knee",
        lead=knee_words(result),
        blocks=tuple(blocks),
        warning="" if result["books_agree"] else "The two books of a run do not agree: see its line.",
        protocol=result["protocol"],
        provenance=result["provenance"],
        fingerprint=result["fingerprint"],
    )


def _figures(result: Mapping[str, Any], trials: Mapping[float, Mapping[str, Any]]) -> Figures:
    held, failed = result["held_rate"], result["failed_rate"]
    notes = ["holds"] if held is not None else []
    notes += [f"{failed:g}/s does not"] if failed is not None else []
    shown = [Figure(label="knee", value="–" if held is None else f"{held:g}/s", note="; ".join(notes))]
    if held is not None and held in trials:
        at = trials[held]
        shown += [
            Figure(label="goodput there", value=f"{at['goodput_per_second']:.3f}/s", note="problems solved in time"),
            Figure(
                label="time to first pass there",
                value=seconds_words(at["time_to_first_pass"]["p50"]),
                note=f"median; p99 {seconds_words(at['time_to_first_pass']['p99'])}",
            ),
        ]
    return Figures(figures=tuple(shown))


def _table(result: Mapping[str, Any]) -> Table:
    decisions = {step["rate"]: step["decision"] for step in result["steps"]}
    rows = tuple(
        (
            f"{trial['rate']:g}",
            str(trial["run"] + 1),
            str(trial["calls"]),
            share_words(trial["in_time"]),
            f"{trial['goodput_per_second']:.3f}",
            seconds_words(trial["time_to_first_pass"]["p50"]),
            seconds_words(trial["time_to_first_pass"]["p99"]),
            {True: "equal", False: "they differ", None: "not compared"}[trial["books"]["agree"]],
            decisions.get(trial["rate"], "not decided yet"),
        )
        for trial in sorted(result["trials"], key=lambda trial: (trial["rate"], trial["run"]))
    )
    head = ("calls/s", "run", "calls", "in time", "goodput/s", "first pass p50", "p99", "books", "the rate")
    return Table(title="All runs", head=head, rows=rows, align="rrrrrrrll")
