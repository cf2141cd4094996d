"""Coverage: the share of problems solved by any of k samples, k from 1 to n, with its band and a fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.experiments.counting import passes
from benchmarks.experiments.estimators import pass_at_tokens, pass_curve
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.fits import PowerLaw, fit_coverage
from benchmarks.experiments.outcome import Outcome
from benchmarks.experiments.parts import (
    figure,
    page,
    percent,
    problem_strips,
    problem_table,
    set_words,
    source_words,
    verdict_bars,
)
from benchmarks.experiments.plots import pass_curves
from benchmarks.experiments.resampling import means
from benchmarks.experiments.scoring import SAMPLES, curve_points, sampled
from benchmarks.report.page import Block, Curve, Curves, Figure, Figures, Page


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """pass@1 to pass@n, the fit exp(a k^-b), and where tokens are known the same over tokens."""
    arm = outcomes[SAMPLES]
    n, c = passes(protocol, SAMPLES, arm)
    found = sampled(protocol, SAMPLES, arm, curve_points(n))
    fit = fit_coverage(pass_curve(n, c).mean(axis=0))
    found["fit"] = None if fit is None else {"form": "exp(a k^-b)", "a": fit.a, "b": fit.b, "rms": fit.rms}
    if tokens := _over_tokens(arm):
        found["pass_at_tokens"] = tokens
    return {SAMPLES: found}


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    lead = f"{set_words(result)}. {source_words(result)}"
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"][SAMPLES]
    points = found["curve"]
    n = found["samples_per_problem"]
    figures = [
        figure("one sample", points[0]),
        figure(f"any of {n} samples (oracle)", points[-1]),
        Figure(label="problems solved", value=f"{found['solved']} of {found['problems']}"),
    ]
    if found["expected_draws_median_of_solved"] is not None:
        draws = f"{found['expected_draws_median_of_solved']:.1f}"
        figures.append(Figure(label="draws to the first pass", value=draws, note="median of the solved, (n+1)/(c+1)"))
    fit: Curve | None = None
    if found["fit"] is not None:
        law = PowerLaw(found["fit"]["a"], found["fit"]["b"], found["fit"]["rms"])
        note = f"a = −{-law.a:.3f}, b = {law.b:.3f}; off by {percent(law.rms)} (root mean square)"
        figures.append(Figure(label="fit", value="exp(a k⁻ᵇ)", note=note))
        x = tuple(float(point["k"]) for point in points)
        fit = Curve(name="fit exp(a k⁻ᵇ)", x=x, y=tuple(law.at(np.array(x)).tolist()), dashed=True)
    blocks: list[Block] = [
        Figures(figures=tuple(figures)),
        pass_curves("Coverage", {"any of k": points}, fit),
    ]
    if "pass_at_tokens" in found:
        blocks.append(_token_curve(found["pass_at_tokens"]))
    blocks += [
        verdict_bars(result, SAMPLES),
        problem_strips(result, [SAMPLES]),
        problem_table(result, [SAMPLES]),
    ]
    return page(result, lead, blocks)


def _over_tokens(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """pass@t along budgets that are even on a log scale; empty where the tokens of a sample are not known."""
    problems = [(one.tokens_by_sample(), [each.passed for each in one.by_sample()]) for one in outcomes]
    if not all(tokens for tokens, _ in problems):
        return []
    least = min(min(tokens) for tokens, _ in problems)
    most = max(sum(tokens) for tokens, _ in problems)
    budgets = sorted(set(np.geomspace(max(1, least), most, 32).round().astype(int).tolist()))
    found = means(pass_at_tokens(problems, budgets))
    return [{"tokens": budget, **one.plain()} for budget, one in zip(budgets, found, strict=True)]


def _token_curve(points: Sequence[Mapping[str, Any]]) -> Curves:
    curve = Curve(
        name="one after the other",
        x=tuple(float(point["tokens"]) for point in points),
        y=tuple(point["value"] for point in points),
        low=tuple(point["interval_95"][0] for point in points),
        high=tuple(point["interval_95"][1] for point in points),
    )
    return Curves(
        title="By tokens",
        says="pass@t: the share of problems that sampling one program after the other solves within t tokens.",
        x_label="tokens generated, t",
        y_label="problems solved",
        curves=(curve,),
        log_x=True,
        at=tuple(curve.x[::4]),
        note="The samples of a problem in 2,000 random orders; bands as above.",
    )


EXPERIMENT = Experiment(name="curve", title="Coverage by repeated sampling", scores=scores, page=report)
