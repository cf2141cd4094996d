"""CodeContests (Li et al. 2022, arXiv 2203.07814): programs that read standard input; outputs compared by tokens."""

import json

from benchmarks.data import contest
from benchmarks.data.record import Record
from benchmarks.data.rows import Row

_COMPARISON = "tokens"


def public(row: Row, file: str) -> Record:
    """A problem of the test split with its public tests. The time limit is the site's, for compiled programs."""
    tests, meta = row["public_test_cases"], row["meta"]
    limit = meta["time_limit"]
    return Record(
        id=row["task_id"],
        text=row["problem"],
        visible=tuple(
            contest.stdio(given, wanted, _COMPARISON)
            for given, wanted in zip(tests["inputs"], tests["outputs"], strict=True)
        ),
        split="test",
        facts={
            "difficulty": meta["difficulty"],
            "time_limit_seconds": limit["seconds"] + limit["nanos"] / 1e9,
            "tests_published": meta["test_case_count"],
        },
    )


def whole(row: Row, file: str) -> Record:
    """A problem with all its tests. Visible: those whose input the statement shows."""
    tests = [(test["input"]["stdin"], test["output"]["stdout"]) for test in json.loads(row["test"])]
    shown = [contest.shows(row["content"], given) for given, _ in tests]
    documents = [contest.stdio(given, wanted, _COMPARISON) for given, wanted in tests]
    return Record(
        id=str(row["id"]),
        text=row["content"],
        visible=tuple(test for test, seen in zip(documents, shown, strict=True) if seen),
        held_out=tuple(test for test, seen in zip(documents, shown, strict=True) if not seen),
        facts=json.loads(row["labels"]),
    )
