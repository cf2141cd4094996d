"""MBPP as in its paper: many samples a problem; solved by any, and the fraction of samples that pass."""

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
from benchmarks.report.page import Block, Figure, Figures, Page, Text


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    protocol = result["protocol"]
    lead = f"{set_words(result)}. {source_words(result)}"
    if "tests_shown" in protocol:
        lead += f" Prompt: {protocol['prompt']}, {protocol['tests_shown']} tests shown."
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"][SAMPLES]
    n = found["samples_per_problem"]
    figures = [
        figure(f"solved by any of {n} (oracle)", found["solved_by_any"]),
        figure("samples that solve their task", found["fraction_of_samples"]),
        *(figure(f"pass@{k}", score) for k, score in found["pass_at_k"].items() if int(k) not in (1, n)),
        Figure(label="problems solved", value=f"{found['solved']} of {found['problems']}"),
    ]
    if GREEDY in result["scores"]:
        figures.append(figure("greedy", result["scores"][GREEDY]["pass_at_k"]["1"]))
    arms = list(result["problems"])
    blocks: list[Block] = [Figures(figures=tuple(figures))]
    if n > 1:
        blocks.append(pass_curves("Solved by any of k samples", {"any of k": found["curve"]}))
    blocks += [verdict_bars(result, SAMPLES), problem_strips(result, arms)]
    if "held_out" in found:
        held = found["held_out"]
        words = (
            f"{held['problems']} problems have challenge tests, which never decide. Of {held['samples_that_passed']} "
            f"samples that passed the visible tests there they reject {held['of_these_rejected']}."
        )
        blocks.append(Text(title="Challenge tests", paragraphs=(words,)))
    blocks += [*published.tables(published.MBPP, result), problem_table(result, arms)]
    return page(result, lead, blocks)


EXPERIMENT = Experiment(name="mbpp", title="MBPP", scores=samples_and_greedy, page=report)
