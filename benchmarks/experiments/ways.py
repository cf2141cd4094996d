"""Ways to draw at equal rows: independent samples, distinct ones and beam search with the same work of the model.

A row is one step of one branch, so equal rows are equal work. Draws that a budget ends are not complete: pass@k is not
defined for them, and these have a measure of their own, the share of problems that any program solves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.experiments.errors import NotCountable
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.outcome import Outcome
from benchmarks.experiments.parts import (
    bar,
    figure,
    page,
    percent,
    points,
    problem_strips,
    problem_table,
    set_words,
    source_words,
)
from benchmarks.experiments.resampling import Mean, mean
from benchmarks.report.page import Bars, Block, Figures, Page, Table

WAYS = ("independent", "distinct", "beam")


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """What each way solves and what it costs; for each later one how far it is ahead of the first.

    Raises NotCountable where the ways are not about the same problems.
    """
    names = [arm["name"] for arm in protocol["arms"]]
    ids = {name: [outcome.id for outcome in outcomes[name]] for name in names}
    first = names[0]
    if any(ids[name] != ids[first] for name in names):
        raise NotCountable(f"arms {names}: they are not about the same problems, so no difference is defined")
    solved = {name: np.array([float(outcome.solved) for outcome in outcomes[name]]) for name in names}
    return {
        "budget_rows": protocol["budget_rows"],
        "ways": [{"arm": name, **_sums(outcomes[name]), "solved": mean(solved[name]).plain()} for name in names],
        "differences": [
            {"arm": name, "over": first, **mean(solved[name] - solved[first]).plain()} for name in names[1:]
        ],
    }


def _sums(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    return {
        "problems": len(outcomes),
        "problems_solved": sum(outcome.solved for outcome in outcomes),
        "programs": sum(len(outcome.candidates) for outcome in outcomes),
        "programs_passed": sum(candidate.passed for outcome in outcomes for candidate in outcome.candidates),
        "samples": sum(outcome.finished for outcome in outcomes),
        "rows": sum(outcome.rows for outcome in outcomes),
        "generated_tokens": sum(outcome.generated_tokens for outcome in outcomes),
    }


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    rows = result["protocol"]["budget_rows"]
    lead = f"{set_words(result)}. {source_words(result)} Every way has {rows:,} decode rows a problem."
    if not result["complete"]:
        return page(result, lead, ())
    ways = result["scores"]["ways"]
    names = [way["arm"] for way in ways]
    blocks: list[Block] = [
        Figures(figures=tuple(figure(f"{way['arm']}, solved", way["solved"]) for way in ways)),
        Bars(
            title="Problems solved at equal rows",
            says=", ".join(f"{way['arm']} {way['problems_solved']} of {way['problems']}" for way in ways) + ".",
            bars=tuple(bar(way["arm"], Mean(way["solved"]["value"], *way["solved"]["interval_95"])) for way in ways),
            note="Whiskers: 95 % bootstrap intervals over problems, 10,000 resamples.",
        ),
        _costs(ways),
        _differences(result["scores"]["differences"]),
        problem_strips(result, names),
        problem_table(result, names),
    ]
    return page(result, lead, blocks)


def _costs(ways: Sequence[Mapping[str, Any]]) -> Table:
    keys = ("samples", "programs", "programs_passed", "rows", "generated_tokens")
    return Table(
        title="What the rows were spent on",
        head=("way", "problems solved", "samples", "programs", "of these pass", "rows", "tokens of all samples"),
        rows=tuple((way["arm"], percent(way["solved"]["value"]), *(f"{way[key]:,}" for key in keys)) for way in ways),
        align="lrrrrrr",
        note="Samples that agree so far share a row, so tokens may be many more than rows. Texts that the budget cut "
        "off are rows without a sample.",
    )


def _differences(found: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        title="Differences",
        head=("way", "over", "points of problems solved", "95 % interval"),
        rows=tuple(
            (
                one["arm"],
                one["over"],
                points(one["value"]),
                " to ".join(map(points, one["interval_95"])),
            )
            for one in found
        ),
        align="llrr",
        note="Problem by problem; an interval on both sides of 0 tells no difference. One seed is luck: repeat it with "
        "another --seed.",
    )


EXPERIMENT = Experiment(name="ways", title="Ways to draw at equal rows", scores=scores, page=report)
