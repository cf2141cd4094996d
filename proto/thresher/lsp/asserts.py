"""Asserts below a function, in its own file: at the margin, in the main part, in test functions."""

import ast
from collections.abc import Sequence

from thresher.lsp.found import Found, FoundTest, LeftOut, Place
from thresher.lsp.functions import Function, Source
from thresher.lsp.names import bound, closure, used
from thresher.lsp.unit_tests import unit_tests

_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom


def asserts_below(source: Source, function: Function) -> Found:
    """The tests below a function: each statement that asserts something of it, and test functions that call it."""
    if source.tree is None:
        return Found()
    body = source.tree.body
    below = body[body.index(function.top) + 1 :]
    found = _asserts(below, function)
    for statement in below:
        if isinstance(statement, ast.If) and _is_main(statement):
            found += _asserts(statement.body, function)
    imports = [one for one in body if isinstance(one, ast.Import | ast.ImportFrom)]
    helpers = [one for one in body if one is not function.top and _holds_assert(one)]
    return found + unit_tests(below, helpers, imports, function, "")


def _asserts(block: Sequence[ast.stmt], function: Function) -> Found:
    """The statements of a block that hold an assert about the function, each with what it needs of those before."""
    tests: list[FoundTest] = []
    left_out: list[LeftOut] = []
    for index, statement in enumerate(block):
        if not _holds_assert(statement) or isinstance(statement, _DEFINITIONS) or _is_main(statement):
            continue
        steps = [*_before(block[:index], statement), statement]
        if not function.mentioned_in(steps):
            continue
        place = Place("", statement.lineno - 1, (statement.end_lineno or statement.lineno) - 1)
        text = "\n".join(map(ast.unparse, steps))
        subject = ast.unparse(statement.test if isinstance(statement, ast.Assert) else statement).partition("\n")[0]
        if any(isinstance(node, ast.Await) for node in ast.walk(statement)):
            left_out.append(LeftOut(subject, place, "it awaits outside of a function"))
        else:
            tests.append(FoundTest(f"{text}\n", text, subject, place))
    return Found(tuple(tests), tuple(left_out))


def _holds_assert(statement: ast.stmt) -> bool:
    return any(isinstance(node, ast.Assert) for node in ast.walk(statement))


def _is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "__name__" in used(statement.test)


def _before(block: Sequence[ast.stmt], statement: ast.stmt) -> list[ast.stmt]:
    """What of the statements before has to run first: those that bind a needed name, and calls on such names."""
    variables = [one for one in block if not isinstance(one, _DEFINITIONS | ast.Assert | ast.If)]
    here = set[str]().union(*map(bound, variables))
    needed = closure(used(statement) & here, variables) & here
    steps = ast.Expr | ast.For | ast.While | ast.With
    return [one for one in variables if bound(one) & needed or (isinstance(one, steps) and used(one) & needed)]
