"""LiveCodeBench (Jain et al. 2024, arXiv 2403.07974): dated problems of AtCoder, LeetCode and Codeforces."""

import base64
import json
import pickletools
import zlib
from typing import Any

from benchmarks.data import contest
from benchmarks.data.record import Record, TestDocument
from benchmarks.data.rows import Row


def problem(row: Row, file: str) -> Record:
    """Visible: the public tests; held out: the private ones, where the file has them."""
    name = json.loads(row["metadata"]).get("func_name", "")
    return Record(
        id=row["question_id"],
        text=row["question_content"],
        stub=row["starter_code"],
        setup_code=contest.IMPORTS if row["starter_code"] else "",
        visible=tuple(_test(test, name) for test in json.loads(row["public_test_cases"])),
        held_out=tuple(_test(test, name) for test in _private(row.get("private_test_cases", ""))),
        facts={
            "title": row["question_title"],
            "platform": row["platform"],
            "contest": row["contest_id"],
            "date": row["contest_date"][:10],
            "difficulty": row["difficulty"],
        },
    )


def _test(test: dict[str, str], name: str) -> TestDocument:
    if test["testtype"] == "stdin":
        return contest.stdio(test["input"], test["output"])
    arguments = [json.loads(line) for line in test["input"].split("\n")]
    return contest.method(name, arguments, json.loads(test["output"]))


def _private(text: str) -> list[dict[str, Any]]:
    """Tests as JSON, or that JSON as a pickled text, packed. Nothing is unpickled: the text is read out of it."""
    if not text:
        return []
    if not text.startswith("["):
        pickled = zlib.decompress(base64.b64decode(text))
        (text,) = (value for _, value, _ in pickletools.genops(pickled) if isinstance(value, str))
    return json.loads(text)
