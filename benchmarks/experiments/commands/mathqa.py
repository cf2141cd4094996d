"""`thresher bench mathqa`."""

import sys
from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command()
def mathqa(
    run: RunOptions,
    shots: Annotated[int | None, typer.Option(help="Examples in the prompt, of the train split. Default: 4.")] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Also one greedy text of each problem.")] = False,
    print_prompt: Annotated[
        str | None, typer.Option(metavar="ID", help="Print the prompt of a problem, byte for byte, and draw nothing.")
    ] = None,
) -> None:
    """MathQA-Python: word problems with numbers; solved where the program sets `answer` to the right value.

    By default 10 samples a problem at temperature 0.5, at most 256 tokens each, over the test split.
    """
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.mathqa import EXPERIMENT, SET, STOP, mathqa, shots_of
    from benchmarks.experiments.problems import load_problems
    from benchmarks.experiments.scoring import GREEDY, SAMPLES
    from benchmarks.experiments.tasks import prompt_text

    generator = run.chosen_generator(stop=STOP)
    to_model = generator.kind is Kind.SERVER
    problems = run.chosen_problems(SET, "all" if print_prompt is not None else "test", generator)
    # Without a model no prompt is read, and no examples are needed.
    count = 4 if shots is None else shots
    examples = shots_of(load_problems(SET, run.data).records, count) if to_model or print_prompt is not None else ()
    asked = mathqa(problems.records, run.limits(), shots=examples, to_model=to_model)
    if print_prompt is not None:
        sys.stdout.write(prompt_text(asked.tasks, print_prompt))
        return
    only_for_models(generator, shots=shots)
    n, ks = run.chosen_ks([1, 10], generator, problems)
    draw = run.drawn(generator, n, {"temperature": 0.5, "top_p": 1.0, "max_new_tokens": 256}, asked.sampling)
    arms = [Arm(name=SAMPLES, tasks=asked.tasks, draw=draw)]
    if greedy:
        arms.append(Arm(name=GREEDY, tasks=asked.tasks, draw=run.greedy(generator, asked.sampling)))
    settings = {"ks": ks, "limits": run.described_limits(), **asked.told(to_model=to_model)}
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=tuple(arms), settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
