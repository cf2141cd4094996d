"""`thresher bench selection`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command

if TYPE_CHECKING:
    from benchmarks.experiments.problems import Problems


@experiment_command()
def selection(
    run: RunOptions,
    tests: Annotated[
        Path | None,
        typer.Option(help="Recorded texts of generated tests: JSON lines of task_id and samples, or a run that drew."),
    ] = None,
    generate_tests: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Draw N texts of tests for each problem; how to draw, and --model and --server, are theirs.",
        ),
    ] = None,
    visible: Annotated[
        int, typer.Option(min=0, help="So many of the docstring's examples are visible, and filter first.")
    ] = 0,
) -> None:
    """Which program to hand in: majority of behaviour, MBR-exec, CodeT, log-probability; random and oracle beside them.

    Over recorded samples of HumanEval (--generator replay: a recording, or a run of `thresher bench humaneval`), with
    tests that a model writes (--generate-tests) or has written (--tests). Also filtered pass@k.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.humaneval_tasks import STOP, humaneval
    from benchmarks.experiments.scoring import SAMPLES
    from benchmarks.experiments.selection import BEHAVIOUR, EXPERIMENT
    from benchmarks.experiments.selection_tasks import PER_BLOCK, example_of, generated, read_blocks, task

    if generate_tests is None:
        judging = run
    else:
        # What says how to draw is about the tests: the samples are there already.
        judging = replace(
            run,
            **dict.fromkeys(("server", "token_file", "temperature", "top_p", "max_new_tokens", "seed"), None),
            model="",
            arithmetic="auto",
        )
    generator = judging.chosen_generator(stop=STOP)
    if generator.kind is Kind.SERVER:
        raise CannotRun(
            "selection is over recorded samples: draw them by `thresher bench humaneval --out FILE.json`, then "
            "--generator replay --recorded FILE.jsonl"
        )
    problems = judging.chosen_problems("humaneval", "all", generator)
    n, ks = judging.chosen_ks([1, 10], generator, problems)
    draw = judging.drawn(generator, n, {}, {})
    if tests is None and generate_tests is not None:
        tests = _drawn_tests(run, problems, generate_tests)
    elif tests is None or generate_tests is not None:
        raise CannotRun(
            "behaviour is looked at on the inputs of generated tests: either let a model write some "
            "(--generate-tests 10), or name a file of such (--tests FILE)"
        )
    blocks = read_blocks(tests)
    problems = problems.only(blocks.texts.__contains__, "those with generated tests")
    examples = {
        record.id: [one for text in record.facts["examples"] if (one := example_of(text, record.entry_point))]
        for record in problems.records
    }
    shown = {name: found[:visible] for name, found in examples.items()}
    made = {record.id: generated(blocks.texts[record.id], record.entry_point) for record in problems.records}
    problems = problems.only(lambda name: bool(made[name]), "those of whose generated tests some can be read")
    # Samples of a chat may lack what the stub has above the function; the others do not mind having it twice.
    deciding = humaneval(problems.records, "chat", "program", judging.limits()).tasks
    behaving = tuple(task(one.record, one.document, shown[one.id], made[one.id]) for one in deciding)
    settings = {
        "ks": ks,
        "limits": judging.described_limits(),
        **blocks.source,
        "asserts_of_each_block": PER_BLOCK,
        "generated_tests_used": {record.id: len(made[record.id]) for record in problems.records},
        "generated_tests_copied": {
            name: [
                place for place, one in enumerate(made[name]) if one.said in {known.said for known in examples[name]}
            ]
            for name in (record.id for record in problems.records)
        },
        "visible_used": {record.id: len(shown[record.id]) for record in problems.records},
    }
    arms = (Arm(name=SAMPLES, tasks=deciding, draw=draw), Arm(name=BEHAVIOUR, tasks=behaving, draw=draw))
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    judging.conduct(EXPERIMENT, plan, generator)


def _drawn_tests(run: RunOptions, problems: "Problems", texts: int) -> Path:
    """Draw the texts, or what is left of them. Returns the ledger they are in, beside the result."""
    from benchmarks.experiments.experiment import Arm, Draw, Plan
    from benchmarks.experiments.generated_tests import EXPERIMENT, PROMPT, STOP, TESTS, USUAL, Written, tasks

    out = None if run.out is None else run.out.with_name(f"{run.out.stem}-tests.json")
    drawing = replace(
        run,
        generator="server",
        recorded=None,
        recorded_arm="",
        recorded_imports="",
        only_recorded=False,
        p=None,
        out=out,
    )
    generator = drawing.chosen_generator()
    draw: Draw = drawing.drawn(generator, texts, USUAL, {"stop": list(STOP), "keep_after_program": True})
    arm = Arm(name=TESTS, tasks=tasks(problems.records, drawing.limits()), draw=draw)
    settings = {"limits": drawing.described_limits(), "prompt": PROMPT}
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=(arm,), settings=settings)
    written = Written(generator)
    drawing.conduct(EXPERIMENT, plan, written)
    return drawing.chosen_out(EXPERIMENT, plan, written).with_suffix(".jsonl")
