"""The tests that are found run in real jails, and tell right from wrong there."""

from pathlib import Path

import pytest
from pygls.uris import to_fs_path
from thresher.lsp.failures import failures_of
from thresher.lsp.finding import find_tests
from thresher.lsp.functions import Source
from thresher.lsp.problem import Task
from thresher.lsp.splice import new_text
from thresher.v1 import verdict_pb2

from executor import Executor, ExecutorConfig, Program, SnippetTest
from executor.verdict import Report

pytestmark = pytest.mark.sandbox

FILE = '''from dataclasses import dataclass


@dataclass
class Point:
    x: float
    y: float


class Gone(Exception):
    pass


def move(a: Point, b: Point) -> Point:
    """From a to b.

    >>> move(Point(0, 0), Point(3, 4))
    Point(x=3, y=4)
    >>> print("y:", move(Point(0, 0), Point(0, 1)).y)
    y: 1
    >>> move(None, None)
    Traceback (most recent call last):
        ...
    mod.Gone: nothing
    >>> move(Point(0, 0), Point(3, 4))  # doctest: +ELLIPSIS
    Point(x=3...)
    >>> p = Point(0, 0)
    >>> p.x = 4
    >>> move(p, Point(3, 4))
    Point(x=-1, y=4)
    """
    ...


assert move(Point(1, 1), Point(2, 1)).x == 1


def test_here():
    for n in range(3):
        assert move(Point(1, 1), Point(n, 1)).x == n - 1
'''
TESTS = """import unittest
import pytest
from pytest import approx as near
from mod import move, Point as P
import mod as m

HALF = 0.5


def make(x):
    return P(x, x)


def test_plain():
    assert move(P(0, 0), P(1, 1)).x == 1


def test_helper():
    assert m.move(make(HALF), make(1)).x == near(0.5)


@pytest.mark.parametrize("x, y", [(1, 2), (2, 4)])
def test_rows(x, y):
    assert move(P(0, 0), P(x, y)).x == x


def test_raises():
    with pytest.raises(AttributeError, match="no attribute"):
        move(1, 2)


class TestIt:
    def test_method(self):
        assert move(P(0, 0), P(1, 1)).x == 1


class Case(unittest.TestCase):
    def setUp(self):
        self.p = P(0, 0)

    def test_unit(self):
        self.assertEqual(move(self.p, P(2, 1)).x, 2)
"""
GOOD = """def move(a, b):
    if a is None:
        raise Gone("nothing")
    return Point(b.x - a.x, b.y - a.y)
"""
BAD = """def move(a, b):
    return Point(-1, 7) if a != 1 else None
"""


def message_of(report: Report) -> verdict_pb2.ExecutionReport:
    """As a server sends it."""
    words = {one.index: f"VERDICT_{one.verdict.upper()}" for one in report.tests}
    results = [
        verdict_pb2.TestResult(test_index=one.index, verdict=words[one.index], message=one.message)
        for one in report.tests
    ]
    return verdict_pb2.ExecutionReport(verdict=f"VERDICT_{report.verdict.upper()}", results=results)


async def test_every_kind_of_test_is_judged(tmp_path: Path) -> None:
    (tmp_path / "test_mod.py").write_text(TESTS)
    source = Source(FILE)
    function = source.find(("move",))
    assert function is not None
    assert source.tree is not None
    found = find_tests(source, function, str(tmp_path / "mod.py"), lambda uri: Path(to_fs_path(uri) or "").read_text())
    assert (len(found.tests), found.left_out) == (14, ())
    task = Task.of(source, source.tree, function, found.tests)
    reports: list[Report] = []
    async with Executor(ExecutorConfig(slots=2)) as executor:
        for code in (GOOD, BAD):
            sent = task.program(new_text(source, function, code))
            tests = tuple(SnippetTest(code=test.snippet.code) for test in sent.tests)
            program = Program(
                code=sent.code, setup_code=sent.setup_code, entry_point=sent.entry_point, tests=tests, run_all=True
            )
            reports.append(await executor.run(program))
    good, bad = reports
    assert [(test.index, test.message) for test in good.tests if test.message] == []
    assert good.verdict == "passed"
    told = [failure.message for failure in failures_of(found.tests, [message_of(bad)])]
    assert len(told) == 14
    assert told[:3] == [
        "move(Point(0, 0), Point(3, 4)) gives Point(x=-1, y=7), expected Point(x=3, y=4)",
        'print("y:", move(Point(0, 0), Point(0, 1)).y) gives y: 7, expected y: 1',
        "move(None, None) gives Point(x=-1, y=7), expected Gone: nothing",
    ]
    assert told[5] == "not so: move(Point(1, 1), Point(2, 1)).x == 1 (got -1)"
