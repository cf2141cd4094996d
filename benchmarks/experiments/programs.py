"""Programs that come from no model: published references, and a generator that passes with a given probability."""

import random
from collections.abc import Sequence
from typing import Any

from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Arm, Draw, Task

_WRONG = 'raise AssertionError("a sample that is meant to fail")\n'


class References:
    """The published solutions of each problem, in turns."""

    def described(self) -> dict[str, Any]:
        """See Programs."""
        return {"samples_from": "the references of the set, in turns"}

    def check(self, arm: Arm) -> None:
        """Each task needs a reference."""
        _require_references(arm)

    def draw(self, task: Task, draw: Draw) -> Sequence[str]:
        """See Programs."""
        references = task.record.references
        return [references[sample % len(references)] for sample in range(draw.samples)]

    def measured(self, task: Task, draw: Draw) -> Sequence[tuple[int, float]]:
        """See Programs."""
        return ()


class Synthetic:
    """Each sample is a reference with probability `p`, else a program that raises. Seeded by the draw and the problem.

    A toy, for what needs no model. Without a temperature every problem is alike. With one, T = min(temperature, 1) goes
    between two ends, as it does with models: at 0 each problem passes always (a share `p` of the problems, drawn by the
    seed) or never; at 1 all are alike and pass with 0.8 p. So low temperatures win with few samples, high ones with
    many.
    """

    def __init__(self, p: float) -> None:
        if not 0 <= p <= 1:
            raise CannotRun(f"--p: {p:g} is no probability; give a number from 0 to 1")
        self._p = p

    def described(self) -> dict[str, Any]:
        """See Programs."""
        return {"samples_from": "references with probability p, else a program that fails", "p": self._p}

    def check(self, arm: Arm) -> None:
        """Each task needs a reference; a temperature is all that has a meaning here."""
        _require_references(arm)
        if unknown := arm.draw.sampling.keys() - {"temperature"}:
            raise CannotRun(f"the synthetic generator knows no {', '.join(sorted(unknown))}; leave it out")

    def draw(self, task: Task, draw: Draw) -> Sequence[str]:
        """See Programs."""
        temperature = draw.sampling.get("temperature")
        chance = self._p
        if temperature is not None:
            easy = random.Random(f"easy/{draw.seed}/{task.id}").random() < self._p
            share = min(temperature, 1.0)
            chance = (1 - share) * easy + share * 0.8 * self._p
        choose = random.Random(f"{temperature}/{draw.seed}/{task.id}")
        reference = task.record.references[0]
        return [reference if choose.random() < chance else _WRONG for _ in range(draw.samples)]

    def measured(self, task: Task, draw: Draw) -> Sequence[tuple[int, float]]:
        """See Programs."""
        return ()


def _require_references(arm: Arm) -> None:
    bare = [task.id for task in arm.tasks if not task.record.references]
    if bare:
        raise CannotRun(
            f"{len(bare)} of {len(arm.tasks)} problems have no reference ({', '.join(bare[:5])}); leave them out by "
            "--ids, or take another --generator"
        )
