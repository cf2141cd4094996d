"""`thresher bench edited`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command()
def edited(
    run: RunOptions,
    prompt: Annotated[str | None, typer.Option(help="few-shot or chat. Default: few-shot.")] = None,
    tests_in_prompt: Annotated[
        int | None, typer.Option(help="How many tests each block of the prompt quotes. Default: 3.")
    ] = None,
) -> None:
    """MBPP-edited beside the original: the same ids, prompt and seeds, with the texts as published and as edited.

    By default pass@1 and pass@10 of 10 samples a problem at temperature 0.5, over the test problems of both sets.
    """
    from dataclasses import replace

    from benchmarks.experiments.edited import EDITED, EXPERIMENT, UNEDITED
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.mbpp_tasks import SHOT_IDS, STOP, mbpp, require_no_answers, shots_of
    from benchmarks.experiments.problems import load_problems

    generator = run.chosen_generator(stop=STOP)
    to_model = generator.kind is Kind.SERVER
    form = prompt or "few-shot"
    shown = 3 if tests_in_prompt is None else tests_in_prompt
    both = load_problems("mbpp-sanitized", run.data), load_problems("mbpp", run.data)
    common = {record.id for record in both[0].records} & {record.id for record in both[1].records}
    # The number of problems is taken after the common ones, so that it means what it says.
    some = replace(run, problems=None)
    sides = {
        name: some.chosen_problems(of, "test", generator).only(common.__contains__, "those that both sets have")
        for name, of in ((UNEDITED, "mbpp"), (EDITED, "mbpp-sanitized"))
    }
    if run.problems is not None:
        sides = {name: side.first(run.problems) for name, side in sides.items()}
    # The examples are those of the original in both, so that the problem alone differs.
    examples = shots_of(both[1].records, len(SHOT_IDS)) if form == "few-shot" else ()
    asked = {name: mbpp(side.records, form, run.limits(), shown=shown, shots=examples) for name, side in sides.items()}
    only_for_models(generator, prompt=prompt, tests_in_prompt=tests_in_prompt)
    if to_model:
        require_no_answers(sides[UNEDITED].records, examples)
    n, ks = run.chosen_ks([1, 10], generator, sides[UNEDITED])
    arms = tuple(
        Arm(
            name=name,
            tasks=one.tasks,
            draw=run.drawn(generator, n, {"temperature": 0.5, "top_p": 1.0}, one.sampling),
        )
        for name, one in asked.items()
    )
    settings = {"ks": ks, "limits": run.described_limits(), **asked[EDITED].told(to_model=to_model)}
    data = tuple(side.described() for side in sides.values())
    run.conduct(EXPERIMENT, Plan(experiment=EXPERIMENT.name, data=data, arms=arms, settings=settings), generator)
