"""Which names a piece of Python binds, and which it uses."""

import ast
import builtins
from collections.abc import Iterable, Iterator

BUILTINS = frozenset(dir(builtins))


def bound(statement: ast.stmt) -> set[str]:
    """Names that a statement binds in the scope that it stands in."""
    names: set[str] = set()
    for node in _own_scope(statement):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name.partition(".")[0] for alias in aliases}
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.ExceptHandler(name=str(name)):
                names.add(name)
            case _:
                continue
    return names


def used(node: ast.AST) -> set[str]:
    """Names that are read anywhere in `node`, also where they mean something local there."""
    return {found.id for found in ast.walk(node) if isinstance(found, ast.Name) and isinstance(found.ctx, ast.Load)}


def used_when_defined(statement: ast.stmt) -> set[str]:
    """Names that are read when the statement runs; the bodies of functions run later."""
    names: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                names |= header_names(node)
            case ast.Lambda(args=arguments):
                waiting += [default for default in (*arguments.defaults, *arguments.kw_defaults) if default is not None]
            case ast.Name(id=name, ctx=ast.Load()):
                names.add(name)
            case _:
                waiting += ast.iter_child_nodes(node)
    return names


def header_names(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names that decorators, defaults and annotations read; those in quotes are not among them."""
    parts: list[ast.AST] = [*function.decorator_list, function.args]
    if function.returns is not None:
        parts.append(function.returns)
    return set[str]().union(*map(used, parts))


def closure(seeds: Iterable[str], statements: Iterable[ast.stmt]) -> set[str]:
    """The seeds, and all names that statements which bind one of them use, directly or in several steps."""
    uses: dict[str, set[str]] = {}
    for statement in statements:
        reads = used(statement)
        for name in bound(statement):
            uses.setdefault(name, set()).update(reads)
    needed = set(seeds)
    waiting = list(needed)
    while waiting:
        new = uses.get(waiting.pop(), set()) - needed
        needed |= new
        waiting += new
    return needed


def _own_scope(statement: ast.stmt) -> Iterator[ast.AST]:
    """The statement and its parts, without what is inside functions, classes, lambdas and comprehensions."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        if not isinstance(node, inner | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            waiting += ast.iter_child_nodes(node)
