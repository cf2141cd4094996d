"""`thresher bench selection`."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command


@experiment_command()
def selection(
    run: RunOptions,
    tests: Annotated[
        Path | None, typer.Option(help="Recorded blocks of generated tests: JSON lines of task_id and samples.")
    ] = None,
    visible: Annotated[
        int, typer.Option(min=0, help="So many of the docstring's examples are visible, and filter first.")
    ] = 0,
) -> None:
    """Which program to hand in: majority of behaviour, MBR-exec, CodeT, log-probability; random and oracle beside them.

    Over recorded samples of HumanEval (--generator replay: a recording, or a run of `thresher bench humaneval`), with
    recorded tests that a model has written (--tests). Also filtered pass@k.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.humaneval_tasks import STOP, humaneval
    from benchmarks.experiments.scoring import SAMPLES
    from benchmarks.experiments.selection import BEHAVIOUR, EXPERIMENT
    from benchmarks.experiments.selection_tasks import PER_BLOCK, example_of, generated, read_blocks, task

    generator = run.chosen_generator(stop=STOP)
    if generator.kind is Kind.SERVER:
        raise CannotRun(
            "selection is over recorded samples: draw them by `thresher bench humaneval --out FILE.json`, then "
            "--generator replay --recorded FILE.jsonl"
        )
    if tests is None:
        raise CannotRun("--tests: name a file of generated tests; behaviour is looked at on their inputs")
    problems = run.chosen_problems("humaneval", "all", generator)
    blocks = read_blocks(tests)
    problems = problems.only(blocks.__contains__, "those with generated tests")
    shown = {
        record.id: [
            one for text in record.facts["examples"] if (one := example_of(text, record.entry_point)) is not None
        ][:visible]
        for record in problems.records
    }
    made = {record.id: generated(blocks[record.id], record.entry_point) for record in problems.records}
    problems = problems.only(lambda name: bool(made[name]), "of which some can be read")
    n, ks = run.chosen_ks([1, 10], generator, problems)
    draw = run.drawn(generator, n, {}, {})
    deciding = humaneval(problems.records, "completion", "program", run.limits()).tasks
    behaving = tuple(task(one.record, one.document, shown[one.id], made[one.id]) for one in deciding)
    settings = {
        "ks": ks,
        "limits": run.described_limits(),
        "generated_tests": tests.name,
        "generated_tests_sha256": hashlib.sha256(tests.read_bytes()).hexdigest(),
        "asserts_of_each_block": PER_BLOCK,
        "visible_used": {record.id: len(shown[record.id]) for record in problems.records},
    }
    arms = (Arm(name=SAMPLES, tasks=deciding, draw=draw), Arm(name=BEHAVIOUR, tasks=behaving, draw=draw))
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
