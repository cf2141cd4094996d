"""Small problems, and a source that judges by reading instead of running, for tests of the frame."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from benchmarks.data import Record
from benchmarks.experiments.experiment import Arm, Draw, Plan, Task
from benchmarks.experiments.outcome import Candidate, Outcome

ADD = Record(
    id="1",
    text="Write add(a, b).",
    stub='def add(a, b):\n    """The sum."""\n',
    entry_point="add",
    visible=("assert add(1, 2) == 3", "assert add(0, 0) == 0"),
    references=("def add(a, b):\n    return a + b\n",),
    split="test",
)
DOUBLE = Record(
    id="2",
    text="Write double(a).",
    entry_point="double",
    visible=("assert double(2) == 4",),
    held_out=("assert double(5) == 10",),
    references=("def double(a):\n    return 2 * a\n",),
    split="prompt",
)


def task(record: Record) -> Task:
    """A record as a task of plain words."""
    return Task(record=record, document={"prompt": record.text, "tests": list(record.visible)})


def plan(samples: int = 4, *, problems: int = 3, arms: Sequence[str] = ("samples",), **settings: Any) -> Plan:
    """A plan over so many problems, whose ids are 1, 2, ..."""
    records = [
        Record(id=str(number), text=f"Write f{number}.", visible=("assert True",)) for number in range(1, problems + 1)
    ]
    tasks = tuple(task(record) for record in records)
    return Plan(
        experiment="humaneval",
        data=({"set": "own", "title": "Own", "split": "all", "problems": problems, "chosen": "all that are here"},),
        arms=tuple(Arm(name=name, tasks=tasks, draw=Draw(samples=samples, sampling={})) for name in arms),
        settings={"ks": [1, samples], **settings},
    )


def outcome(
    task_id: str, verdicts: Sequence[str], *, held_out: Sequence[str] = (), tokens: Sequence[int] = ()
) -> Outcome:
    """An outcome with a program of its own for each sample."""
    candidates = tuple(
        Candidate(
            code=f"# {task_id} {sample}\n",
            samples=(sample,),
            verdict=verdict,
            held_out=held_out[sample] if held_out else "",
            tokens=(tokens[sample],) if tokens else (),
        )
        for sample, verdict in enumerate(verdicts)
    )
    count = len(candidates)
    return Outcome(id=task_id, asked=count, finished=count, candidates=candidates, executed=count)


class ScriptedSource:
    """Problem number i has i - 1 passes. `stop_after` outcomes it raises `failure`. `calls` are the tasks asked for."""

    at_once = 2

    def __init__(self, *, stop_after: int | None = None, failure: Exception | None = None) -> None:
        self.calls: list[str] = []
        self.entered = 0
        self.said: dict[str, Any] = {"samples_from": "a script"}
        self._stop_after = stop_after
        self._failure = failure or RuntimeError("stopped")

    def described(self) -> dict[str, Any]:
        return self.said

    def check(self, arm: Arm) -> None:
        pass

    async def outcome(self, task: Task, draw: Draw) -> Outcome:
        if self._stop_after is not None and len(self.calls) >= self._stop_after:
            raise self._failure
        self.calls.append(task.id)
        await asyncio.sleep(0)
        passed = min(int(task.id) - 1, draw.samples)
        return outcome(task.id, ["passed"] * passed + ["wrong_answer"] * (draw.samples - passed))

    async def __aenter__(self) -> Self:
        self.entered += 1
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass


class ScriptedGenerator:
    """Stands for benchmarks.experiments.generators.Generator."""

    def __init__(self, source: ScriptedSource) -> None:
        self.source = source

    def asked(self) -> dict[str, Any]:
        return {"kind": "script"}

    def check(self, plan: Plan) -> None:
        pass

    def open(self, model: str = "") -> ScriptedSource:
        return self.source
