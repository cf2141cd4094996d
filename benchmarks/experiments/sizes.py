"""The curve over model sizes: the same problems by several models, and a straight line over the logarithm of the size.

Austin, Odena et al. 2021 find that what is solved by any of 80 samples grows about log-linearly with size.
"""

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.fits import LogLinear, fit_log_linear
from benchmarks.experiments.parts import figure, page, problem_strips, problem_table, set_words
from benchmarks.experiments.plots import pass_curves
from benchmarks.experiments.scoring import sampled
from benchmarks.report.page import Block, Curve, Curves, Figure, Figures, Page, Table

_SIZE = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)([mb])(?![a-z\d])", re.IGNORECASE)
_UNITS = {"m": 1e6, "b": 1e9}


def models_of(text: str) -> dict[str, float]:
    """Models and their numbers of parameters: `NAME,NAME=1.5B,...`; without a size that of the name (0.5b, 135m).

    Raises CannotRun for a model whose size nobody said, and where there are not two models of different sizes.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, said = part.strip().partition("=")
        sizes = _SIZE.findall(said if equals else name.rpartition("/")[2])
        if len(sizes) != 1:
            raise CannotRun(f"--models: how large is {name!r}? Say it: {name}=1.5B")
        if name in found:
            raise CannotRun(f"--models: {name!r} is there twice")
        number, unit = sizes[0]
        found[name] = float(number) * _UNITS[unit.lower()]
    if len(set(found.values())) < 2:
        raise CannotRun(f"--models: {text!r} names no two models of different sizes")
    return found


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """Each model's scores, and for each k the line through them."""
    ks: list[int] = protocol["ks"]
    sizes: dict[str, float] = protocol["parameters"]
    names = sorted(sizes, key=lambda name: sizes[name])
    found = {name: sampled(protocol, name, outcomes[name], ks) for name in names}
    lines: dict[str, dict[str, float]] = {}
    for k in ks:
        means = [found[name]["pass_at_k"][str(k)]["value"] for name in names]
        line = fit_log_linear([sizes[name] for name in names], means)
        lines[str(k)] = {"intercept": line.intercept, "slope": line.slope, "r2": line.r2}
    models = [{"model": name, "parameters": sizes[name], **found[name]} for name in names]
    return {"models": models, "log_linear": lines}


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    lead = f"{set_words(result)}. The same problems and seeds for each model."
    if not result["complete"]:
        return page(result, lead, ())
    models, lines = result["scores"]["models"], result["scores"]["log_linear"]
    ks = list(lines)
    figures = [figure(f"{model['model']}, pass@{k}", model["pass_at_k"][k]) for model in models for k in ks]
    figures += [
        Figure(
            label=f"ten times the size, pass@{k}",
            value=f"{100 * line['slope']:+.1f} points",
            note=f"log-linear fit through {len(models)} models"
            + (f", r² = {line['r2']:.2f}" if len(models) > 2 else ": two points always lie on a line"),
        )
        for k, line in lines.items()
    ]
    names = [model["model"] for model in models]
    blocks: list[Block] = [Figures(figures=tuple(figures)), _curves(models, lines)]
    if models[0]["samples_per_problem"] > 1:
        curves = {model["model"]: model["curve"] for model in models}
        blocks.append(pass_curves("Solved by any of k samples", curves))
    blocks += [_table(models, ks), problem_strips(result, names), problem_table(result, names)]
    return page(result, lead, blocks)


def _curves(models: list[dict[str, Any]], lines: Mapping[str, Mapping[str, float]]) -> Curves:
    x = tuple(model["parameters"] / 1e9 for model in models)
    curves: list[Curve] = []
    for k, line in lines.items():
        means = [model["pass_at_k"][k] for model in models]
        fit = LogLinear(line["intercept"], line["slope"], line["r2"])
        curves.append(
            Curve(
                name=f"pass@{k}",
                x=x,
                y=tuple(one["value"] for one in means),
                low=tuple(one["interval_95"][0] for one in means),
                high=tuple(one["interval_95"][1] for one in means),
            )
        )
        # A share is from 0 to 1, whatever a line says.
        fitted = tuple(min(max(fit.at(size * 1e9), 0.0), 1.0) for size in x)
        curves.append(Curve(name=f"fit of pass@{k}", x=x, y=fitted, dashed=True))
    return Curves(
        title="By model size",
        says="pass@k over the number of parameters, on a log scale, with a straight line through each.",
        x_label="parameters, billions",
        y_label="problems solved",
        curves=tuple(curves),
        log_x=True,
        note="Bands: 95 % bootstrap intervals over problems, 10,000 resamples. Models of other families and trainings "
        "differ in more than their size.",
    )


def _table(models: list[dict[str, Any]], ks: list[str]) -> Table:
    return Table(
        title="Models",
        head=("model", "parameters", *(f"pass@{k}" for k in ks)),
        rows=tuple(
            (
                model["model"],
                f"{model['parameters'] / 1e6:,.0f} M",
                *(f"{100 * model['pass_at_k'][k]['value']:.1f} %" for k in ks),
            )
            for model in models
        ),
        align="lr" + "r" * len(ks),
        note="Parameters as the model's name or the command says.",
    )


EXPERIMENT = Experiment(name="sizes", title="Models by size", scores=scores, page=report)
