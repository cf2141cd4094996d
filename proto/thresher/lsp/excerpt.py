"""What of a file goes along with a function: what it may use, without what only runs."""

import ast
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thresher.lsp.found import FoundTest
from thresher.lsp.functions import Definition, Function, Source, signature, unwritten
from thresher.lsp.names import BUILTINS, bound, closure, header_names, used, used_when_defined

_MOST_CHARACTERS = 6000
"""Of definitions that are not needed; a small model's sight is short."""
_SHORT = 300
_IMPORTS = ast.Import | ast.ImportFrom
_DEFINITIONS = Definition | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Part:
    """A statement of the file, in whole lines. `needed`: function or tests need it; others may be of use."""

    statement: ast.stmt
    text: str
    above: bool
    needed: bool

    @property
    def imports(self) -> bool:
        """Whether it is an import."""
        return isinstance(self.statement, _IMPORTS)


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What goes along with a function, in the order of the file.

    `leaning` says whether the function's header needs definitions of the file, or the function is a method: then it
    makes no sense on its own.
    """

    parts: tuple[Part, ...]
    leaning: bool

    @property
    def imports(self) -> str:
        """The import statements."""
        return "".join(part.text for part in self.parts if part.imports)

    @property
    def around(self) -> str:
        """All of it, without the function."""
        return _joined(self.parts)

    @property
    def outline(self) -> str:
        """What it defines, in short: written functions by their signatures, without what is long and not needed."""
        return "".join(map(_outlined, self.parts))

    def sides(self, *, needed: bool = False) -> tuple[str, str]:
        """The text above and below the statement that holds the function; of what is needed alone, or of all."""
        parts = [part for part in self.parts if part.needed or not needed]
        above = _joined([part for part in parts if part.above])
        below = _joined([part for part in parts if not part.above])
        return above and f"{above}\n\n", below and f"\n\n{below}"


def excerpt(source: Source, tree: ast.Module, function: Function, tests: Iterable[FoundTest]) -> Excerpt:
    """What a program in the sandbox gets of the file.

    All that function and tests need goes along, in several steps. So do other definitions, for the function's body may
    call them, and plain values. What needs a package that is not Python's own goes along only where it is needed, since
    the sandbox may not have it. Tests, calls and the main part never do, unless they bind what is needed.
    """
    others = [one for one in tree.body if one is not function.top and not _only_runs(one)]
    needed = closure(used(function.top).union(*map(_free_names, tests)), others)
    kept = _chosen(others, needed, function.top.lineno)
    own = {name for one in kept if not isinstance(one, _IMPORTS) for name in bound(one)}
    line = function.top.lineno
    return Excerpt(
        tuple(Part(one, text, one.lineno < line, bool(bound(one) & needed)) for one, text in _texts(source, kept)),
        function.method or not own.isdisjoint(header_names(function.node) - BUILTINS),
    )


def _chosen(statements: list[ast.stmt], needed: set[str], line: int) -> list[ast.stmt]:
    """The needed statements, and those harmless ones next to `line` that fit and find all they need when defined."""
    room = _MOST_CHARACTERS
    chosen: set[ast.stmt] = set()
    for one in sorted(statements, key=lambda one: abs(one.lineno - line)):
        size = len(ast.unparse(one))
        if bound(one) & needed or (_harmless(one) and size <= room):
            chosen.add(one)
            room -= size
    everything = set[str]().union(*map(bound, statements))
    while True:
        missing = everything - set[str]().union(*map(bound, chosen))
        lost = {one for one in chosen if not bound(one) & needed and used_when_defined(one) & missing}
        if not lost:
            return [one for one in statements if one in chosen]
        chosen -= lost


def _free_names(test: FoundTest) -> set[str]:
    """Names that a test needs of the program; those in doctests stand in texts of their code."""
    tree = ast.parse(test.code)
    names = used(tree) - set[str]().union(*map(bound, tree.body))
    for node in ast.walk(tree) if test.expected is not None else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                names |= used(ast.parse(node.value))
            except (SyntaxError, ValueError):
                continue
    return names


def _only_runs(statement: ast.stmt) -> bool:
    """Whether it is there to be run, not to be used: asserts, and the main part."""
    main = isinstance(statement, ast.If) and "__name__" in used(statement.test)
    if isinstance(statement, _DEFINITIONS):
        return False
    return main or any(isinstance(node, ast.Assert) for node in ast.walk(statement))


def _harmless(statement: ast.stmt) -> bool:
    """Whether running it does nothing but bind names: definitions, plain values, imports of Python's own packages."""
    match statement:
        case ast.ImportFrom(module=module, level=level):
            return level == 0 and (module or "").partition(".")[0] in sys.stdlib_module_names
        case ast.Import(names=aliases):
            return all(alias.name.partition(".")[0] in sys.stdlib_module_names for alias in aliases)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return not name.startswith(("test_", "Test"))
        case ast.Assign() | ast.AnnAssign():
            return not any(isinstance(node, ast.Call | ast.Await) for node in ast.walk(statement))
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
        case _:
            return False


def _texts(source: Source, statements: Iterable[ast.stmt]) -> list[tuple[ast.stmt, str]]:
    """Each statement with its lines; one that stands on the last line of another comes with that one."""
    found: list[tuple[ast.stmt, str]] = []
    end = 0
    for one in statements:
        last = one.end_lineno or one.lineno
        if last > end:
            found.append((one, source.between(max(source.beginning(one), end + 1), last)))
        end = max(end, last)
    return found


def _joined(parts: Sequence[Part]) -> str:
    """The parts one below the other, with blank lines around definitions."""
    text = ""
    for index, part in enumerate(parts):
        statements = [part.statement, parts[index - 1].statement]
        if index and any(isinstance(one, _DEFINITIONS) for one in statements):
            text += "\n\n"
        text += part.text
    return text


def _outlined(part: Part) -> str:
    if isinstance(part.statement, Definition):
        return "" if unwritten(part.statement) else f"{signature(part.statement)} ...\n"
    return part.text if part.needed or len(part.text) <= _SHORT else ""
