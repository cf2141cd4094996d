"""`thresher bench contests`."""

from datetime import datetime
from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command


@experiment_command(without=("cpu_seconds",))
def contests(
    run: RunOptions,
    set_name: Annotated[
        str, typer.Option("--set", help="livecodebench, leetcode, codecontests or codecontests-full.")
    ] = "livecodebench",
    first: Annotated[
        datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="Only problems of this day and later.")
    ] = None,
    last: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Only problems of this day and earlier.")
    ] = None,
    cpu_seconds: Annotated[float, typer.Option(min=0.01, help="CPU time limit of each test.")] = 6.0,
) -> None:
    """Contest problems by date: pass@k over all tests at hand, and by month.

    By default 10 samples a problem at temperature 0.2, top-p 0.95, as LiveCodeBench draws, at most 1024 tokens each.
    With public tests alone a pass is no LiveCodeBench pass: the page says what is at hand.
    """
    from dataclasses import replace

    from benchmarks.data import window
    from benchmarks.experiments.contests import EXPERIMENT, SETS, months, tasks
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.scoring import SAMPLES

    if set_name not in SETS:
        raise CannotRun(f"--set: {set_name!r} is none of {', '.join(SETS)}")
    run = replace(run, cpu_seconds=cpu_seconds)
    generator = run.chosen_generator()
    problems = run.chosen_problems(set_name, "all", generator)
    if first is not None or last is not None:
        days = (one.date() if one is not None else None for one in (first, last))
        dated = window(replace(problems.data_set, records=problems.records), *days)
        kept = {record.id for record in dated.records}
        span = f"dated {first:%Y-%m-%d}" if first is not None else "dated from the first"
        problems = problems.only(kept.__contains__, span + (f" to {last:%Y-%m-%d}" if last is not None else " on"))
    n, ks = run.chosen_ks([1, 5, 10], generator, problems)
    usual = {"temperature": 0.2, "top_p": 0.95, "max_new_tokens": 1024}
    draw = run.drawn(generator, n, usual, {})
    told = "chat, the statement" if generator.kind is Kind.SERVER else "none: no model was asked"
    settings = {
        "ks": ks,
        "limits": run.described_limits(),
        "prompt": told,
        "months": months(problems.records),
    }
    arms = (Arm(name=SAMPLES, tasks=tasks(problems.records, run.limits()), draw=draw),)
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
