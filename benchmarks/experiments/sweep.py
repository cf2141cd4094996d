"""Temperature against k: the same problems at several temperatures, and which one to take for how many samples."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiments.counting import passes
from benchmarks.experiments.estimators import Floats, pass_at_k
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.parts import interval, page, percent, problem_strips, problem_table, set_words, source_words
from benchmarks.experiments.plots import pass_curves
from benchmarks.experiments.resampling import mean
from benchmarks.experiments.scoring import sampled
from benchmarks.report.page import Block, Curve, Curves, Figure, Figures, Page, Table


def arm_name(temperature: float) -> str:
    """What the arm of a temperature is called."""
    return f"T = {temperature:g}"


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """pass@k of each temperature, and for each k the best temperature with those that cannot be told from it."""
    ks: list[int] = protocol["ks"]
    temperatures: list[float] = protocol["temperatures"]
    arms = {one: arm_name(one) for one in temperatures}
    by_k = {
        k: {one: pass_at_k(n, c, k) for one, arm in arms.items() for n, c in [passes(protocol, arm, outcomes[arm])]}
        for k in ks
    }
    return {
        "by_temperature": [
            {"temperature": one, **sampled(protocol, arm, outcomes[arm], ks)} for one, arm in arms.items()
        ],
        "recommended": {str(k): recommended(by_k[k]) for k in ks},
    }


def recommended(problems: Mapping[float, Floats]) -> dict[str, Any]:
    """The temperature of the highest mean, the lowest where several have it; `problems` has pass@k of each problem.

    as_good: the others whose distance to it, problem by problem, has a 95 % bootstrap interval that reaches 0.
    """
    best = max(sorted(problems), key=lambda one: float(problems[one].mean()))
    others = [one for one in sorted(problems) if one != best]
    as_good = [one for one in others if mean(problems[best] - problems[one]).low <= 0]
    return {"temperature": best, **mean(problems[best]).plain(), "as_good": as_good}


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    lead = f"{set_words(result)}. {source_words(result)} Every temperature has the same problems and seeds."
    if not result["complete"]:
        return page(result, lead, ())
    by_temperature = result["scores"]["by_temperature"]
    best = result["scores"]["recommended"]
    figures = tuple(
        Figure(
            label=f"best for k = {k}",
            value=f"T = {found['temperature']:g}",
            note=f"pass@{k} {percent(found['value'])}, {interval(*found['interval_95'])}",
        )
        for k, found in best.items()
    )
    arms = [arm_name(found["temperature"]) for found in by_temperature]
    curves = {arm_name(found["temperature"]): found["curve"] for found in by_temperature}
    blocks: list[Block] = [
        Figures(figures=figures),
        _by_temperature(by_temperature, list(best)),
        pass_curves("Where the curves cross", curves),
        _advice(best),
        problem_strips(result, arms),
        problem_table(result, arms),
    ]
    return page(result, lead, blocks)


def _by_temperature(found: Sequence[Mapping[str, Any]], ks: Sequence[str]) -> Curves:
    x = tuple(one["temperature"] for one in found)
    curves = tuple(
        Curve(
            name=f"pass@{k}",
            x=x,
            y=tuple(one["pass_at_k"][k]["value"] for one in found),
            low=tuple(one["pass_at_k"][k]["interval_95"][0] for one in found),
            high=tuple(one["pass_at_k"][k]["interval_95"][1] for one in found),
        )
        for k in ks
    )
    return Curves(
        title="pass@k by temperature",
        says="pass@k over temperature, a curve for each k. "
        + " ".join(f"{curve.name} is highest at T = {x[curve.y.index(max(curve.y))]:g}." for curve in curves),
        x_label="temperature",
        y_label="problems solved",
        curves=curves,
        note="Bands: 95 % bootstrap intervals over problems, 10,000 resamples.",
    )


def _advice(best: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            k,
            f"{found['temperature']:g}",
            percent(found["value"]),
            interval(*found["interval_95"]).removeprefix("95 % interval "),
            ", ".join(f"{one:g}" for one in found["as_good"]) or "none",
        )
        for k, found in best.items()
    )
    return Table(
        title="Which temperature for how many samples",
        head=("k", "take T", "pass@k", "95 % interval", "not to be told from it"),
        rows=rows,
        align="rrrrl",
        note="The last column: temperatures whose distance to the best, problem by problem, may be 0 (95 % bootstrap "
        "interval). The highest of several means is a little too high for a fresh run.",
    )


EXPERIMENT = Experiment(name="sweep", title="Temperature against k", scores=scores, page=report)
