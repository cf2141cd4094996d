"""`thresher bench curve`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command(without=("k",))
def curve(
    run: RunOptions,
    set_name: Annotated[str, typer.Option("--set", help="humaneval, mbpp or mbpp-sanitized.")] = "humaneval",
    prompt: Annotated[str | None, typer.Option(help="Another prompt of the set, such as chat.")] = None,
) -> None:
    """Coverage: the share of problems that any of k samples solves, k from 1 to n, with a band and a fit exp(a k^-b).

    By default 100 samples a problem at temperature 0.8 and top-p 0.95. Give --samples, not --k: every k up to it is
    drawn.
    """
    from benchmarks.experiments.curve import EXPERIMENT
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.scoring import SAMPLES
    from benchmarks.experiments.suites import ask, suite

    chosen = suite(set_name)
    generator = run.chosen_generator()
    problems = run.chosen_problems(chosen.set, chosen.split, generator)
    only_for_models(generator, prompt=prompt)
    asked = ask(chosen, problems, prompt, run.limits(), run.data, to_model=generator.kind is Kind.SERVER)
    generator = run.chosen_generator(stop=asked.stop)
    n, _ = run.chosen_ks([100], generator, problems)
    draw = run.drawn(generator, n, {"temperature": 0.8, "top_p": 0.95}, asked.sampling)
    plan = Plan(
        experiment=EXPERIMENT.name,
        data=(problems.described(),),
        arms=(Arm(name=SAMPLES, tasks=asked.tasks, draw=draw),),
        settings={"limits": run.described_limits(), **asked.told(to_model=generator.kind is Kind.SERVER)},
    )
    run.conduct(EXPERIMENT, plan, generator)
