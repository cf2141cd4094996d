"""Rows as publishers write them, written for tests."""

import gzip
import json
from pathlib import Path
from typing import Any


def mbpp_row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A row of MBPP."""
    return {
        "task_id": number,
        "text": "Write a function to double a number.",
        "code": "def double(x):\r\n    return 2 * x",
        "test_setup_code": "",
        "test_list": ["assert double(1) == 2", "assert double(2) == 4", "assert double(0) == 0"],
        "challenge_test_list": [],
    } | changes


def humaneval_row() -> dict[str, Any]:
    """A row of HumanEval."""
    return {
        "task_id": "HumanEval/0",
        "prompt": 'def half(x):\n    """Half of x.\n    >>> half(3)\n    1.5\n    """\n',
        "canonical_solution": "    return x / 2\n",
        "test": "def check(candidate):\n    assert candidate(4) == 2\n",
        "entry_point": "half",
    }


def lines(*rows: dict[str, Any]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def put(folder: Path, name: str, *rows: dict[str, Any]) -> Path:
    """Write rows to a file below a folder of sets, compressed where its name says so."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(lines(*rows)) if path.suffix == ".gz" else lines(*rows))
    return path
