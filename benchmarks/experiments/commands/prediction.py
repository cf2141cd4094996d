"""`thresher bench prediction`."""

import sys
from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command()
def prediction(
    run: RunOptions,
    set_name: Annotated[str, typer.Option("--set", help="cruxeval (CRUXEval-O) or mbpp (its asserts).")] = "cruxeval",
    tests_in_prompt: Annotated[
        int | None, typer.Option(min=0, help="mbpp: how many other asserts of the problem are shown. Default: 0.")
    ] = None,
    greedy: Annotated[bool, typer.Option("--greedy", help="Also one greedy text of each problem.")] = False,
    print_prompt: Annotated[
        str | None, typer.Option(metavar="ID", help="Print the prompt of a problem, byte for byte, and draw nothing.")
    ] = None,
) -> None:
    """Execution prediction: a function and one input are given, the model says what it returns.

    By default 10 samples a problem at temperature 0.8, top-p 0.95, at most 64 tokens each. CRUXEval's own protocol is
    10 samples at 0.2 for pass@1 and at 0.8 for pass@5.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.prediction import EXPERIMENT, cruxeval, mbpp
    from benchmarks.experiments.scoring import GREEDY, SAMPLES
    from benchmarks.experiments.tasks import prompt_text

    if set_name not in ("cruxeval", "mbpp"):
        raise CannotRun(f"--set: {set_name!r} is none of cruxeval, mbpp")
    if set_name == "cruxeval" and tests_in_prompt is not None:
        raise CannotRun("--tests-in-prompt goes with --set mbpp: a problem of CRUXEval has one input")
    generator = run.chosen_generator()
    problems = run.chosen_problems(set_name, "all" if set_name == "cruxeval" else "test", generator)
    if set_name == "cruxeval":
        asked = cruxeval(problems.records, run.limits())
    else:
        asked = mbpp(problems.records, run.limits(), shown=tests_in_prompt or 0)
    if print_prompt is not None:
        sys.stdout.write(prompt_text(asked.tasks, print_prompt))
        return
    only_for_models(generator, tests_in_prompt=tests_in_prompt)
    to_model = generator.kind is Kind.SERVER
    n, ks = run.chosen_ks([1, 5, 10], generator, problems)
    draw = run.drawn(generator, n, {"temperature": 0.8, "top_p": 0.95, "max_new_tokens": 64}, asked.sampling)
    arms = [Arm(name=SAMPLES, tasks=asked.tasks, draw=draw)]
    if greedy:
        arms.append(Arm(name=GREEDY, tasks=asked.tasks, draw=run.greedy(generator, asked.sampling)))
    settings = {"ks": ks, "limits": run.described_limits(), **asked.told(to_model=to_model)}
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=tuple(arms), settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
