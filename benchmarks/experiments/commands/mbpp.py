"""`thresher bench mbpp`."""

import sys
from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command()
def mbpp(
    run: RunOptions,
    edited: Annotated[bool, typer.Option("--edited", help="The sanitized problems instead of the full set.")] = False,
    prompt: Annotated[
        str | None, typer.Option(help="few-shot: the paper's. chat: for instruct models. Default: few-shot.")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(help="Examples in the few-shot prompt, of problems 2, 3 and 4. Default: 3.")
    ] = None,
    tests_in_prompt: Annotated[
        int | None, typer.Option(help="How many tests each block of the prompt quotes. Default: 3.")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Also one greedy text of each problem.")] = False,
    print_prompt: Annotated[
        str | None, typer.Option(metavar="ID", help="Print the prompt of a problem, byte for byte, and draw nothing.")
    ] = None,
) -> None:
    """MBPP as in its paper: few-shot prompt, k = 80, solved by any and the fraction of samples that pass.

    By default 80 samples a problem at temperature 0.5, over the test split. The paper's 500 problems are counted as far
    as they are there: the result says how many.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.mbpp import EXPERIMENT
    from benchmarks.experiments.mbpp_tasks import STOP, mbpp, require_no_answers, shots_of
    from benchmarks.experiments.problems import load_problems
    from benchmarks.experiments.scoring import GREEDY, SAMPLES
    from benchmarks.experiments.tasks import prompt_text

    generator = run.chosen_generator(stop=STOP)
    name = "mbpp-sanitized" if edited else "mbpp"
    # Any problem's prompt can be looked at, whatever its split.
    split = "all" if print_prompt is not None else "test"
    problems = run.chosen_problems(name, split, generator)
    form = prompt or "few-shot"
    if form == "chat" and shots is not None:
        raise CannotRun("--shots: a chat has no examples; leave it out, or take --prompt few-shot")
    examples = () if form == "chat" else shots_of(load_problems(name, run.data).records, 3 if shots is None else shots)
    shown = 3 if tests_in_prompt is None else tests_in_prompt
    asked = mbpp(problems.records, form, run.limits(), shown=shown, shots=examples)
    if print_prompt is not None:
        sys.stdout.write(prompt_text(asked.tasks, print_prompt))
        return
    only_for_models(generator, prompt=prompt, shots=shots, tests_in_prompt=tests_in_prompt)
    if generator.kind is Kind.SERVER:
        require_no_answers(problems.records, examples)
    n, ks = run.chosen_ks([80], generator, problems)
    draw = run.drawn(generator, n, {"temperature": 0.5, "top_p": 1.0}, asked.sampling)
    arms = [Arm(name=SAMPLES, tasks=asked.tasks, draw=draw)]
    if greedy:
        arms.append(Arm(name=GREEDY, tasks=asked.tasks, draw=run.greedy(generator, asked.sampling)))
    settings = {"ks": ks, "limits": run.described_limits(), **asked.told(to_model=generator.kind is Kind.SERVER)}
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=tuple(arms), settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
