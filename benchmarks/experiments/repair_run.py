"""How a run of repair goes: conversations until enough first draws have failed, then plain samples for the same tokens.

A conversation is one line of the ledger for its rounds and one for its first draws, the rounds first: a run that was
killed between the two holds the conversation anew. Problems are taken in their order, so that which ones failed at
first does not depend on how many are worked on at the same time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.experiments.conduct import require_readable, result_of
from benchmarks.experiments.experiment import Arm, Experiment, Plan, Task
from benchmarks.experiments.ledger import Ledger
from benchmarks.experiments.outcome import Candidate, Outcome
from benchmarks.experiments.progress import Progress
from benchmarks.experiments.repair import transcripts, tries_of
from benchmarks.experiments.repair_failure import Failure
from benchmarks.experiments.repair_human import say
from benchmarks.experiments.repair_rounds import Turn, Way, resampled
from benchmarks.experiments.repair_tokens import MEASURES, Tried, enough, even_share, total
from benchmarks.experiments.repair_words import FIRST, REPAIR, RESAMPLING
from benchmarks.experiments.served import ServerSource
from benchmarks.experiments.sources import SourceMaker
from benchmarks.record import provenance, write
from benchmarks.report.files import write_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of a run. failing: problems wanted whose first draws fail. most: plain draws of each at most."""

    failing: int
    rounds: int
    human: bool
    most: int


def conduct_repair(
    experiment: Experiment,
    plan: Plan,
    asked: Asked,
    generator: SourceMaker,
    way_of: Callable[[ServerSource], Way],
    out: Path,
    command: list[str],
    *,
    at_once: int = 1,
) -> dict[str, Any]:
    """Run it, or what is left of it. Writes OUT.json and its pages, and the transcripts; returns the result document.

    `plan` has one arm, FIRST, with all problems that may be looked at. Raises as `conduct` does.
    """
    require_readable(plan)
    generator.check(plan)
    with Ledger(out.with_suffix(".jsonl"), plan.protocol(generator.asked())) as ledger:
        run = _Run(plan.arms[0], asked, ledger, at_once)
        try:
            if run.unfinished:
                asyncio.run(run.work(generator, way_of, command))
        except BaseException:
            if ledger.outcomes:
                write_all(out, result_of(experiment, run.plan(plan), ledger), experiment.page)
            raise
        result = result_of(experiment, run.plan(plan), ledger)
        write_all(out, result, experiment.page)
        write(out.with_suffix(".transcripts.json"), {"transcripts": transcripts(run.chosen, ledger.outcomes)})
    return result


