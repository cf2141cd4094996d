"""`thresher bench ways`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command

_MOST_SAMPLES = 1024
_WIDTH = 2
"""Rows of a solve at once: the fewer, the fewer are spent on texts that the budget cuts off, or beyond it."""


@experiment_command(without=("k", "samples"))
def ways(
    run: RunOptions,
    rows: Annotated[int, typer.Option(min=1, help="Decode rows a problem, the same for each way.")] = 600,
    way: Annotated[str, typer.Option("--ways", help="Which ones, with commas.")] = "independent,distinct,beam",
    beams: Annotated[int, typer.Option(min=1, max=64, help="Width of the beam.")] = 5,
    set_name: Annotated[str, typer.Option("--set", help="humaneval, mbpp or mbpp-sanitized.")] = "humaneval",
    prompt: Annotated[str | None, typer.Option(help="Another prompt of the set, such as chat.")] = None,
) -> None:
    """Distinct draws and beam search against independent samples, with the same rows of the model for each problem.

    By default 600 rows, temperature 0.8, top-p 0.95 (a beam has neither). Differences are to the first of --ways. The
    same for several seeds and budgets, each way at its best temperature: python -m benchmarks.tree.solved.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Draw, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.suites import ask, suite
    from benchmarks.experiments.ways import EXPERIMENT, WAYS

    names = way.split(",")
    if len(set(names)) < len(names) or not set(names) <= set(WAYS):
        raise CannotRun(f"--ways: {way!r} names not only different ones of {', '.join(WAYS)}")
    chosen = suite(set_name)
    generator = run.chosen_generator()
    if generator.kind is not Kind.SERVER:
        raise CannotRun(f"rows mean nothing to --generator {generator.kind.value}; this experiment needs a model")
    problems = run.chosen_problems(chosen.set, chosen.split, generator)
    asked = ask(chosen, problems, prompt, run.limits(), run.data, to_model=True)
    seed = run.seed or 0
    usual = {"temperature": 0.8, "top_p": 0.95, "width": _WIDTH}
    sampled = run.drawn(generator, _MOST_SAMPLES, usual, asked.sampling)
    draws = {
        "independent": Draw(samples=_MOST_SAMPLES, seed=seed, rows=rows, sampling=sampled.sampling),
        "distinct": Draw(
            samples=_MOST_SAMPLES, seed=seed, rows=rows, sampling={**sampled.sampling, "mode": "distinct"}
        ),
        "beam": Draw(
            samples=beams,
            seed=seed,
            rows=rows,
            sampling={"mode": "beam", "max_new_tokens": run.max_new_tokens or 512, **asked.sampling},
        ),
    }
    arms = tuple(Arm(name=name, tasks=asked.tasks, draw=draws[name]) for name in names)
    settings = {"budget_rows": rows, "limits": run.described_limits(), **asked.told(to_model=True)}
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
