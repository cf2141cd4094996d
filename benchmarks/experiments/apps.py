"""APPS: strict accuracy, test-case average and syntax-error rate by level, and what the best of several brings."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.experiments import published
from benchmarks.experiments.counting import require_complete
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.outcome import PASSED, Candidate, Outcome
from benchmarks.experiments.parts import figure, page, percent, problem_strips, problem_table, set_words, source_words
from benchmarks.experiments.published import Published
from benchmarks.experiments.resampling import mean
from benchmarks.report.page import Block, Figures, Page, Table

_SYNTAX = "compile_error"
_HOW = "Hendrycks, Basart et al. 2021, APPS test, strict accuracy"
_NEIGHBOURS = (
    Published(who="GPT-Neo 2.7B", measure="introductory", value=3.9, how=_HOW),
    Published(who="GPT-Neo 2.7B", measure="introductory, best of 5 beams", value=5.5, how=_HOW),
    Published(who="GPT-Neo 2.7B", measure="interview", value=0.57, how=_HOW),
    Published(who="GPT-Neo 2.7B", measure="interview, best of 5 beams", value=0.8, how=_HOW),
    Published(who="GPT-Neo 2.7B", measure="competition", value=0, how=_HOW),
    Published(who="GPT-3 175B", measure="introductory, few-shot", value=0.2, how=_HOW),
)


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """By level, and for all problems together. An arm is a level."""
    found = {level: _of(protocol, level, outcomes[level]) for level in outcomes}
    together = [outcome for level in outcomes for outcome in outcomes[level]]
    return {"levels": found, "all": _measures(together)}


def _of(protocol: Mapping[str, Any], level: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    draw = require_complete(protocol, level, outcomes)
    return {"samples_per_problem": draw.samples, **_measures(outcomes)}


def _measures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Means over problems; within a problem over its samples.

    strict: all tests passed. test_case_average: the share of tests passed. syntax_errors: the share of samples that do
    not compile. best_of_all: any of the samples passes all tests. first: the sample that the model finds likeliest by
    its mean log-probability, where these are known.
    """
    measures: dict[str, Any] = {
        "problems": len(outcomes),
        "solved": sum(outcome.solved for outcome in outcomes),
        "strict": mean([outcome.passed / outcome.finished for outcome in outcomes]).plain(),
        "test_case_average": mean([_over_samples(outcome, _share) for outcome in outcomes]).plain(),
        "syntax_errors": mean([_over_samples(outcome, _does_not_compile) for outcome in outcomes]).plain(),
        "best_of_all": mean([float(outcome.solved) for outcome in outcomes]).plain(),
    }
    firsts = [_likeliest(outcome) for outcome in outcomes]
    known = [first for first in firsts if first is not None]
    if len(known) == len(outcomes):
        measures["first"] = mean([float(first.passed) for first in known]).plain()
    return measures


def _over_samples(outcome: Outcome, value: Any) -> float:
    weights = [len(candidate.samples) for candidate in outcome.candidates]
    return float(np.average([value(candidate) for candidate in outcome.candidates], weights=weights))


def _share(candidate: Candidate) -> float:
    """Tests passed of all: those that did not run (a program that does not compile) are failed."""
    return (
        sum(verdict == PASSED for verdict in candidate.tests) / candidate.tests_total if candidate.tests_total else 0.0
    )


def _does_not_compile(candidate: Candidate) -> float:
    return float(candidate.verdict == _SYNTAX)


def _likeliest(outcome: Outcome) -> Candidate | None:
    worth = [
        (logprob / max(tokens, 1), candidate)
        for candidate in outcome.candidates
        for logprob, tokens in zip(candidate.logprobs, candidate.tokens, strict=False)
    ]
    if len(worth) < outcome.finished:
        return None
    return max(worth, key=lambda pair: pair[0])[1]


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    compat = " Outputs are compared as APPS's grader does." if result["protocol"].get("compat") == "apps" else ""
    lead = f"{set_words(result)}. {source_words(result)}{compat}"
    if not result["complete"]:
        return page(result, lead, ())
    levels = result["scores"]["levels"]
    n = next(iter(levels.values()))["samples_per_problem"]
    together = result["scores"]["all"]
    figures = [
        figure("strict accuracy, all levels", together["strict"]),
        figure("test-case average", together["test_case_average"]),
        figure("syntax errors", together["syntax_errors"]),
    ]
    if n > 1:
        figures.insert(1, figure(f"any of {n} (oracle)", together["best_of_all"]))
    names = list(levels)
    blocks: list[Block] = [
        Figures(figures=tuple(figures)),
        _table(levels, n),
        problem_strips(result, names),
        *published.tables(_NEIGHBOURS, result),
        problem_table(result, names),
    ]
    return page(result, lead, blocks)


def _table(levels: Mapping[str, Mapping[str, Any]], n: int) -> Table:
    keys = ["strict", "best_of_all", "test_case_average", "syntax_errors"]
    heads = ["strict", f"any of {n}", "test-case average", "syntax errors"]
    if all("first" in found for found in levels.values()):
        keys.insert(1, "first")
        heads.insert(1, "likeliest sample")
    rows = tuple(
        (level, str(found["problems"]), *(percent(found[key]["value"]) for key in keys))
        for level, found in levels.items()
    )
    return Table(
        title="By level",
        head=("level", "problems", *heads),
        rows=rows,
        align="lr" + "r" * len(keys),
        note="Strict: all tests of a problem pass. Test-case average: the share of its tests that pass.",
    )


EXPERIMENT = Experiment(name="apps", title="APPS", scores=scores, page=report)
