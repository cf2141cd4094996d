"""Does what a plan says, one problem after the other or several at once, and keeps each as soon as it is done."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from thresher.client import program

from benchmarks.experiments.experiment import Arm, Experiment, Plan, Task, fingerprint
from benchmarks.experiments.ledger import Ledger
from benchmarks.experiments.outcome import Outcome
from benchmarks.experiments.progress import Progress
from benchmarks.experiments.sources import Source, SourceMaker
from benchmarks.record import provenance
from benchmarks.report.files import write_all


def conduct(
    experiment: Experiment,
    plan: Plan,
    generator: SourceMaker,
    out: Path,
    command: list[str],
    *,
    at_once: int | None = None,
) -> dict[str, Any]:
    """Run a plan, or what is left of it, and write OUT.json, OUT.md and OUT.html; the ledger is OUT.jsonl.

    Returns the result document. A run that ends early leaves a result that says so and holds no score. Raises CannotRun
    and ProblemError before the first token, RunFailed and ThresherError later.
    """
    require_readable(plan)
    generator.check(plan)
    with Ledger(out.with_suffix(".jsonl"), plan.protocol(generator.asked())) as ledger:
        try:
            if left_of(plan, ledger):
                asyncio.run(_run(plan, generator, ledger, command, at_once))
        except BaseException:
            if ledger.outcomes:  # what is there must not be taken for the whole
                write_all(out, result_of(experiment, plan, ledger), experiment.page)
            raise
        result = result_of(experiment, plan, ledger)
        write_all(out, result, experiment.page)
    return result


def require_readable(plan: Plan) -> None:
    """Raises ProblemError for a task that no server could read, and for whose tests nothing could be judged."""
    seen: set[int] = set()
    for task in (task for arm in plan.arms for task in arm.tasks):
        if id(task) not in seen:  # arms share their tasks as a rule
            seen.add(id(task))
            program("pass\n", task.document)


def left_of(plan: Plan, ledger: Ledger) -> list[tuple[Arm, Task]]:
    """What is still to be done."""
    return [(arm, task) for arm in plan.arms for task in arm.tasks if (arm.name, task.id) not in ledger.outcomes]


async def _run(plan: Plan, generator: SourceMaker, ledger: Ledger, command: list[str], at_once: int | None) -> None:
    total = sum(len(arm.tasks) for arm in plan.arms)
    solved = sum(outcome.solved for outcome in ledger.outcomes.values())
    with Progress(plan.experiment, total, done=len(ledger.outcomes), solved=solved) as progress:
        for model in dict.fromkeys(arm.model for arm in plan.arms):
            left = [(arm, task) for arm, task in left_of(plan, ledger) if arm.model == model]
            if not left:
                continue
            async with generator.open(model) as source:
                for arm in plan.arms:
                    if arm.model == model:
                        source.check(arm)
                ledger.require_source(model, source.described())
                ledger.add_session(provenance(command))
                await _work(left, source, ledger, progress, at_once or source.at_once)


async def _work(left: list[tuple[Arm, Task]], source: Source, ledger: Ledger, progress: Progress, at_once: int) -> None:
    pending: Iterator[tuple[Arm, Task]] = iter(left)

    async def worker() -> None:
        for arm, task in pending:
            outcome = await source.outcome(task, arm.draw)
            ledger.add(arm.name, outcome)
            progress.add(arm.name, outcome)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(left))):
                group.create_task(worker())
    except* Exception as failed:
        # The first ends all; callers know its type.
        raise failed.exceptions[0] from None


def result_of(experiment: Experiment, plan: Plan, ledger: Ledger) -> dict[str, Any]:
    """The result document: scores only where every problem of every arm is there."""
    found = {
        arm.name: [ledger.outcomes[arm.name, task.id] for task in arm.tasks if (arm.name, task.id) in ledger.outcomes]
        for arm in plan.arms
    }
    done, total = sum(map(len, found.values())), sum(len(arm.tasks) for arm in plan.arms)
    protocol = {
        **ledger.protocol,
        "sources": {name.rpartition("/")[2] or "the one asked for": said for name, said in ledger.sources.items()},
    }
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "complete": done == total,
        "problems_done": done,
        "problems_total": total,
        "fingerprint": fingerprint(protocol),
        "scores": experiment.scores(protocol, found) if done == total else {},
        "cost": {name: _cost(outcomes) for name, outcomes in found.items()},
        "problems": {name: [_line(outcome) for outcome in outcomes] for name, outcomes in found.items()},
        "protocol": protocol,
        "provenance": ledger.sessions[-1] if ledger.sessions else {},
        "earlier_sessions": ledger.sessions[:-1],
    }


def _cost(outcomes: list[Outcome]) -> dict[str, float]:
    return {
        "samples": sum(outcome.finished for outcome in outcomes),
        "distinct_programs": sum(len(outcome.candidates) for outcome in outcomes),
        "programs_run": sum(outcome.executed for outcome in outcomes),
        "generated_tokens": sum(outcome.generated_tokens for outcome in outcomes),
        "rows_computed": sum(outcome.rows for outcome in outcomes),
        **_sandbox_seconds(outcomes),
        "seconds_of_all_problems": round(sum(outcome.seconds for outcome in outcomes), 1),
    }


def _sandbox_seconds(outcomes: list[Outcome]) -> dict[str, float]:
    """Of all programs that a server ran, as it accounts for them; nothing where it did not."""
    books = [outcome.facts["accounting"] for outcome in outcomes if "accounting" in outcome.facts]
    return {"sandbox_seconds": round(sum(book.get("execution_time", 0.0) for book in books), 1)} if books else {}


def _line(outcome: Outcome) -> dict[str, Any]:
    line: dict[str, Any] = {
        "id": outcome.id,
        "samples": outcome.finished,
        "passed": outcome.passed,
        "verdicts": outcome.verdicts(),
        "programs": len(outcome.candidates),
    }
    if outcome.passed and "turns" not in outcome.facts:  # rounds of repair follow from each other
        # Until the first pass, were these samples to come in random order.
        line["expected_draws"] = round((outcome.finished + 1) / (outcome.passed + 1), 3)
    if any(candidate.held_out for candidate in outcome.candidates):
        line["right"] = outcome.right
    return line
