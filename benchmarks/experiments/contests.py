"""Contest problems: pass@k over all tests at hand, by month where problems are dated, and how many tests were run.

Problems that were published after a model's training data ended cannot have been in it: LiveCodeBench (Jain et al.
2024, arXiv 2403.07974) reports scores by date for that.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.data import Record, document
from benchmarks.experiments.counting import passes
from benchmarks.experiments.estimators import pass_at_k
from benchmarks.experiments.experiment import Experiment, Outcomes, Task
from benchmarks.experiments.outcome import Outcome
from benchmarks.experiments.parts import (
    figure,
    interval,
    page,
    percent,
    problem_strips,
    problem_table,
    set_words,
    source_words,
    verdict_bars,
)
from benchmarks.experiments.plots import pass_curves
from benchmarks.experiments.resampling import mean
from benchmarks.experiments.scoring import SAMPLES, sampled
from benchmarks.report.page import Block, Figure, Figures, Page, Table

SETS = ("livecodebench", "leetcode", "codecontests", "codecontests-full")


def tasks(records: Sequence[Record], limits: Mapping[str, Any]) -> tuple[Task, ...]:
    """The statement in words, its examples in it; every test at hand decides, and the first failing one ends a run."""
    return tuple(Task(record=record, document={**_asked(record), "limits": dict(limits)}) for record in records)


def _asked(record: Record) -> dict[str, Any]:
    quoted = 0 if record.visible else None
    return document(record, ask="words", quoted=quoted, held_out="decide")


def months(records: Sequence[Record]) -> dict[str, str]:
    """The month of each dated problem, as 2023-09."""
    return {record.id: str(record.facts["date"])[:7] for record in records if record.facts.get("date")}


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """pass@k of all problems and by month, and tests run of all tests there are for the programs."""
    arm = outcomes[SAMPLES]
    found = sampled(protocol, SAMPLES, arm, protocol["ks"])
    n, c = passes(protocol, SAMPLES, arm)
    month_of: dict[str, str] = protocol["months"]
    by_month: dict[str, dict[str, Any]] = {}
    for month in sorted(set(month_of.values())):
        places = [place for place, outcome in enumerate(arm) if month_of.get(outcome.id) == month]
        by_month[month] = {
            "problems": len(places),
            "pass_at_k": {str(k): mean(pass_at_k(n, c[places], k)).plain() for k in protocol["ks"]},
        }
    ran, total = _tests(arm)
    return {SAMPLES: found, "by_month": by_month, "tests_run": ran, "tests_total": total}


def _tests(outcomes: Sequence[Outcome]) -> tuple[int, int]:
    candidates = [candidate for outcome in outcomes for candidate in outcome.candidates]
    return sum(len(one.tests) for one in candidates), sum(one.tests_total for one in candidates)


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    notes = " ".join(data["note"] for data in result["protocol"]["data"])
    lead = f"{set_words(result)}. {source_words(result)} {notes}".rstrip()
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"]
    of_samples = found[SAMPLES]
    ran, total = found["tests_run"], found["tests_total"]
    figures = [
        *(figure(f"pass@{k}", score) for k, score in of_samples["pass_at_k"].items()),
        Figure(label="problems solved", value=f"{of_samples['solved']} of {of_samples['problems']}"),
        Figure(label="tests run", value=f"{ran:,} of {total:,}", note="a program ends at its first failing test"),
    ]
    blocks: list[Block] = [Figures(figures=tuple(figures))]
    if found["by_month"]:
        blocks.append(_by_month(found["by_month"]))
    if of_samples["samples_per_problem"] > 1:
        blocks.append(pass_curves("Solved by any of k samples", {"any of k": of_samples["curve"]}))
    blocks += [
        verdict_bars(result, SAMPLES),
        problem_strips(result, [SAMPLES]),
        problem_table(result, [SAMPLES]),
    ]
    return page(result, lead, blocks)


def _by_month(found: Mapping[str, Mapping[str, Any]]) -> Table:
    ks = list(next(iter(found.values()))["pass_at_k"])
    rows: list[tuple[str, ...]] = []
    for month, one in found.items():
        cells: list[str] = []
        for k in ks:
            score = one["pass_at_k"][k]
            cells += [percent(score["value"]), interval(*score["interval_95"]).removeprefix("95 % interval ")]
        rows.append((month, str(one["problems"]), *cells))
    return Table(
        title="By month",
        head=("published", "problems", *(name for k in ks for name in (f"pass@{k}", "95 % interval"))),
        rows=tuple(rows),
        align="lr" + "rr" * len(ks),
        note="A score that falls from some month on is a sign that earlier problems were in the training data; months "
        "differ in how hard their problems are, too.",
    )


EXPERIMENT = Experiment(name="contests", title="Contest problems", scores=scores, page=report)
