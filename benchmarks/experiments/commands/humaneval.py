"""`thresher bench humaneval`."""

import sys
from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command()
def humaneval(
    run: RunOptions,
    prompt: Annotated[
        str | None,
        typer.Option(help="completion: go on with the stub. chat: for instruct models. Default: completion."),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(help="Where a completion ends. program: with its function. paper: at the paper's stop strings."),
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Also one greedy text of each problem.")] = False,
    print_prompt: Annotated[
        str | None, typer.Option(metavar="ID", help="Print the prompt of a problem, byte for byte, and draw nothing.")
    ] = None,
) -> None:
    """HumanEval: pass@k by the unbiased estimator, over all 164 problems.

    By default 10 samples a problem at temperature 0.8 and top-p 0.95, pass@1 and pass@10. The paper draws 200 and takes
    for each k the best of several temperatures (see `thresher bench sweep`).
    """
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.humaneval import EXPERIMENT
    from benchmarks.experiments.humaneval_tasks import STOP, humaneval
    from benchmarks.experiments.scoring import GREEDY, SAMPLES
    from benchmarks.experiments.tasks import prompt_text

    generator = run.chosen_generator(stop=STOP)
    problems = run.chosen_problems("humaneval", "all", generator)
    asked = humaneval(problems.records, prompt or "completion", end or "program", run.limits())
    if print_prompt is not None:
        sys.stdout.write(prompt_text(asked.tasks, print_prompt))
        return
    only_for_models(generator, prompt=prompt, end=end)
    n, ks = run.chosen_ks([1, 10], generator, problems)
    draw = run.drawn(generator, n, {"temperature": 0.8, "top_p": 0.95}, asked.sampling)
    arms = [Arm(name=SAMPLES, tasks=asked.tasks, draw=draw)]
    if greedy:
        arms.append(Arm(name=GREEDY, tasks=asked.tasks, draw=run.greedy(generator, asked.sampling)))
    settings = {"ks": ks, "limits": run.described_limits(), **asked.told(to_model=generator.kind is Kind.SERVER)}
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=tuple(arms), settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
