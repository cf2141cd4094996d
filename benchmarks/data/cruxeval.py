"""CRUXEval (Gu et al. 2024, arXiv 2401.03065): what does this function return for that input?"""

import msgspec

from benchmarks.data.programs import program_of
from benchmarks.data.record import Record
from benchmarks.data.rows import Row
from executor import Limits, Program


def problem(row: Row, file: str) -> Record:
    """The reference is the function; its test says what it returns, which is the answer that is asked for."""
    return Record(
        id=row["id"],
        text=f"What does f({row['input']}) return?\n\n{row['code']}",
        entry_point="f",
        visible=(f"assert f({row['input']}) == {row['output']}",),
        quotable=False,
        references=(row["code"],),
        facts={"code": row["code"], "input": row["input"], "output": row["output"]},
    )


def program(record: Record, code: str, limits: Limits) -> Program:
    """One problem hands a function over, which only works inside the program's own process, where a pass can be forged.

    That is allowed here: what runs is the publisher's own function.
    """
    return msgspec.structs.replace(program_of(record, code, limits), allow_in_process=True)
