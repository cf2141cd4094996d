"""All tests of a function: its doctests, asserts below it, and the test file beside."""

from pathlib import Path

from thresher.lsp.asserts import asserts_below
from thresher.lsp.beside import Reader, found_beside
from thresher.lsp.examples import doctests
from thresher.lsp.found import Found, FoundTest, LeftOut
from thresher.lsp.functions import Function, Source

MOST_TESTS = 64
"""More than these are not sent: each candidate runs them all."""


def find_tests(source: Source, function: Function, path: str, read: Reader) -> Found:
    """The tests that decide over `function` in the file at `path`; each only once, however often it is written."""
    found = doctests(function, Path(path).stem) + asserts_below(source, function) + found_beside(path, function, read)
    distinct: dict[str, FoundTest] = {}
    for test in found.tests:
        distinct.setdefault(test.code, test)
    tests = tuple(distinct.values())
    beyond = tuple(LeftOut(test.shown, test.place, f"only {MOST_TESTS} tests are sent") for test in tests[MOST_TESTS:])
    return Found(tests[:MOST_TESTS], found.left_out + beyond)
