"""Functions and classes of tests, as pytest and unittest find them, as tests of the server.

There is no pytest in the sandbox. What tests of functions use of it most, `raises`, `approx` and `parametrize`, is
stood in for; a test that needs more is left out, with the reason.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from thresher.lsp.found import Found, FoundTest, LeftOut, Place
from thresher.lsp.functions import Definition, Function
from thresher.lsp.names import BUILTINS, bound, closure, used
from thresher.lsp.pytest_stand_in import OFFERED, STAND_IN

_PARAMETRIZE = "pytest.mark.parametrize"


class _NotUsable(Exception):
    """Why a test cannot be sent."""


@dataclass(frozen=True, slots=True)
class _Test:
    """A test function, or a test method of the class `owner`."""

    node: Definition
    owner: ast.ClassDef | None = None

    @property
    def name(self) -> str:
        return self.node.name if self.owner is None else f"{self.owner.name}.{self.node.name}"

    @property
    def of_unittest(self) -> bool:
        return self.owner is not None and any("TestCase" in ast.unparse(base) for base in self.owner.bases)

    @property
    def statement(self) -> ast.stmt:
        return self.owner or self.node

    @property
    def parameters(self) -> list[str]:
        arguments = self.node.args
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return names if self.owner is None else names[1:]

    def definition(self) -> str:
        """The text of the function or class, without the test's decorators."""
        module = ast.parse(ast.unparse(self.statement))
        for node in ast.walk(module):
            if isinstance(node, Definition) and node.name == self.node.name:
                node.decorator_list = []
        return ast.unparse(module)

    def call(self, arguments: str) -> str:
        """The code that runs it."""
        if self.owner is None:
            return f"{self.node.name}({arguments})"
        if self.of_unittest:
            return f"__import__('unittest').TestSuite([{self.owner.name}({self.node.name!r})]).debug()"
        return f"{self.owner.name}().{self.node.name}({arguments})"


def unit_tests(
    block: Iterable[ast.stmt], helpers: Sequence[ast.stmt], brought: Sequence[ast.stmt], function: Function, uri: str
) -> Found:
    """The tests among the statements `block` that mention the function, themselves or by one of the `helpers`.

    What a test needs of the statements `brought` goes along with it; the program has the others.
    """
    found = Found()
    for test in (test for statement in block for test in _tests_in(statement)):
        reached = closure(used(test.node), helpers)
        if not function.mentioned_in([test.node, *(one for one in helpers if bound(one) & reached)]):
            continue
        place = _place(uri, test.node)
        try:
            needed = closure(used(test.statement), brought)
            before = _preamble(one for one in brought if bound(one) & needed and one is not test.statement)
            single = _single_asserts(test, uri) if not before else ()
            found += Found(single or tuple(_runs(before, test, place)))
        except _NotUsable as reason:
            found += Found((), (LeftOut(test.name, place, str(reason)),))
    return found


def _tests_in(statement: ast.stmt) -> Iterator[_Test]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if name.startswith("test"):
            yield _Test(statement)
        case ast.ClassDef(body=body):
            tests = [_Test(node, statement) for node in body if isinstance(node, Definition)]
            if statement.name.startswith("Test") or any(test.of_unittest for test in tests):
                yield from (test for test in tests if test.node.name.startswith("test"))
        case _:
            return


def _place(uri: str, node: ast.stmt) -> Place:
    return Place(uri, node.lineno - 1, (node.end_lineno or node.lineno) - 1)


def _single_asserts(test: _Test, uri: str) -> tuple[FoundTest, ...]:
    """Of a function of asserts alone each assert is a test, which tells more where it fails. Empty for others."""
    node = test.node
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    plain = isinstance(node, ast.FunctionDef) and not node.decorator_list and not test.parameters and not test.owner
    if not plain or not all(isinstance(one, ast.Assert) for one in body):
        return ()
    return tuple(
        FoundTest(f"{ast.unparse(one)}\n", ast.unparse(one), ast.unparse(one.test), _place(uri, one))
        for one in body
        if isinstance(one, ast.Assert)
    )


def _preamble(statements: Iterable[ast.stmt]) -> str:
    """The statements that a test needs, with pytest stood in for."""
    texts: list[str] = []
    for statement in statements:
        match statement:
            case ast.Import(names=[ast.alias(name="pytest", asname=None)]):
                texts.append(STAND_IN)
            case ast.ImportFrom(module="pytest", names=aliases):
                _require_offered(alias.name for alias in aliases)
                texts.append(STAND_IN)
                texts += [f"{alias.asname or alias.name} = pytest.{alias.name}" for alias in aliases]
            case ast.Import(names=aliases) if any(alias.name.partition(".")[0] == "pytest" for alias in aliases):
                raise _NotUsable("of pytest only a plain `import pytest` is understood")
            case _:
                texts.append(ast.unparse(statement))
    return "\n".join(dict.fromkeys(texts))


