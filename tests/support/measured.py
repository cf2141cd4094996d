"""Measurements that are made up: problems with a few texts, steps of a known length."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.load.mix import Mix, mix_of
from benchmarks.plan.recorded import Measured, Problem, Program, Text, Window

STEP = 0.05
"""Seconds of a step, however many rows."""


def problem(name: str, texts: Sequence[tuple[int, int, bool]], *, seconds: float = 0.2) -> Problem:
    """A problem whose texts share no token: (tokens, samples, whether it passes) of each; each program runs so long."""
    return Problem(
        name=name,
        prompt_tokens=20,
        forks={branch: None if branch == 0 else (0, 0) for branch in range(len(texts))},
        texts=tuple(
            Text(branch=branch, tokens=tokens, samples=samples, program=branch)
            for branch, (tokens, samples, _) in enumerate(texts)
        ),
        programs={branch: Program(passed=passed, seconds=seconds) for branch, (*_, passed) in enumerate(texts)},
    )


def window(rows: int, seconds: float, *, steps: int = 20) -> Window:
    """So many steps without tokens of prompts, of so many rows and seconds each."""
    return Window(
        rows=rows * steps, steps=steps, seconds=seconds * steps, prefill_steps=0, prefill_seconds=0.0, prefill_tokens=0
    )


def measured(*problems: Problem, slots: int = 2, **changed: Any) -> Measured:
    """Of the entry `a`; steps take STEP seconds, tokens of prompts cost nothing."""
    values: Mapping[str, Any] = {
        "about": {"samples": 32},
        "windows": tuple(window(rows, STEP) for rows in (1, 2, 4, 8, 16, 32, 64) for _ in range(10)),
        "front_seconds": 0.01,
    }
    return Measured(problems={"a": problems}, slots=slots, **(dict(values) | changed))


def mix(*names: str, k: int = 1, **more: Any) -> Mix:
    """The entry `a` that asks for problems of these names."""
    problems = [{"problem_id": name, "prompt": f"Write {name}.", "tests": ["assert True"]} for name in names]
    return mix_of({"name": "a", "problems": problems, "sampling": {"k": k}, **more})