class _Run:
    def __init__(self, arm: Arm, asked: Asked, ledger: Ledger, at_once: int) -> None:
        self._arm = arm
        self._asked = asked
        self._ledger = ledger
        self._at_once = at_once

    @property
    def looked_at(self) -> list[Task]:
        """The problems up to the last of the failed ones that were wanted: those that the result is about."""
        found: list[Task] = []
        failed = 0
        for task in self._arm.tasks:
            outcome = self._ledger.outcomes.get((FIRST, task.id))
            if outcome is None or failed == self._asked.failing:
                break
            found.append(task)
            failed += not outcome.solved
        return found

    @property
    def chosen(self) -> list[Task]:
        """Those of them whose first draws have all failed."""
        return [task for task in self.looked_at if not self._ledger.outcomes[FIRST, task.id].solved]

    @property
    def found_all(self) -> bool:
        """Whether there are as many failed problems as were wanted, or no more problems."""
        return len(self.chosen) == self._asked.failing or len(self.looked_at) == len(self._arm.tasks)

    @property
    def unfinished(self) -> bool:
        return not self.found_all or any((RESAMPLING, task.id) not in self._ledger.outcomes for task in self.chosen)

    def plan(self, whole: Plan) -> Plan:
        """The arms of a result. Until all failed problems are found, all problems are still to be looked at."""
        chosen = tuple(self.chosen)
        if not self.found_all or not chosen:
            return whole
        first = replace(self._arm, tasks=tuple(self.looked_at))
        later = [Arm(name=name, tasks=chosen, draw=self._arm.draw) for name in (REPAIR, RESAMPLING)]
        return replace(whole, arms=(first, *later))

    async def work(self, generator: SourceMaker, way_of: Callable[[ServerSource], Way], command: list[str]) -> None:
        source = generator.open()
        assert isinstance(source, ServerSource)  # the command takes no other generator
        async with source:
            source.check(self._arm)
            self._ledger.require_source("", source.described())
            self._ledger.add_session(provenance(command))
            way = way_of(source)
            with self._progress(REPAIR, self._asked.failing) as progress:
                await self._each(self._to_converse(), lambda task: self._converse(way, task, progress))
            with self._progress(RESAMPLING, len(self.chosen)) as progress:
                budgets = self._budgets()
                left = [task for task in self.chosen if (RESAMPLING, task.id) not in self._ledger.outcomes]
                await self._each(iter(left), lambda task: self._resample(source, task, budgets[task.id], progress))

    def _count(self, arm: str) -> int:
        return sum(name == arm for name, _ in self._ledger.outcomes)

    def _progress(self, arm: str, total: int) -> Progress:
        done = [outcome for (name, _), outcome in self._ledger.outcomes.items() if name == arm]
        return Progress(arm, max(total, 1), done=len(done), solved=sum(outcome.solved for outcome in done))

    def _to_converse(self) -> Iterator[Task]:
        begun: set[str] = set()
        while (task := self._next(begun)) is not None:
            begun.add(task.id)
            yield task

    def _next(self, begun: set[str]) -> Task | None:
        """The first problem that is neither done nor begun, before as many have failed as are wanted."""
        failed = 0
        for task in self._arm.tasks:
            outcome = self._ledger.outcomes.get((FIRST, task.id))
            if failed == self._asked.failing:
                return None
            if outcome is None and task.id not in begun:
                return task
            failed += outcome is not None and not outcome.solved
        return None

    async def _each(self, tasks: Iterator[Task], work: Callable[[Task], Awaitable[None]]) -> None:
        async def worker() -> None:
            for task in tasks:
                await work(task)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._at_once):
                    group.create_task(worker())
        except* Exception as failed:
            raise failed.exceptions[0] from None

    async def _converse(self, way: Way, task: Task, progress: Progress) -> None:
        draw = self._arm.draw
        turns: list[Turn] = []
        said: list[str] = []
        async with way.open(task, draw, 0 if self._asked.human else self._asked.rounds) as dialog:
            first = await dialog.begin()
            failures: list[Failure] = [first.failure] if first.failure else []
            while len(failures) == len(turns) + 1 <= self._asked.rounds:
                *before, failure = failures
                words = say(failure, task.record.text, before) if self._asked.human else ""
                turn = await dialog.again(words)
                turns.append(turn)
                said.append(words)
                failures += [turn.failure] if turn.failure else []
        if first.failure:
            repaired = outcome_of_turns(task, self._asked.rounds * draw.samples, turns, said)
            self._ledger.add(REPAIR, repaired)
            if self._count(REPAIR) <= self._asked.failing:  # several at once may find more than are wanted
                progress.add(REPAIR, repaired)
        self._ledger.add(FIRST, outcome_of_turns(task, draw.samples, [first], [""]))

    def _budgets(self) -> dict[str, dict[str, int]]:
        """By problem, the tokens that plain sampling must have: those of its conversation, or the mean of all of them
        where that is more."""
        spent = {task.id: tries_of(self._ledger.outcomes[REPAIR, task.id]) for task in self.chosen}
        even = {measure: even_share(list(spent.values()), measure) for measure in MEASURES}
        return {
            name: {measure: max(total(tries, measure), even[measure]) for measure in MEASURES}
            for name, tries in spent.items()
        }

    async def _resample(self, source: ServerSource, task: Task, budgets: dict[str, int], progress: Progress) -> None:
        turns: list[Turn] = []
        tries: list[Tried] = []
        while not enough(tries, budgets) and len(turns) < self._asked.most:
            turn = await resampled(source, task, self._arm.draw, len(turns))
            turns.append(turn)
            tries.append(turn.tried)
        asked = len(turns) * self._arm.draw.samples
        drawn = outcome_of_turns(task, asked, turns, [""] * len(turns))
        self._ledger.add(RESAMPLING, drawn)
        progress.add(RESAMPLING, drawn)


def outcome_of_turns(task: Task, asked: int, turns: Sequence[Turn], said: Sequence[str]) -> Outcome:
    """The turns of one problem as an outcome; its facts hold each turn's tokens, its failure, and what was said."""
    candidates: list[Candidate] = []
    facts: list[Mapping[str, Any]] = []
    samples = 0
    for turn, words in zip(turns, said, strict=True):
        candidates += [replace(one, samples=tuple(samples + place for place in one.samples)) for one in turn.candidates]
        samples += sum(len(one.samples) for one in turn.candidates)
        facts.append(
            {
                "spent": {"prompt": turn.spent.prompt, "cached": turn.spent.cached, "generated": turn.spent.generated},
                "failure": None if turn.failure is None else turn.failure.plain(),
                "said": words,
                "programs": len(turn.candidates),
            }
        )
    return Outcome(
        id=task.id,
        asked=asked,
        finished=samples,
        candidates=tuple(candidates),
        seconds=round(sum(turn.seconds for turn in turns), 3),
        generated_tokens=sum(turn.spent.generated for turn in turns),
        rows=sum(turn.rows for turn in turns),
        executed=sum(turn.executed for turn in turns),
        facts={"turns": facts},
    )
