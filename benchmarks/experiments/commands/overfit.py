"""`thresher bench overfit`."""

from typing import Annotated

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command

_SETS = ("mbpp", "humaneval", "leetcode", "humanevalplus", "mbppplus")


@experiment_command(without=("k",))
def overfit(
    run: RunOptions,
    set_name: Annotated[str, typer.Option("--set", help=f"One of {', '.join(_SETS)}.")] = "humaneval",
) -> None:
    """Over-fitting: of the programs that pass the visible tests, the share that held-out tests reject.

    mbpp: the asserts decide, the challenge tests of the few problems that have some are held out. humaneval: examples
    of the docstring decide, the check is held out. leetcode: the statement's examples, and all others. humanevalplus,
    mbppplus: EvalPlus's base and plus inputs; judged here, so not with --generator server.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.evalplus_tasks import SETS as EVALPLUS
    from benchmarks.experiments.evalplus_tasks import tasks as evalplus_tasks
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.humaneval_tasks import STOP
    from benchmarks.experiments.overfit import EXPERIMENT
    from benchmarks.experiments.overfit_tasks import DECIDES, tasks
    from benchmarks.experiments.scoring import SAMPLES

    if set_name not in _SETS:
        raise CannotRun(f"--set: {set_name!r} is none of {', '.join(_SETS)}")
    generator = run.chosen_generator(stop=STOP if set_name.startswith("humaneval") else ())
    if set_name in EVALPLUS and generator.kind is Kind.SERVER:
        raise CannotRun(
            f"--set {set_name}: EvalPlus's calls are judged here, not by a server; draw by `thresher bench humaneval` "
            "or `mbpp`, and judge its recording by --generator replay"
        )
    name = {"humaneval": "humanevalplus"}.get(set_name, set_name)
    problems = run.chosen_problems(name, "test" if set_name == "mbpp" else "all", generator)
    if set_name not in EVALPLUS:
        both = {record.id for record in problems.records if record.visible and record.held_out}
        problems = problems.only(both.__contains__, "those with visible and held-out tests")
    n, _ = run.chosen_ks([10], generator, problems)
    draw = run.drawn(generator, n, {"temperature": 0.8, "top_p": 0.95}, {})
    settings = {"limits": run.described_limits(), "decides": DECIDES[set_name]}
    if set_name in EVALPLUS:
        made = evalplus_tasks(problems.records, run.limits())
    else:
        made = tasks(problems.records, run.limits(), stub=set_name == "humaneval")
        settings["visible_tests"] = {
            record.id: [test for test in record.visible if isinstance(test, str)] for record in problems.records
        }
    arms = (Arm(name=SAMPLES, tasks=made, draw=draw),)
    plan = Plan(experiment=EXPERIMENT.name, data=(problems.described(),), arms=arms, settings=settings)
    run.conduct(EXPERIMENT, plan, generator)
