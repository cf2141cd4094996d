"""Programs of published benchmarks, put together as their own graders run them. No data is here: the caller has it."""

import ast
import json
import math
from collections.abc import Mapping, Sequence
from typing import cast

from executor.errors import InvalidProgram
from executor.types import CallTest, Comparison, Limits, Program, SnippetTest, StdioTest, Test

MATHQA_TOLERANCE = 1e-4

# References call three functions of numpy and scipy (one of which scipy no longer has) and nothing else of theirs.
_MATHQA_SHIM = """\
import math, sys
np, scipy, special = (type(sys)(name) for name in ("numpy", "scipy", "scipy.special"))
def comb(n, k):
    if n == int(n) and k == int(k):
        return float(math.comb(int(n), int(k))) if 0 <= k <= n else 0.0
    return math.gamma(n + 1) / (math.gamma(k + 1) * math.gamma(n - k + 1)) if 0 <= k <= n else 0.0
np.gcd, scipy.lcm, scipy.special, special.comb = math.gcd, math.lcm, special, comb
sys.modules.update({"numpy": np, "scipy": scipy, "scipy.special": special})
del comb, special
"""

_STATEMENTS = (ast.stmt, ast.ExceptHandler, ast.match_case)
_APPS_SECONDS = 4.0
# What the grader puts before every program; numpy where the jails have it (ExecutorConfig.site_packages).
_APPS_PREAMBLE = """\
import sys, time, itertools, collections, math, fractions, random, heapq
from itertools import accumulate, product, permutations, combinations
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
from typing import List, Tuple
from heapq import *
try:
    import numpy as np
except ImportError:
    pass
"""


def mathqa_program(code: str, answer: float, *, limits: Limits | None = None) -> Program:
    """MathQA-Python: `code` must set `answer` to this value, within an absolute 1e-4.

    `np.gcd`, `scipy.lcm` and `scipy.special.comb` work without numpy and scipy: they are shims over `math`. Raises
    InvalidProgram for an answer that is not finite.
    """
    if not math.isfinite(answer):
        raise InvalidProgram(f"answer: {answer} is not finite; such a problem has no numeric answer to compare with")
    test = SnippetTest(code=f"import math\nassert math.isclose(answer, {answer!r}, abs_tol={MATHQA_TOLERANCE})\n")
    return Program(code=f"{_MATHQA_SHIM}{code}\n", tests=(test,), limits=limits or Limits())


def apps_program(code: str, input_output: Mapping[str, object], *, run_all: bool = False) -> Program:
    """APPS: `input_output` is the problem's own {inputs, outputs, fn_name?}; compared as there (executor.apps).

    As there, a usual set of imports comes first and a test has 4 s (here: of CPU time). Unlike there, a standard-input
    program is a process of its own with real pipes, and is the body of a function only if it returns from its top
    level, as some reference solutions do. Raises InvalidProgram for records of another shape.
    """
    inputs, outputs = input_output.get("inputs"), input_output.get("outputs")
    if not isinstance(inputs, Sequence) or not isinstance(outputs, Sequence) or len(inputs) != len(outputs):
        raise InvalidProgram("input_output: inputs and outputs must be two lists of one length")
    name = input_output.get("fn_name")
    pairs = list(zip(cast("Sequence[object]", inputs), cast("Sequence[object]", outputs), strict=True))
    if name:
        function = f"Solution().{name}" if "class Solution" in code else str(name)
        tests: list[Test] = [_call(function, given, wanted) for given, wanted in pairs]
    else:
        tests = [_stdio(given, wanted) for given, wanted in pairs]
        code = _as_function(code)
    limits = Limits(cpu_seconds=_APPS_SECONDS)
    return Program(code=_APPS_PREAMBLE + code, tests=tuple(tests), limits=limits, run_all=run_all)


def _as_function(code: str) -> str:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code  # its own process will say so
    if not any(_returns(node) for node in tree.body):
        return code
    body = ast.unparse(tree).splitlines()
    return "def code():\n" + "".join(f"    {line}\n" for line in body) + "code()\n"


def _returns(node: ast.AST) -> bool:
    """Whether a statement returns from the scope that it stands in."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return False
    inner = (child for child in ast.iter_child_nodes(node) if isinstance(child, _STATEMENTS))
    return isinstance(node, ast.Return) or any(_returns(child) for child in inner)


def _call(function: str, given: object, wanted: object) -> CallTest:
    return CallTest(
        function=function,
        args_json=json.dumps(given),
        expected_json=json.dumps(wanted),
        comparison=Comparison.APPS,
    )


def _stdio(given: object, wanted: object) -> StdioTest:
    return StdioTest(stdin=_text(given), expected_stdout=_text(wanted), comparison=Comparison.APPS)


def _text(value: object) -> bytes:
    if isinstance(value, list):
        return "\n".join(str(line) for line in cast("list[object]", value)).encode()
    return str(value).encode()
