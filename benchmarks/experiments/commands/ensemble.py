"""`thresher bench ensemble`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command

_SHOTS = 3


@experiment_command(without=("k", "samples"))
def ensemble(
    run: RunOptions,
    prompts: Annotated[int, typer.Option("--ensemble", min=2, help="How many prompts.")] = 15,
    total_k: Annotated[int, typer.Option(min=2, help="Samples a problem of each side of the comparison.")] = 75,
    edited: Annotated[bool, typer.Option("--edited", help="The sanitized problems instead of the full set.")] = False,
) -> None:
    """An ensemble of few-shot prompts on MBPP: each prompt, the union, and the single best one at an equal budget.

    Each prompt has three examples drawn at random (--seed) from the splits prompt and train. With every prompt
    --total-k samples a problem are drawn, at temperature 0.5: as many as the single best one is scored with.
    """
    import random
    from dataclasses import replace

    from benchmarks.experiments.ensemble import EXPERIMENT, arm_name
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.mbpp_tasks import STOP, mbpp, require_no_answers
    from benchmarks.experiments.problems import load_problems

    if total_k % prompts:
        raise CannotRun(f"--total-k: {total_k} samples cannot be shared equally among {prompts} prompts (--ensemble)")
    generator = run.chosen_generator(stop=STOP)
    if generator.kind not in (Kind.SERVER, Kind.SYNTHETIC):
        raise CannotRun(f"prompts mean nothing to --generator {generator.kind.value}; take server or synthetic")
    name = "mbpp-sanitized" if edited else "mbpp"
    problems = run.chosen_problems(name, "test", generator)
    pool = [record for record in load_problems(name, run.data).records if record.split in ("prompt", "train")]
    draw = random.Random(f"ensemble/{run.seed or 0}")
    arms: list[Arm] = []
    examples: list[list[str]] = []
    for number in range(1, prompts + 1):
        chosen = draw.sample(pool, _SHOTS)
        require_no_answers(problems.records, chosen)
        asked = mbpp(problems.records, "few-shot", run.limits(), shown=3, shots=chosen)
        examples.append([record.id for record in chosen])
        # Prompts must not share their random numbers: the union counts them as independent.
        seed = draw.getrandbits(32)
        drawn = run.drawn(generator, total_k, {"temperature": 0.5, "top_p": 1.0}, asked.sampling)
        arms.append(Arm(name=arm_name(number), tasks=asked.tasks, draw=replace(drawn, seed=seed)))
    settings = {
        "total_k": total_k,
        "limits": run.described_limits(),
        "prompt": "few-shot, as the paper's, examples drawn at random",
        "tests_shown": 3,
        "shots_of_prompts": examples,
    }
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=tuple(arms), settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
