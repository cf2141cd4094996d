"""`thresher bench repair`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.experiments.commands.options import RunOptions, experiment_command

_MOST_CALLS = 64
"""Plain draws of a problem at most: one that never passes would else draw on for a conversation of another."""


@experiment_command(without=("k", "problems"))
def repair(
    run: RunOptions,
    failing: Annotated[int, typer.Option(min=1, help="So many problems whose first draws fail.")] = 40,
    rounds: Annotated[int, typer.Option(min=1, max=16, help="Rounds of a conversation at most.")] = 4,
    human: Annotated[
        bool, typer.Option("--human", help="A scripted human says a sentence on each failure, beside the test.")
    ] = False,
    way: Annotated[
        str,
        typer.Option(help="refine: a session each; prior-attempts: a solve a round, which is told what failed before."),
    ] = "refine",
    set_name: Annotated[str, typer.Option("--set", help="humaneval, mbpp or mbpp-sanitized.")] = "mbpp",
) -> None:
    """Rounds of repair against plain sampling at equal tokens, on the first problems whose first draws fail.

    Each round is told of the failing test, what was expected and what came, and the traceback's end. By default one
    program a draw and a round, temperature 0.8, top-p 0.95. The conversations are written to OUT.transcripts.json.
    """
    from benchmarks.experiments.errors import CannotRun
    from benchmarks.experiments.experiment import Arm, Plan
    from benchmarks.experiments.generators import Kind
    from benchmarks.experiments.repair import EXPERIMENT
    from benchmarks.experiments.repair_rounds import PriorAttempts, require_chats
    from benchmarks.experiments.repair_run import Asked, conduct_repair
    from benchmarks.experiments.repair_session import Sessions
    from benchmarks.experiments.repair_words import FIRST
    from benchmarks.experiments.suites import ask, suite

    ways = {one.name: one for one in (Sessions, PriorAttempts)}
    if way not in ways:
        raise CannotRun(f"--way: {way!r} is none of {', '.join(ways)}")
    if human and ways[way] is not Sessions:
        raise CannotRun("--human speaks by sessions alone: a prior attempt takes no words; leave out --way")
    chosen = suite(set_name)
    generator = run.chosen_generator()
    if generator.kind is not Kind.SERVER:
        raise CannotRun(
            f"a program of --generator {generator.kind.value} is not told of a failure: repair needs a model"
        )
    problems = run.chosen_problems(chosen.set, chosen.split, generator)
    asked = ask(chosen, problems, "chat", run.limits(), run.data, to_model=True)
    require_chats(asked.tasks)
    draw = run.drawn(generator, run.samples or 1, {"temperature": 0.8, "top_p": 0.95}, asked.sampling)
    plan = Plan(
        experiment=EXPERIMENT.name,
        data=(problems.described(),),
        arms=(Arm(name=FIRST, tasks=asked.tasks, draw=draw),),
        settings={
            "failing_wanted": failing,
            "rounds": rounds,
            "feedback": "human" if human else "automatic",
            "way": way,
            "most_calls": _MOST_CALLS,
            "limits": run.described_limits(),
            **asked.told(to_model=True),
        },
    )
    wanted = Asked(failing=failing, rounds=rounds, human=human, most=_MOST_CALLS)

    def work(out: Path, command: list[str]) -> dict[str, Any]:
        return conduct_repair(EXPERIMENT, plan, wanted, generator, ways[way], out, command, at_once=run.at_once or 1)

    run.conduct_by(work, EXPERIMENT, plan, generator)
