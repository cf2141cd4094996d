"""`thresher bench apps`."""

import sys
from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command(without=("k", "cpu_seconds"))
def apps(
    run: RunOptions,
    level: Annotated[
        str | None, typer.Option(help="Only this one: introductory, interview or competition. Default: all three.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="chat, or paper: its QUESTION/ANSWER text. Default: chat.")] = None,
    beams: Annotated[int | None, typer.Option(min=1, help="Beam search of this width instead of samples.")] = None,
    compat: Annotated[
        str | None, typer.Option(help="apps: compare outputs as its grader does, which loses order and number.")
    ] = None,
    cpu_seconds: Annotated[float, typer.Option(min=0.01, help="CPU time limit of each test.")] = 4.0,
    print_prompt: Annotated[
        str | None, typer.Option(metavar="ID", help="Print the prompt of a problem, byte for byte, and draw nothing.")
    ] = None,
) -> None:
    """APPS: strict accuracy, test-case average and syntax errors by level; call-based and standard-input programs.

    By default 5 samples a problem at temperature 0.8, top-p 0.95, over the test split. The paper searches 5 beams.
    """
    from dataclasses import replace

    from benchmarks.experiments.apps import EXPERIMENT
    from benchmarks.experiments.apps_tasks import LEVELS, PROMPTS
    from benchmarks.experiments.apps_tasks import apps as asked_of
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Draw, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.tasks import prompt_text

    run = replace(run, cpu_seconds=cpu_seconds)
    form = prompt or "chat"
    for option, word, words in (("level", level, LEVELS), ("prompt", prompt, PROMPTS), ("compat", compat, ("apps",))):
        if word is not None and word not in words:
            raise CannotRun(f"--{option}: {word!r} is none of {', '.join(words)}")
    generator = run.chosen_generator()
    to_model = generator.kind is Kind.SERVER
    if print_prompt is not None:
        run = replace(run, split=run.split or "all")
    problems = run.chosen_problems("apps", "test", generator)
    if level is not None:
        problems = problems.only(
            {record.id for record in problems.records if record.facts["difficulty"] == level}.__contains__,
            f"those of the level {level}",
        )
    asked = asked_of(problems.records, form, run.limits(), compat=compat is not None, to_model=to_model)
    if print_prompt is not None:
        sys.stdout.write(prompt_text(asked.tasks, print_prompt))
        return
    only_for_models(generator, prompt=prompt, beams=beams)
    if beams is not None:
        given = {"--samples": run.samples, "--temperature": run.temperature, "--top-p": run.top_p}
        for option, value in given.items():
            if value is not None:
                raise CannotRun(f"{option} has no meaning for --beams; leave it out")
        sampling = {"mode": "beam", "max_new_tokens": run.max_new_tokens or 512, **asked.sampling}
        draw = Draw(samples=beams, seed=run.seed or 0, sampling=sampling)
    else:
        n, _ = run.chosen_ks([5], generator, problems)
        draw = run.drawn(generator, n, {"temperature": 0.8, "top_p": 0.95}, asked.sampling)
    by_level = {one: tuple(task for task in asked.tasks if task.record.facts["difficulty"] == one) for one in LEVELS}
    arms = tuple(Arm(name=one, tasks=tasks, draw=draw) for one, tasks in by_level.items() if tasks)
    settings = {
        "compat": compat or "none",
        "limits": run.described_limits(),
        **asked.told(to_model=to_model),
    }
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
