"""Experiments that are one set, sampled: pass@k, solved by any, and a greedy text where it was drawn."""

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
from benchmarks.report.page import Block, Figure, Figures, Page


def plain(name: str, title: str, says: str = "", neighbours: tuple[published.Published, ...] = ()) -> Experiment:
    """An experiment with the arm SAMPLES, and GREEDY where it is asked for. says: a sentence for the page."""

    def report(result: Mapping[str, Any]) -> Page:
        lead = f"{set_words(result)}. {source_words(result)} {says}".rstrip()
        if not result["complete"]:
            return page(result, lead, ())
        found = result["scores"][SAMPLES]
        n = found["samples_per_problem"]
        figures = [figure(f"pass@{k}", score) for k, score in found["pass_at_k"].items()]
        if GREEDY in result["scores"]:
            figures.insert(0, figure("greedy", result["scores"][GREEDY]["pass_at_k"]["1"]))
        if n > 1:
            figures.append(figure(f"solved by any of {n} (oracle)", found["solved_by_any"]))
        figures.append(Figure(label="problems solved", value=f"{found['solved']} of {found['problems']}"))
        arms = list(result["problems"])
        blocks: list[Block] = [Figures(figures=tuple(figures))]
        if n > 1:
            blocks.append(pass_curves("Solved by any of k samples", {"any of k": found["curve"]}))
        blocks += [
            verdict_bars(result, SAMPLES),
            problem_strips(result, arms),
            *published.tables(neighbours, result),
            problem_table(result, arms),
        ]
        return page(result, lead, blocks)

    return Experiment(name=name, title=title, scores=samples_and_greedy, page=report)
