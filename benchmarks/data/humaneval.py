"""HumanEval (Chen et al. 2021, arXiv 2107.03374): a stub with a docstring, and a check that the prompt never shows."""

from benchmarks.data.examples import examples
from benchmarks.data.record import Record
from benchmarks.data.rows import Row


def problem(row: Row, file: str) -> Record:
    """One of the 164 problems. What decides is its check(candidate), called with the function.

    The fact "examples" has asserts made of the docstring: tests that may be shown, for those who need some.
    """
    return Record(
        id=row["task_id"],
        text=task(row["entry_point"]),
        stub=row["prompt"],
        entry_point=row["entry_point"],
        visible=(check(row),),
        quotable=False,
        references=(row["prompt"] + row["canonical_solution"],),
        facts={"examples": list(examples(row["prompt"], row["entry_point"]))},
    )


def task(entry_point: str) -> str:
    """The task in words: all of it stands in the stub."""
    return f"Complete the function `{entry_point}` so that it does what its docstring says."


def check(row: Row) -> str:
    """The published test: it defines check(candidate), which is called with the function."""
    return f"{row['test']}\ncheck({row['entry_point']})\n"
