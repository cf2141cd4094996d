"""Ways to ask that experiments over any set can choose from by the set's name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.humaneval_tasks import humaneval
from benchmarks.experiments.mbpp_tasks import SHOT_IDS, mbpp, require_no_answers, shots_of
from benchmarks.experiments.problems import Problems, load_problems
from benchmarks.experiments.tasks import Asked


@dataclass(frozen=True, slots=True)
class Suite:
    """A set by its name in benchmarks.data, the split that is scored, and how it is asked unless told otherwise."""

    set: str
    split: str
    prompt: str


SUITES = {
    "humaneval": Suite("humaneval", "all", "completion"),
    "mbpp": Suite("mbpp", "test", "few-shot"),
    "mbpp-sanitized": Suite("mbpp-sanitized", "test", "few-shot"),
}


def suite(name: str) -> Suite:
    """The suite of a name. Raises CannotRun where there is none."""
    if name not in SUITES:
        raise CannotRun(f"--set: {name!r} is none of {', '.join(SUITES)}")
    return SUITES[name]


def ask(
    chosen: Suite,
    problems: Problems,
    prompt: str | None,
    limits: Mapping[str, Any],
    data: Path | None,
    *,
    to_model: bool,
) -> Asked:
    """The tasks, with the suite's own prompt or another of the same set. `to_model`: a model reads them."""
    if chosen.set == "humaneval":
        return humaneval(problems.records, prompt or chosen.prompt, "program", limits)
    word = prompt or chosen.prompt
    shots = shots_of(load_problems(chosen.set, data).records, len(SHOT_IDS)) if word == "few-shot" else ()
    if to_model:
        require_no_answers(problems.records, shots)
    return mbpp(problems.records, word, limits, shown=3, shots=shots)
