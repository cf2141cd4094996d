"""What the sets of contest problems share: tests over standard input, and over the methods of a class Solution."""

from typing import Any

from benchmarks.data.record import TestDocument

IMPORTS = """\
import bisect, collections, functools, heapq, itertools, math
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache, cmp_to_key, lru_cache
from heapq import heapify, heappop, heappush
from itertools import accumulate, combinations, permutations
from math import inf
from typing import Any, Dict, List, Optional, Set, Tuple, Union
"""
"""As set-up code: what stubs need for their annotations, and what programs written for these sites take for granted.

The sites import far more (math.gcd, heapq.merge, ...). Set-up code runs after the program, too, and would then take the
place of helpers that a program has under the same names; these names nobody gives to something else.
"""


def stdio(given: str, wanted: str, comparison: str = "lines") -> TestDocument:
    """A program that reads `given` prints `wanted`."""
    test = {"stdin": given, "expected": wanted}
    return {"stdio": test if comparison == "lines" else test | {"comparison": comparison}}


def method(name: str, arguments: list[Any], wanted: object) -> TestDocument:
    """An assert over a method of a class Solution. Servers take no `call` of a method: a function must be a name."""
    return f"assert Solution().{name}({', '.join(map(repr, arguments))}) == {wanted!r}"


def call(name: str, arguments: list[Any], wanted: object) -> TestDocument:
    """A function returns `wanted`; numbers are compared as numbers (4 and 4.0 are equal), tuples as lists."""
    return {"call": {"function": name, "args": arguments, "expected": wanted, "comparison": "approx"}}


def shows(statement: str, text: str) -> bool:
    """Whether a problem's statement has a text, white space apart: whether an input is one of its examples."""
    words = text.split()
    return bool(words) and f" {' '.join(words)} " in f" {' '.join(statement.split())} "


def plain(text: str) -> str:
    """A text without what ways of writing an argument differ in: white space, quotes, capitals."""
    return "".join(text.split()).replace("'", '"').lower()
