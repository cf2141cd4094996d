"""`thresher bench sizes`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command


@experiment_command(without=("model",))
def sizes(
    run: RunOptions,
    models: Annotated[
        str,
        typer.Option(help="Names or paths, with commas; where the name tells no size, after it: NAME=1.5B."),
    ] = "smollm2-135m-instruct,qwen2.5-coder-0.5b-instruct",
    set_name: Annotated[str, typer.Option("--set", help="humaneval, mbpp or mbpp-sanitized.")] = "humaneval",
    prompt: Annotated[str | None, typer.Option(help="Another prompt of the set, such as chat.")] = None,
) -> None:
    """The curve over model sizes: the same problems by each model, with a log-linear fit.

    By default pass@1 and pass@10 of 10 samples a problem at temperature 0.8, top-p 0.95, by the two models of the
    catalogue. One server is started for each model, one after the other.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.sizes import EXPERIMENT, models_of
    from benchmarks.experiments.suites import ask, suite

    parameters = models_of(models)
    chosen = suite(set_name)
    generator = run.chosen_generator()
    if generator.kind is not Kind.SERVER:
        raise CannotRun(f"--generator {generator.kind.value} draws from no model, and this experiment is about models")
    problems = run.chosen_problems(chosen.set, chosen.split, generator)
    asked = ask(chosen, problems, prompt, run.limits(), run.data, to_model=True)
    n, ks = run.chosen_ks([1, 10], generator, problems)
    draw = run.drawn(generator, n, {"temperature": 0.8, "top_p": 0.95}, asked.sampling)
    # Of a path on this machine its last part is what a result tells.
    short = {name: name.rpartition("/")[2] for name in parameters}
    arms = tuple(Arm(name=short[name], tasks=asked.tasks, draw=draw, model=name) for name in parameters)
    told = {short[name]: count for name, count in parameters.items()}
    settings = {"ks": ks, "parameters": told, "limits": run.described_limits(), **asked.told(to_model=True)}
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