def _require_offered(names: Iterable[str]) -> None:
    if unknown := [name for name in names if name not in OFFERED]:
        raise _NotUsable(f"it needs pytest's {', '.join(unknown)}")


def _runs(before: str, test: _Test, place: Place) -> Iterator[FoundTest]:
    if isinstance(test.node, ast.AsyncFunctionDef):
        raise _NotUsable("it is asynchronous")
    if test.owner is not None:
        _require_plain_class(test.owner, of_unittest=test.of_unittest)
    for node in ast.walk(test.node):
        _require_understood(node)
    definition = test.definition()
    for arguments in _arguments(test):
        call = test.call(arguments)
        code = "\n".join(part for part in (before, definition, call) if part)
        shown = f"{definition}\n\n{call}" if arguments else definition
        yield FoundTest(f"{code}\n", shown, call if arguments else test.name, place)


def _require_plain_class(owner: ast.ClassDef, *, of_unittest: bool) -> None:
    if owner.decorator_list:
        raise _NotUsable(f"its class is decorated with @{ast.unparse(owner.decorator_list[0])[:60]}")
    if of_unittest:
        return
    if owner.bases:
        raise _NotUsable(f"its class has the base class {ast.unparse(owner.bases[0])}")
    methods = [node for node in owner.body if isinstance(node, Definition)]
    if any("fixture" in ast.unparse(part) for node in methods for part in node.decorator_list):
        raise _NotUsable("its class has fixtures")
    if found := [node.name for node in methods if node.name.startswith(("setup", "teardown"))]:
        raise _NotUsable(f"its class has {found[0]}")


def _require_understood(node: ast.AST) -> None:
    match node:
        case ast.Attribute(value=ast.Name(id="pytest"), attr=name) if name != "mark":
            _require_offered([name])
        case ast.Call(func=ast.Attribute(attr="raises") | ast.Name(id="raises"), args=arguments, keywords=keywords):
            kinds = set[str]().union(*map(used, arguments))
            if len(arguments) != 1 or not kinds <= BUILTINS:
                raise _NotUsable("it gives `raises` more than a builtin exception")
            if any(keyword.arg != "match" for keyword in keywords):
                raise _NotUsable("it gives `raises` more than `match`")
        case ast.Call(func=ast.Attribute(attr="approx") | ast.Name(id="approx"), keywords=keywords):
            if any(keyword.arg not in {"rel", "abs"} for keyword in keywords):
                raise _NotUsable("it gives `approx` more than `rel` and `abs`")
        case _:
            return


def _arguments(test: _Test) -> Iterator[str]:
    """The arguments of each run that the decorators ask for."""
    decorators = test.node.decorator_list
    names: list[str] = []
    rows: list[list[ast.expr]] = [[]]
    if decorators:
        text = ast.unparse(decorators[0])
        if len(decorators) > 1 or not text.startswith(f"{_PARAMETRIZE}("):
            raise _NotUsable(f"its decorator @{text[:60]} is not understood")
        names, rows = _parametrised(decorators[0])
    if missing := [name for name in test.parameters if name not in names]:
        raise _NotUsable(f"it needs the fixture {', '.join(missing)}")
    for row in rows:
        yield ", ".join(f"{name}={ast.unparse(value)}" for name, value in zip(names, row, strict=True))


def _parametrised(decorator: ast.expr) -> tuple[list[str], list[list[ast.expr]]]:
    """Names and rows of values of `@pytest.mark.parametrize(names, rows)`."""
    refused = _NotUsable("its parametrize is not plain: names and rows of values")
    match decorator:
        case ast.Call(args=[ast.Constant(value=str(text)), ast.List(elts=items) | ast.Tuple(elts=items)], keywords=[]):
            names = [name.strip() for name in text.split(",") if name.strip()]
        case ast.Call(args=[ast.List(elts=parts) | ast.Tuple(elts=parts), ast.List(elts=items)], keywords=[]):
            names = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        case _:
            raise refused
    rows: list[list[ast.expr]] = []
    for item in items:
        row = [item] if len(names) == 1 else getattr(item, "elts", [])
        if len(row) != len(names) or any("pytest" in used(value) for value in row):
            raise refused
        rows.append(row)
    return names, rows
