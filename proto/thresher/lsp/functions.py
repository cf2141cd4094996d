"""The functions of a file, and which of them are stubs: promised, but not written."""

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from thresher.lsp.names import used

Definition = ast.FunctionDef | ast.AsyncFunctionDef

_DECLARED = frozenset({"overload", "abstractmethod"})
_REFUSALS = (SyntaxError, ValueError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a module, or a method. Lines are counted from 1.

    `path` holds the names of the classes around it and its own. `top` is the statement of the module that it is or
    stands in. `first` is the line of its first decorator, `hole` the line where its body begins after the docstring.
    """

    path: tuple[str, ...]
    node: Definition
    top: ast.stmt
    first: int
    last: int
    hole: int

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path[-1]

    @property
    def dotted(self) -> str:
        """`Stack.push`."""
        return ".".join(self.path)

    @property
    def method(self) -> bool:
        """Whether it stands in a class."""
        return len(self.path) > 1

    @property
    def docstring(self) -> str | None:
        """Its docstring as it is written, indented."""
        return ast.get_docstring(self.node, clean=False)

    def mentioned_in(self, nodes: Iterable[ast.AST]) -> bool:
        """Whether pieces of code name the function; a method is named after a dot, and its class as well."""
        nodes = list(nodes)
        if self.path[0] not in set[str]().union(*map(used, nodes)):
            return False
        parts = (one for node in nodes for one in ast.walk(node)) if self.method else ()
        return not self.method or any(isinstance(one, ast.Attribute) and one.attr == self.name for one in parts)

    @property
    def stub(self) -> bool:
        """Whether it is promised, not written."""
        return unwritten(self.node)


class Source:
    """A Python file as a text with `\\n` line ends, its lines and its tree. `tree` is None where it does not parse."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.lines = self.text.split("\n")
        self.tree = parse(self.text)

    def functions(self) -> list[Function]:
        """All functions that tests could reach. Of several with one name the last counts, as it does for Python."""
        if self.tree is None:
            return []
        found = {function.path: function for top in self.tree.body for function in _in_statement(top, top, ())}
        return [function for function in found.values() if not _declared(function.node)]

    def at(self, line: int) -> Function | None:
        """The innermost function that line `line`, counted from 0, belongs to."""
        around = [function for function in self.functions() if function.first <= line + 1 <= function.last]
        return max(around, key=lambda function: function.first, default=None)

    def find(self, path: tuple[str, ...]) -> Function | None:
        """The function of that path."""
        return next((function for function in self.functions() if function.path == path), None)

    def text_of(self, function: Function) -> str:
        """The lines of a function, decorators included."""
        return self.between(function.first, function.last)

    def around(self, function: Function) -> tuple[str, str]:
        """The lines of the function's top statement before and after it: of a method's class, else its comment."""
        before = self.between(self.beginning(function.top), function.first - 1)
        return before, self.between(function.last + 1, function.top.end_lineno or function.last)

    def beginning(self, statement: ast.stmt) -> int:
        """The first line of a module's statement: decorators and the comment right above belong to it."""
        decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
        while first > 1 and self.lines[first - 2].startswith("#"):
            first -= 1
        return first

    def between(self, first: int, last: int) -> str:
        """Lines `first` to `last`, counted from 1, each with its end."""
        return "".join(f"{line}\n" for line in self.lines[first - 1 : last])

    def segment(self, node: ast.AST) -> str:
        """The text of a node."""
        return ast.get_source_segment(self.text, node) or ""

    def head(self, function: Function) -> str:
        """Decorators, signature and docstring, in whole lines; what follows is the body."""
        statement = function.node.body[0]
        line = self.lines[statement.lineno - 1].encode()[: statement.col_offset].decode()
        if not line.strip():
            return self.between(function.first, function.hole - 1)
        text = self.between(function.first, statement.lineno - 1) + line.rstrip() + "\n"
        if documented(function.node.body):
            text += f"{self.body_indent(function)}{self.segment(statement)}\n"
        return text

    def indent(self, function: Function) -> str:
        """The white space before `def`."""
        return _margin(self.lines[function.node.lineno - 1])

    def body_indent(self, function: Function) -> str:
        """The white space before a statement of the body."""
        line = self.lines[function.node.body[0].lineno - 1]
        if function.node.body[0].lineno > function.node.lineno and _margin(line) != line:
            return _margin(line)
        return self.indent(function) + self.unit

    @property
    def unit(self) -> str:
        """One step of indentation, as the file has it."""
        first = next((line for line in self.lines if line[:1] in {" ", "\t"} and line.strip()), "")
        return "\t" if first.startswith("\t") else "    "


def place_of(source: Source, path: tuple[str, ...], text: str) -> int | None:
    """The line, counted from 0, where the function of that path begins, if its lines are still `text`; else None.

    Where the file does not parse for now, the same lines with nothing added below count.
    """
    if source.tree is not None:
        function = source.find(path)
        return function.first - 1 if function is not None and source.text_of(function) == text else None
    start = f"\n{source.text}".find(f"\n{text}")
    if start < 0:
        return None
    below = next((line for line in source.text[start + len(text) :].split("\n") if line.strip()), "")
    return source.text.count("\n", 0, start) if len(_margin(below)) <= len(_margin(text)) else None


def parse(text: str) -> ast.Module | None:
    """The tree of a text; None where it is no Python."""
    with warnings.catch_warnings(action="ignore"):
        try:
            return ast.parse(text)
        except _REFUSALS:
            return None


def unwritten(node: Definition) -> bool:
    """Whether a body does nothing: `...`, `pass`, `raise NotImplementedError`, or a docstring alone."""
    return all(map(_does_nothing, node.body))


def signature(node: Definition) -> str:
    """`def f(x: int) -> int:` in one line, without decorators."""
    copy = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(copy, Definition)
    copy.decorator_list, copy.body = [], [ast.Pass()]
    return ast.unparse(copy).rpartition("\n")[0]


def documented(body: list[ast.stmt]) -> bool:
    """Whether a body begins with a docstring."""
    return bool(body) and isinstance(body[0], ast.Expr) and isinstance(getattr(body[0].value, "value", None), str)


def _in_statement(node: ast.stmt, top: ast.stmt, around: tuple[str, ...]) -> Iterator[Function]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            last = node.end_lineno or node.lineno
            yield Function((*around, node.name), node, top, first, last, _hole(node))
        case ast.ClassDef(name=name, body=body):
            for inner in body:
                yield from _in_statement(inner, top, (*around, name))
        case _:
            return


def _hole(node: Definition) -> int:
    docstring, *rest = node.body if documented(node.body) else (None, *node.body)
    if docstring is None or (rest and rest[0].lineno > (docstring.end_lineno or docstring.lineno)):
        # Comments above the first statement belong to what is promised.
        return min([rest[0].lineno, *(part.lineno for part in getattr(rest[0], "decorator_list", []))])
    return (docstring.end_lineno or docstring.lineno) + 1


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _declared(node: Definition) -> bool:
    """Whether it only tells of functions that others write."""
    return any(isinstance(part, ast.Name | ast.Attribute) and _last(part) in _DECLARED for part in node.decorator_list)


def _last(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _does_nothing(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Raise(exc=ast.Name(id="NotImplementedError")):
            return True
        case ast.Raise(exc=ast.Call(func=ast.Name(id="NotImplementedError"))):
            return True
        case _:
            return False
