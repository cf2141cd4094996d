"""`thresher bench give-up`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command(without=("k",))
def give_up(
    run: RunOptions,
    floor: Annotated[
        float, typer.Option(min=0, max=1, help="Give up below this chance that a sample that is left passes.")
    ] = 0.05,
    orders: Annotated[int, typer.Option(min=1, help="Random orders of problems and samples.")] = 200,
    set_name: Annotated[str, typer.Option("--set", help="humaneval, mbpp or mbpp-sanitized.")] = "humaneval",
    prompt: Annotated[str | None, typer.Option(help="Another prompt of the set, such as chat.")] = None,
) -> None:
    """When to give up a problem: what a learned rule saves of the samples, and how many solved problems it costs.

    By default 100 samples a problem at temperature 0.8 and top-p 0.95, or those of a recording (--generator replay).
    """
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.give_up import EXPERIMENT
    from benchmarks.experiments.scoring import SAMPLES
    from benchmarks.experiments.suites import ask, suite

    chosen = suite(set_name)
    generator = run.chosen_generator()
    problems = run.chosen_problems(chosen.set, chosen.split, generator)
    only_for_models(generator, prompt=prompt)
    to_model = generator.kind is Kind.SERVER
    asked = ask(chosen, problems, prompt, run.limits(), run.data, to_model=to_model)
    generator = run.chosen_generator(stop=asked.stop)
    n, _ = run.chosen_ks([100], generator, problems)
    draw = run.drawn(generator, n, {"temperature": 0.8, "top_p": 0.95}, asked.sampling)
    plan = Plan(
        experiment=EXPERIMENT.name,
        data=(problems.described(),),
        arms=(Arm(name=SAMPLES, tasks=asked.tasks, draw=draw),),
        settings={
            "floor": floor,
            "orders": orders,
            "limits": run.described_limits(),
            **asked.told(to_model=to_model),
        },
    )
    run.conduct(EXPERIMENT, plan, generator)
