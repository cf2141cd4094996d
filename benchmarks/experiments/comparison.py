"""Conditions beside each other on the same problems: what each scores, and by how much it differs from the first."""

from collections.abc import Mapping
from typing import Any

from benchmarks.experiments import published
from benchmarks.experiments.counting import passes
from benchmarks.experiments.errors import NotCountable
from benchmarks.experiments.estimators import pass_at_k
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.parts import (
    bar,
    figure,
    page,
    points,
    problem_strips,
    problem_table,
    set_words,
    source_words,
)
from benchmarks.experiments.plots import pass_curves
from benchmarks.experiments.resampling import Mean, mean
from benchmarks.experiments.scoring import sampled
from benchmarks.report.page import Bars, Block, Figures, Page, Table


def comparison(name: str, title: str, says: str, neighbours: tuple[published.Published, ...] = ()) -> Experiment:
    """An experiment whose arms are conditions. says: what they differ in, a sentence for the page."""

    def report(result: Mapping[str, Any]) -> Page:
        lead = f"{set_words(result)}. {source_words(result)} {says}"
        if not result["complete"]:
            return page(result, lead, ())
        arms = result["scores"]["arms"]
        names = [arm["arm"] for arm in arms]
        ks = list(arms[0]["pass_at_k"])
        blocks: list[Block] = [
            Figures(figures=tuple(figure(f"{arm['arm']}, pass@{k}", arm["pass_at_k"][k]) for arm in arms for k in ks)),
            _bars(arms, ks[0]),
        ]
        if arms[0]["samples_per_problem"] > 1:
            blocks.append(pass_curves("Solved by any of k samples", {arm["arm"]: arm["curve"] for arm in arms}))
        blocks += [
            _differences(result["scores"]["differences"]),
            problem_strips(result, names),
            *published.tables(neighbours, result),
            problem_table(result, names),
        ]
        return page(result, lead, blocks)

    return Experiment(name=name, title=title, scores=scores, page=report)


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """The scores of each arm, and for each later one how far it is ahead of the first, problem by problem.

    Raises NotCountable where the arms are not about the same problems.
    """
    names = [arm["name"] for arm in protocol["arms"]]
    ids = {name: [outcome.id for outcome in outcomes[name]] for name in names}
    first = names[0]
    if any(ids[name] != ids[first] for name in names):
        raise NotCountable(f"arms {names}: they are not about the same problems, so no difference is defined")
    ks: list[int] = protocol["ks"]
    by_arm = {name: passes(protocol, name, outcomes[name]) for name in names}
    differences = [
        {
            "arm": name,
            "over": first,
            "k": k,
            **mean(pass_at_k(*by_arm[name], k) - pass_at_k(*by_arm[first], k)).plain(),
        }
        for name in names[1:]
        for k in ks
    ]
    return {
        "arms": [{"arm": name, **sampled(protocol, name, outcomes[name], ks)} for name in names],
        "differences": differences,
    }


def _bars(arms: list[dict[str, Any]], k: str) -> Bars:
    means = {arm["arm"]: arm["pass_at_k"][k] for arm in arms}
    return Bars(
        title=f"pass@{k}",
        says=f"pass@{k} of each: " + ", ".join(f"{name} {100 * one['value']:.1f} %" for name, one in means.items()),
        bars=tuple(bar(name, Mean(one["value"], *one["interval_95"])) for name, one in means.items()),
        note="Whiskers: 95 % bootstrap intervals over problems, 10,000 resamples.",
    )


def _differences(found: list[dict[str, Any]]) -> Table:
    rows = tuple(
        (
            one["arm"],
            one["over"],
            str(one["k"]),
            points(one["value"]),
            " to ".join(map(points, one["interval_95"])),
        )
        for one in found
    )
    return Table(
        title="Differences",
        head=("condition", "over", "k", "points of pass@k", "95 % interval"),
        rows=rows,
        align="llrrr",
        note="Problem by problem, so that how hard the problems are does not count; an interval on both sides of 0 "
        "tells no difference.",
    )
