"""MathQA-Python (Austin, Odena et al. 2021): a question with its numbers; the program must set `answer`.

Made of MathQA (Amini et al. 2019) by the paper's public generator. A program that raises or never sets `answer` is
wrong; otherwise `answer` is compared within an absolute 1e-4 (as microsoft/TraceCodegen does).
"""

from benchmarks.data.record import Record
from benchmarks.data.rows import Row
from executor import Limits, Program
from executor.recipes import MATHQA_TOLERANCE, mathqa_program

_SPLITS = {"val-python.jsonl": "validation", "test-python.jsonl": "test", "train_first5.jsonl": "train"}


def problem(row: Row, file: str) -> Record:
    """One problem; the ids of the three files overlap, so the split is part of ours: validation/12."""
    split = _SPLITS[file]
    answer = float(row["answer"])
    return Record(
        id=f"{split}/{str(row['task_id']).removeprefix('train_')}",
        text=row["text"],
        stub=f"{row['text']}\n",
        visible=(f"import math\nassert math.isclose(answer, {answer!r}, abs_tol={MATHQA_TOLERANCE})\n",),
        quotable=False,
        references=(row["code"],),
        split=split,
        facts={"answer": answer, "reasoning": row["reasoning"], "category": row.get("category", "")},
    )


def program(record: Record, code: str, limits: Limits) -> Program:
    """As `executor.recipes` puts it together: np.gcd, scipy.lcm and scipy.special.comb are there without numpy."""
    return mathqa_program(code, record.facts["answer"], limits=limits)
