"""HumanEval as problem documents: the stub is a completion that is part of the program, its check decides."""

import os
from pathlib import Path
from typing import Any

from benchmarks import data


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
    records = data.load("humaneval", data=folder).records
    return [data.document(record) for record in records[first : first + count]]
