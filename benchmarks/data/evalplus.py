"""HumanEval+ and MBPP+ (EvalPlus, Liu et al. 2023, arXiv 2305.01210).

Their own tests are inputs, whose expected values come from the canonical solution: `problem` gives what
`executor.evalplus` needs for them. The visible tests of a record are those that its prompt shows.
"""

import ast

from benchmarks.data import humaneval
from benchmarks.data.examples import examples
from benchmarks.data.record import Record
from benchmarks.data.rows import Row
from executor.evalplus import Problem, read_problem

_ROW = "evalplus"


def humaneval_plus(row: Row, file: str) -> Record:
    """Visible: the docstring's examples, as far as `benchmarks.data.examples` reads them; held out: the check."""
    return Record(
        id=row["task_id"],
        text=humaneval.task(row["entry_point"]),
        stub=row["prompt"],
        entry_point=row["entry_point"],
        visible=examples(row["prompt"], row["entry_point"]),
        held_out=(humaneval.check(row),),
        references=(row["prompt"] + row["canonical_solution"],),
        facts={_ROW: row},
    )


def mbpp_plus(row: Row, file: str) -> Record:
    """The prompt is a docstring: the task in words, and one assert."""
    lines = ast.literal_eval(row["prompt"].strip()).strip().splitlines()
    asserts = tuple(line for line in lines if line.startswith("assert "))
    return Record(
        id=row["task_id"],
        text="\n".join(line for line in lines if line not in asserts).strip(),
        stub=row["prompt"],
        entry_point=row["entry_point"],
        visible=asserts,
        references=(row["prompt"] + row["canonical_solution"],),
        facts={_ROW: row},
    )


def problem(record: Record) -> Problem:
    """What `executor.evalplus` makes tests of. Raises ValueError, which names the task, for damaged inputs."""
    return read_problem(record.facts[_ROW])
