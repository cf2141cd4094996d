"""Questions about Python source that may be anything at all: wrong, hostile, cut off."""

import ast
import builtins
import re
import symtable
import warnings

MAX_SOURCE = 256 << 10
"""Longest source, in characters, that is parsed; a program of a model is far shorter."""

_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", "__builtins__"}
# What the parser raises on source that it cannot take: deep nesting and huge numbers are errors of their own.
_REFUSALS = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


def parse(source: str) -> ast.Module | None:
    """The syntax tree; None if the source is no Python program, is longer than MAX_SOURCE or nested too deep."""
    result = _parse(source)
    return result if isinstance(result, ast.Module) else None


def error_line(source: str) -> int | None:
    """Number of the line, from 1, that the parser cannot take; None if it takes them all. 1 if it refuses to try."""
    result = _parse(source)
    return None if isinstance(result, ast.Module) else result


def _parse(source: str) -> ast.Module | int:
    if len(source) > MAX_SOURCE:
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "invalid escape sequence": the program's affair, not ours
        try:
            return ast.parse(source)
        except SyntaxError as error:
            return error.lineno or 1
        except _REFUSALS:
            return 1


def globals_of(source: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """Global names that the program binds, and those that it uses but neither binds nor finds among the builtins.

    None if it does not parse.
    """
    if len(source) > MAX_SOURCE:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            top = symtable.symtable(source, "<program>", "exec")
        except _REFUSALS:
            return None
    bound: set[str] = set()
    used: set[str] = set()
    for symbol in top.get_symbols():
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
            bound.add(symbol.get_name())
        elif symbol.is_referenced():
            used.add(symbol.get_name())
    scopes = list(top.get_children())
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        for symbol in scope.get_symbols():
            if symbol.is_global():
                (bound if symbol.is_assigned() else used).add(symbol.get_name())
    return frozenset(bound), frozenset(used - bound - _BUILTINS)


def defines(source: str, name: str) -> bool:
    """Whether some line defines `name` as a function, a class, or by assignment. Of `A.b` the last part counts.

    Takes source that does not parse.
    """
    word = re.escape(name.rpartition(".")[2])
    pattern = rf"^[ \t]*(?:(?:async\s+def|def|class)\s+{word}\b|{word}\s*(?::[^=\n]*)?=(?!=))"
    return re.search(pattern, source, re.MULTILINE) is not None


def is_program(source: str, entry_point: str | None) -> bool:
    """Whether this may be the program asked for: it defines the entry point, and more than its outline; without an
    entry point, it does something at all."""
    tree = parse(source)
    if entry_point is not None:
        return defines(source, entry_point) and (tree is None or not _only_outlined(tree, entry_point))
    return tree is not None and any(not _does_nothing(statement) for statement in tree.body)


def _only_outlined(tree: ast.Module, entry_point: str) -> bool:
    name = entry_point.rpartition(".")[2]
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    bodies = [node.body for node in found if node.name == name]
    return bool(bodies) and all(_does_nothing(statement) for body in bodies for statement in body)


def _does_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass():
            return True
        case ast.Expr(value=ast.Constant() | ast.Name() | ast.Tuple()):
            return True
        case _:
            return False
