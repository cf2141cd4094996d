"""Reading a snippet test: which way of judging it needs, and what has to be sent where."""

import ast
import builtins
import symtable
from dataclasses import dataclass

from executor.asserts import Check, Checks, Compiler, NotLiteral, constant
from executor.errors import InvalidProgram

_CHECK = "check"
_SOURCE_SHOWN = 300


@dataclass(frozen=True, slots=True)
class JudgeCode:
    """A test that has to be run: its code, the names that it takes from the candidate, and why it is not by value."""

    code: str
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Setup:
    """Setup code, parted: the imports alone, all of it, and the names that it binds."""

    imports: str
    whole: str
    imported: frozenset[str]
    bound: frozenset[str]


def read_setup(code: str, field: str = "setup_code") -> Setup:
    """Part the setup code. Raises InvalidProgram, which names `field`, if it is not Python."""
    tree = _parse(code, field)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    text = "\n".join(ast.unparse(node) for node in imports)
    return Setup(text, code, _bound(text), _bound(code))


def _bound(code: str) -> frozenset[str]:
    table = symtable.symtable(code, "setup.py", "exec")
    return frozenset(
        s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()
    )


def _parse(code: str, where: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidProgram(f"{where} is not Python: {error}; correct it, or leave it out") from None


def read_snippet(code: str, entry_point: str | None, setup: Setup) -> Checks | JudgeCode:
    """How to judge `code`. Raises InvalidProgram if it is not Python or lacks an entry point that it needs."""
    tree = _parse(code, "test code")
    if _defines_uncalled_check(tree):
        if not entry_point:
            raise InvalidProgram("the test defines check() and never calls it: set entry_point, or call it in the test")
        code = f"{code}\n{_CHECK}({entry_point})\n"
        tree = _parse(code, "test code")
    own = setup.bound - setup.imported
    if entry_point:
        own |= {entry_point.split(".")[0]}
    try:
        checks = _Reader(own).read(tree)
        if not checks.calls and checks.checks:
            # Every name was taken for a builtin: then the called ones are the program's own.
            checks = _Reader(own | _called(tree)).read(tree)
        return checks
    except NotLiteral as error:
        reason = str(error)
    except RecursionError:
        reason = "an expression nested deeper than the host evaluates"
    try:
        return JudgeCode(code, _free_names(code, entry_point, setup), reason)
    except RecursionError:
        raise InvalidProgram("test code: it is nested too deeply; part the expression") from None


def _defines_uncalled_check(tree: ast.Module) -> bool:
    defined = any(isinstance(node, ast.FunctionDef) and node.name == _CHECK for node in tree.body)
    outside = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return defined and _CHECK not in _called(ast.Module(body=outside, type_ignores=[]))


def _called(tree: ast.Module) -> frozenset[str]:
    return frozenset(
        node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )


def _free_names(code: str, entry_point: str | None, setup: Setup) -> tuple[str, ...]:
    top = symtable.symtable(code, "test.py", "exec")
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    used: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
    free = {name for name in used - bound - setup.imported if not hasattr(builtins, name) or name == entry_point}
    return tuple(sorted(free))


class _Reader:
    """Reads the statements of a snippet into checks. Raises NotLiteral at the first that has to be run."""

    def __init__(self, own: frozenset[str]) -> None:
        self.compiler = Compiler(own)
        self.checks: list[Check] = []
        self.check: ast.FunctionDef | None = None

    def read(self, tree: ast.Module) -> Checks:
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == _CHECK and self.check is None:
                self._accept_check(node)
            elif self.check is not None and isinstance(node, ast.Expr) and self._calls_check(node.value):
                assert isinstance(node.value, ast.Call)
                self._inline_check(node.value)
            else:
                self._statement(node)
        return Checks(tuple(self.compiler.calls), tuple(self.checks))

    def _accept_check(self, node: ast.FunctionDef) -> None:
        arguments = node.args
        others = (*arguments.posonlyargs, *arguments.kwonlyargs, *arguments.defaults)
        if len(arguments.args) != 1 or others or arguments.vararg or arguments.kwarg or node.decorator_list:
            raise NotLiteral("check() takes more than the candidate")
        self.check = node

    @staticmethod
    def _calls_check(node: ast.expr) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == _CHECK

    def _inline_check(self, call: ast.Call) -> None:
        assert self.check is not None
        if len(call.args) != 1 or call.keywords or not isinstance(call.args[0], ast.Name | ast.Attribute):
            raise NotLiteral("check() is called with more than a name")
        parameter = self.check.args.args[0].arg
        before = dict(self.compiler.aliases)
        target = self.compiler.remote(call.args[0])
        self.compiler.aliases[parameter] = target
        for node in self.check.body:
            self._statement(node)
        self.compiler.aliases = before

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assert(test=test):
                self._assert(test)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                return
            case ast.Expr(value=ast.Call() as call):
                thunk = self.compiler.host(call)
                self.checks.append(Check(thunk, ast.unparse(call)[:_SOURCE_SHOWN], bare=True))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._assign(name, value)
            case ast.Import(names=[ast.alias(name="math", asname=None)]):
                return
            case _:
                raise NotLiteral(type(node).__name__)

    def _assert(self, test: ast.expr) -> None:
        first = len(self.compiler.calls)
        thunk = self.compiler.host(test)
        shown = first if len(self.compiler.calls) == first + 1 else None
        self.checks.append(Check(thunk, ast.unparse(test)[:_SOURCE_SHOWN], shown=shown))

    def _assign(self, name: str, value: ast.expr) -> None:
        held = constant(value)
        # A list may be changed by a call that it is passed to; METADATA of HumanEval never is.
        if type(held) not in (int, float, bool, str, bytes, type(None)) and name != "METADATA":
            raise NotLiteral("a variable that a call could change")
        self.compiler.constants[name] = held
