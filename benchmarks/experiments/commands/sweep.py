"""`thresher bench sweep`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command(without=("temperature",))
def sweep(
    run: RunOptions,
    temperature: Annotated[
        str, typer.Option(help="The temperatures: 0.2,0.8 or 0.1..1.0 (in steps of 0.1).")
    ] = "0.2,0.4,0.6,0.8,1.0",
    set_name: Annotated[str, typer.Option("--set", help="humaneval, mbpp or mbpp-sanitized.")] = "humaneval",
    prompt: Annotated[str | None, typer.Option(help="Another prompt of the set, such as chat.")] = None,
) -> None:
    """Temperature against k: the same problems and seeds at each temperature; where pass@k crosses, and what to take.

    By default pass@1 and pass@10 of 10 samples a problem at each of five temperatures, top-p 0.95.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.suites import ask, suite
    from benchmarks.experiments.sweep import EXPERIMENT, arm_name

    temperatures = _temperatures(temperature)
    chosen = suite(set_name)
    generator = run.chosen_generator()
    if generator.kind not in (Kind.SERVER, Kind.SYNTHETIC):
        raise CannotRun(f"a temperature means nothing to --generator {generator.kind.value}; take server or synthetic")
    problems = run.chosen_problems(chosen.set, chosen.split, generator)
    only_for_models(generator, prompt=prompt)
    asked = ask(chosen, problems, prompt, run.limits(), run.data, to_model=generator.kind is Kind.SERVER)
    n, ks = run.chosen_ks([1, 10], generator, problems)
    arms = tuple(
        Arm(
            name=arm_name(one),
            tasks=asked.tasks,
            draw=run.drawn(generator, n, {"top_p": 0.95}, asked.sampling, temperature=one),
        )
        for one in temperatures
    )
    settings = {
        "ks": ks,
        "temperatures": temperatures,
        "limits": run.described_limits(),
        **asked.told(to_model=generator.kind is Kind.SERVER),
    }
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    run.conduct(EXPERIMENT, plan, generator)


def _temperatures(text: str) -> list[float]:
    """Raises CannotRun for what is no list of at least two different temperatures."""
    from benchmarks.experiments.errors import CannotRun

    first, dots, last = text.partition("..")
    try:
        if dots:
            low, high = round(float(first) * 10), round(float(last) * 10)
            found = [step / 10 for step in range(low, high + 1)]
        else:
            found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(set(found)) < 2 or len(set(found)) < len(found) or min(found) < 0:
        raise CannotRun(
            f"--temperature: {text!r} names no two or more different temperatures from 0 on; write 0.2,0.8 or 0.1..1.0"
        )
    return found
