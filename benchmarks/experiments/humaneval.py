"""HumanEval: pass@k of Chen et al. 2021 over its 164 problems."""

from collections.abc import Mapping
from typing import Any

from benchmarks.experiments import published
from benchmarks.experiments.experiment import Experiment
from benchmarks.experiments.parts import (
    figure,
    page,
    problem_strips,
    problem_table,
    set_words,
    source_words,
    verdict_bars,
)
from benchmarks.experiments.plots import pass_curves
from benchmarks.experiments.scoring import GREEDY, SAMPLES, samples_and_greedy
from benchmarks.report.page import Block, Figures, Page


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    lead = f"{set_words(result)}. {source_words(result)}"
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"][SAMPLES]
    figures = [figure(_label(int(k), found), score) for k, score in found["pass_at_k"].items()]
    if GREEDY in result["scores"]:
        figures.insert(0, figure("greedy", result["scores"][GREEDY]["pass_at_k"]["1"]))
    arms = list(result["problems"])
    blocks: list[Block] = [Figures(figures=tuple(figures))]
    if found["samples_per_problem"] > 1:
        blocks.append(pass_curves("Solved by any of k samples", {"any of k": found["curve"]}))
    blocks += [
        verdict_bars(result, SAMPLES),
        problem_strips(result, arms),
        *published.tables(published.HUMANEVAL, result),
        problem_table(result, arms),
    ]
    return page(result, lead, blocks)


def _label(k: int, found: Mapping[str, Any]) -> str:
    n = found["samples_per_problem"]
    return f"pass@{k} (oracle: any of {n})" if k == n and n > 1 else f"pass@{k}"


EXPERIMENT = Experiment(name="humaneval", title="HumanEval", scores=samples_and_greedy, page=report)
