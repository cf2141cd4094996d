"""MathQA-Python (Austin, Odena et al. 2021): a word problem with its numbers; the program must set `answer`."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.data import Record, program_maker
from benchmarks.experiments.errors import CannotRun
from benchmarks.experiments.experiment import Task
from benchmarks.experiments.judging import limits_of
from benchmarks.experiments.plain import plain
from benchmarks.experiments.published import Published
from benchmarks.experiments.tasks import Asked, document
from executor import Limits, Program

SET = "mathqa-python"
STOP = ("\n#", "\n\n\n")
MOST_SHOTS = 5
_MADE_BY = "executor.recipes.mathqa_program, which has stand-ins for np.gcd, scipy.lcm and scipy.special.comb"
_PAPER = "Austin, Odena et al. 2021, 137B, solved by any of 80"


def mathqa(records: Sequence[Record], limits: Mapping[str, Any], *, shots: Sequence[Record], to_model: bool) -> Asked:
    """The tasks: examples, then the question as a comment; the program begins on the next line.

    A program that raises or never sets `answer` is wrong. to_model: a server judges, which has no stand-ins for the
    three functions of numpy and scipy that some references call; a model's program rarely does.
    """
    examples = "".join(f"{shot.stub}{shot.references[0].rstrip()}\n\n" for shot in shots)
    tasks = tuple(
        _task(record, {"completion": f"{examples}{record.stub}"}, limits, to_model=to_model) for record in records
    )
    settings: dict[str, Any] = {"prompt": "few-shot completion", "shots": [shot.id for shot in shots], "tests_shown": 0}
    return Asked(tasks=tasks, sampling={"stop": list(STOP), "keep_after_program": True}, settings=settings, stop=STOP)


def shots_of(records: Sequence[Record], count: int) -> tuple[Record, ...]:
    """The first `count` problems of the train split. Raises CannotRun where they are not there."""
    train = [record for record in records if record.split == "train"]
    if not 0 <= count <= MOST_SHOTS:
        raise CannotRun(f"--shots: {count} is not from 0 to {MOST_SHOTS}")
    if len(train) < count:
        raise CannotRun(
            f"--shots: {count} examples are asked for, and {len(train)} problems of the split train are here"
        )
    return tuple(train[:count])


def _task(record: Record, prompt: Mapping[str, Any], limits: Mapping[str, Any], *, to_model: bool) -> Task:
    made = document(record, prompt, limits)
    if to_model:
        return Task(record=record, document=made)
    return Task(record=record, document=made, make=partial(_program, record, limits_of(made)), made_by=_MADE_BY)


def _program(record: Record, limits: Limits, code: str) -> Program:
    return program_maker(SET)(record, code, limits)


EXPERIMENT = plain(
    "mathqa",
    "MathQA-Python",
    "A problem counts where a program's answer is that of the reference within 0.0001.",
    (
        Published(who="137B of the MBPP paper", measure="few-shot", value=33.4, how=_PAPER),
        Published(who="137B of the MBPP paper", measure="fine-tuned", value=83.8, how=_PAPER),
    ),
)
