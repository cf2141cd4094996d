"""MBPP (Austin, Odena et al. 2021, arXiv 2108.07732) and the subset that its authors edited ("sanitized").

The challenge tests of the few problems that have some are held-out tests: a program that only special-cases the visible
ones fails them.
"""

import ast
import warnings
from collections.abc import Iterable

from benchmarks.data.record import Record
from benchmarks.data.rows import Row

_SPLITS = (
    ("prompt", range(1, 11)),
    ("test", range(11, 511)),
    ("validation", range(511, 601)),
    ("train", range(601, 975)),
)


def full(row: Row, file: str) -> Record:
    """One of the 974 problems."""
    return Record(
        id=str(row["task_id"]),
        text=row["text"],
        entry_point=entry_point(row["code"], row["test_list"]),
        setup_code=row["test_setup_code"],
        visible=tuple(row["test_list"]),
        held_out=tuple(row["challenge_test_list"]),
        references=(row["code"],),
        split=split_of(row["task_id"]),
    )


def sanitized(row: Row, file: str) -> Record:
    """One of the edited problems. Without its `test_imports` a few references fail their own tests."""
    return Record(
        id=str(row["task_id"]),
        text=row["prompt"],
        entry_point=entry_point(row["code"], row["test_list"]),
        setup_code="\n".join(row["test_imports"]),
        visible=tuple(row["test_list"]),
        references=(row["code"],),
        split=split_of(row["task_id"]),
    )


def split_of(number: int) -> str:
    """The official split of a problem: 1-10 few-shot prompt, 11-510 test, 511-600 validation, 601-974 train.

    Raises ValueError for a number beyond these.
    """
    for name, numbers in _SPLITS:
        if number in numbers:
            return name
    raise ValueError(f"{number} is no problem of MBPP, whose ids are 1 to 974")


def entry_point(code: str, tests: Iterable[str]) -> str:
    """The function of `code` that every test calls, the last one where there are several; empty where none is."""
    with warnings.catch_warnings(action="ignore"):  # the tests of some have "\w"
        called = [_called(ast.parse(test)) for test in tests]
        tree = ast.parse(code)
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    common = [name for name in defined if all(name in names for names in called)]
    return common[-1] if common else ""


def _called(tree: ast.Module) -> set[str]:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}
