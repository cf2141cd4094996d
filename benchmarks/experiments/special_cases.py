"""Whether a program only looks for the values of its visible tests, as `return n == 383` does."""

import ast
import warnings
from collections.abc import Iterable, Iterator

_SMALL = range(-10, 11)
_LONG = 2


def special_cases(code: str, tests: Iterable[str]) -> tuple[str, ...]:
    """The values of the tests that a program compares with, looks up or returns as they stand; none for most programs.

    Only telling values count: numbers beyond -10 to 10, and texts of two characters or more, since any program may hold
    the others. A sign, not a proof: the held-out tests decide, and this says why a program may have failed them.
    """
    shown = {value for test in tests for value in _values(_parsed(test))}
    found = {value for value in _looked_for(_parsed(code)) if value in shown}
    return tuple(sorted(found))


def _parsed(code: str) -> ast.AST:
    with warnings.catch_warnings(action="ignore"):
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ast.Module(body=[], type_ignores=[])


def _values(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and _tells(node.value):
            yield repr(node.value)


def _tells(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return value not in _SMALL
    return isinstance(value, str | bytes) and len(value) >= _LONG


def _looked_for(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=right):
                places: list[ast.expr | None] = [left, *right]
            case ast.Dict(keys=keys):
                places = list(keys)
            case ast.Return(value=value):
                places = [value]
            case ast.MatchValue(value=value):
                places = [value]
            case _:
                continue
        for place in places:
            yield from _literals(place)


def _literals(node: ast.expr | None) -> Iterator[str]:
    """Values that stand there as they are, not what something is computed of."""
    match node:
        case ast.Constant() | ast.UnaryOp(operand=ast.Constant()):
            yield from _values(node)
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            for item in items:
                yield from _literals(item)
        case _:
            return
