"""HumanEval as problem documents: the stub is a completion that is part of the program, its check decides."""

import gzip
import json
import os
from pathlib import Path
from typing import Any


def data_folder(given: Path | None) -> Path:
    """The folder of problem sets: what is given, else THRESHER_DATA.

    Raises:
        SystemExit: there is neither.
    """
    folder = given or (Path(os.environ["THRESHER_DATA"]) if "THRESHER_DATA" in os.environ else None)
    if folder is None:
        raise SystemExit("name the folder of the problem sets: --data DIR, or THRESHER_DATA")
    return folder


def load(folder: Path, first: int, count: int) -> list[dict[str, Any]]:
    """`count` problems from number `first` on."""
    with gzip.open(folder / "humaneval" / "HumanEval.jsonl.gz", "rt") as file:
        records = [json.loads(line) for line in file]
    return [
        {
            "problem_id": record["task_id"],
            "completion": {"text": record["prompt"], "part_of_program": True},
            "entry_point": record["entry_point"],
            "tests": [f"{record['test']}\ncheck({record['entry_point']})\n"],
        }
        for record in records[first : first + count]
    ]
