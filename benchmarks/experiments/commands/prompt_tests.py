"""`thresher bench prompt-tests`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command, only_for_models


@experiment_command()
def prompt_tests(
    run: RunOptions,
    tests: Annotated[str, typer.Option("--tests", help="How many tests prompts quote, from 0 to 3.")] = "0,1,2,3",
    edited: Annotated[bool, typer.Option("--edited", help="The sanitized problems instead of the full set.")] = False,
    prompt: Annotated[str | None, typer.Option(help="few-shot or chat. Default: few-shot.")] = None,
) -> None:
    """How many tests the prompt quotes: the same problems and seeds with 0, 1, 2 and 3 of MBPP's tests shown.

    All tests decide whatever is shown. By default pass@1 and pass@10 of 10 samples a problem at temperature 0.5, over
    the test split; the differences are to the first number of tests given.
    """
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.mbpp_tasks import SHOT_IDS, STOP, mbpp, require_no_answers, shots_of
    from benchmarks.experiments.problems import load_problems
    from benchmarks.experiments.prompt_tests import EXPERIMENT, arm_name

    counts = _counts(tests)
    generator = run.chosen_generator(stop=STOP)
    to_model = generator.kind is Kind.SERVER
    name = "mbpp-sanitized" if edited else "mbpp"
    problems = run.chosen_problems(name, "test", generator)
    form = prompt or "few-shot"
    examples = shots_of(load_problems(name, run.data).records, len(SHOT_IDS)) if form == "few-shot" else ()
    asked = {one: mbpp(problems.records, form, run.limits(), shown=one, shots=examples) for one in counts}
    only_for_models(generator, prompt=prompt)
    if to_model:
        require_no_answers(problems.records, examples)
    n, ks = run.chosen_ks([1, 10], generator, problems)
    arms = tuple(
        Arm(
            name=arm_name(shown),
            tasks=one.tasks,
            draw=run.drawn(generator, n, {"temperature": 0.5, "top_p": 1.0}, one.sampling),
        )
        for shown, one in asked.items()
    )
    told = asked[counts[0]].told(to_model=to_model) | {"tests_shown": counts}
    settings = {"ks": ks, "limits": run.described_limits(), **told}
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    run.conduct(EXPERIMENT, plan, generator)


def _counts(text: str) -> list[int]:
    """Raises CannotRun for what is no list of two or more different numbers of tests."""
    from benchmarks.experiments.errors import CannotRun

    parts = [part.strip() for part in text.split(",")]
    found = [int(part) for part in parts if part in ("0", "1", "2", "3")]
    if len(found) < len(parts) or len(set(found)) < max(2, len(found)):
        raise CannotRun(f"--tests: {text!r} names no two or more different numbers from 0 to 3; write 0,1,3")
    return found
