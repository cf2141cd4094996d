"""An ensemble of prompts: solved by any of several few-shot prompts, beside the single best one at an equal budget.

Austin, Odena et al. 2021 (arXiv 2108.07732) draw 15 prompts at random and count a problem as solved where any of them
solves it. Each prompt gets the whole budget here, so that both sides can be told exactly: the best single prompt with
all its samples, and the union with an equal share of the budget for each prompt.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.experiments.counting import passes
from benchmarks.experiments.estimators import Floats, pass_any, pass_at_k
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.parts import (
    bar,
    figure,
    interval,
    page,
    points,
    problem_strips,
    problem_table,
    set_words,
    source_words,
)
from benchmarks.experiments.resampling import Mean, mean
from benchmarks.experiments.scoring import sampled
from benchmarks.report.page import Bars, Block, Figure, Figures, Page, Text


def arm_name(number: int) -> str:
    """What the arm of a prompt is called, from 1 on."""
    return f"prompt {number}"


def union_at(counts: Mapping[str, tuple[int, Any]], each: int) -> Floats:
    """The probability, for each problem, that `each` samples of every prompt hold a pass.

    Prompts are drawn independently, so it is 1 minus the product of what each prompt fails by the unbiased estimator.
    """
    fails = [1.0 - pass_at_k(n, c, each) for n, c in counts.values()]
    return 1.0 - np.prod(np.stack(fails), axis=0)


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """Each prompt's scores; the union of all samples; the union and the best prompt, both with `total_k` samples."""
    names = [arm["name"] for arm in protocol["arms"]]
    total: int = protocol["total_k"]
    counts = {name: passes(protocol, name, outcomes[name]) for name in names}
    solved = {name: pass_any(*counts[name]) for name in names}
    # Of equals the first: which prompt is best must not depend on how floats are added.
    best = max(names, key=lambda name: float(solved[name].sum()))
    union = np.max(np.stack(list(solved.values())), axis=0)
    equal = union_at(counts, total // len(names))
    return {
        "prompts": [{"arm": name, **sampled(protocol, name, outcomes[name], [1, total])} for name in names],
        "samples_of_union": total * len(names),
        "union": mean(union).plain(),
        "total_k": total,
        "union_at_total_k": mean(equal).plain(),
        "best": best,
        "best_at_total_k": mean(solved[best]).plain(),
        "union_ahead_at_total_k": mean(equal - solved[best]).plain(),
    }


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    lead = f"{set_words(result)}. {source_words(result)}"
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"]
    prompts, total = found["prompts"], found["total_k"]
    each = total // len(prompts)
    ahead = found["union_ahead_at_total_k"]
    figures = (
        figure(f"union, {found['samples_of_union']:,} samples (oracle)", found["union"]),
        figure(f"union, {each} samples of each prompt", found["union_at_total_k"]),
        figure(f"best single, {found['best']}, {total} samples", found["best_at_total_k"]),
        Figure(
            label="union ahead at equal budget",
            value=f"{points(ahead['value'])} points",
            note=interval(*ahead["interval_95"]),
        ),
    )
    names = [one["arm"] for one in prompts]
    means = {one["arm"]: one["solved_by_any"] for one in prompts}
    bars = Bars(
        title="Each prompt",
        says=f"Solved by any of {total} samples of each prompt: from "
        f"{100 * min(one['value'] for one in means.values()):.1f} % to "
        f"{100 * max(one['value'] for one in means.values()):.1f} %.",
        bars=tuple(bar(name, Mean(one["value"], *one["interval_95"])) for name, one in means.items()),
        note="Whiskers: 95 % bootstrap intervals over problems, 10,000 resamples.",
    )
    words = (
        f"The union of all samples has {len(prompts)} times the budget of a single prompt, so it cannot be below it. "
        f"Compare the two scores with {total} samples. The best prompt is chosen and scored on the same problems, "
        "which flatters it."
    )
    paper = "The paper, 137B, 15 prompts with 80 samples each: worst about 1 %, best about 59 %, union 66 %."
    blocks: list[Block] = [
        Figures(figures=figures),
        bars,
        Text(title="How to read it", paragraphs=(words, paper) if _of_a_model(result) else (words,)),
        problem_strips(result, names),
        problem_table(result, names),
    ]
    return page(result, lead, blocks)


def _of_a_model(result: Mapping[str, Any]) -> bool:
    """Beside anything else the paper's figures would mean nothing."""
    return result["protocol"]["generator"]["kind"] == "server"


EXPERIMENT = Experiment(name="ensemble", title="An ensemble of prompts", scores=scores, page=report)
