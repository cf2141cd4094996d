"""Test code as calls and comparisons: what the host can decide by value never needs a judge.

`assert f([1, 2]) == 3` becomes the call `f([1, 2])`, which goes into the candidate's jail, and the comparison of its
value with 3, which stays here. Comparison follows Python's `==` on exact plain types. The evaluation is lazy, so
`or` and `and` mean what they mean in Python.
"""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from executor.guest.plain import Opaque, encode
from executor.hostmath import BINARY, COMPARE, FUNCTIONS, MATERIALISING, MATH, TYPES, UNARY, TooMuchWork

Expression = tuple[object, ...]
"""What the guest evaluates: see executor.guest.program.Answers."""

Values = Callable[[int], object]
"""Gives the value of the n-th call; raises CandidateRaised."""
Thunk = Callable[[Values], object]

_MAX_EXPECTED_BYTES = 64 << 20
_CONSTANT_ERRORS = (ArithmeticError, TypeError, ValueError, LookupError, MemoryError)


class NotLiteral(Exception):
    """This code has to be run to know what it means."""


class CandidateRaised(Exception):
    """The call that is needed now raised, or gave what cannot be carried."""


@dataclass(frozen=True, slots=True)
class Check:
    """One assert (`condition` must be true) or one bare call (it must only not raise), with its source for messages."""

    condition: Thunk
    source: str
    bare: bool = False
    shown: int | None = None
    """The call whose value tells most about a failure."""


@dataclass(frozen=True, slots=True)
class Checks:
    """A whole test: the calls in the order of the text, and the checks over their values."""

    calls: tuple[Expression, ...]
    checks: tuple[Check, ...]


@dataclass(slots=True)
class Compiler:
    """Turns expressions into thunks and collects the calls. `aliases`: names that stand for the candidate's."""

    own: frozenset[str]
    """Names that are the candidate's even where a builtin has the same name."""
    aliases: dict[str, Expression] = field(default_factory=dict[str, Expression])
    constants: dict[str, object] = field(default_factory=dict[str, object])
    calls: list[Expression] = field(default_factory=list[Expression])

    def host(self, node: ast.expr) -> Thunk:
        """A thunk for `node`, evaluated on the host. Raises NotLiteral."""
        match node:
            case ast.Constant(value=value):
                if value is Ellipsis:
                    raise NotLiteral("an ellipsis")
                return lambda _values: value
            case ast.Name(id=name):
                return self._name(name)
            case ast.List(elts=items):
                return self._items(items, list)
            case ast.Tuple(elts=items):
                return self._items(items, tuple)
            case ast.Set(elts=items):
                return self._items(items, FUNCTIONS["set"])
            case ast.Dict(keys=keys, values=values):
                if any(key is None for key in keys):
                    raise NotLiteral("unpacking")
                pairs = [(self.host(k), self.host(v)) for k, v in zip(keys, values, strict=True) if k is not None]
                return lambda vs: {key(vs): value(vs) for key, value in pairs}
            case ast.UnaryOp(op=op, operand=operand):
                inner, unary = self.host(operand), UNARY[type(op)]
                return lambda values: unary(inner(values))
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(left, op, right)
            case ast.BoolOp(op=op, values=parts):
                return self._logical(op, [self.host(part) for part in parts])
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                return self._compare(left, ops, comparators)
            case ast.Subscript(value=value, slice=index):
                return self._subscript(value, index)
            case ast.Call():
                return self._call(node)
            case ast.Attribute(value=ast.Name(id="math"), attr=attr) if self._is_math(attr):
                constant = MATH[attr]
                return lambda _values: constant
            case ast.Attribute():
                return self._ask(self.remote(node))
            case _:
                raise NotLiteral(type(node).__name__)

    def _is_math_member(self, node: ast.expr) -> TypeGuard[ast.Attribute]:
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            return False
        return node.value.id == "math" and self._is_math(node.attr)

    def _is_math(self, attr: str) -> bool:
        return attr in MATH and "math" not in self.own and "math" not in self.aliases

    def _name(self, name: str) -> Thunk:
        if name in self.constants:
            constant = self.constants[name]
            return lambda _values: constant
        if name in TYPES and name not in self.own:
            kind = TYPES[name]
            return lambda _values: kind
        return self._ask(self.remote(ast.Name(id=name)))

    def _ask(self, call: Expression) -> Thunk:
        index = len(self.calls)
        self.calls.append(call)
        return lambda values: values(index)

    def _items(self, items: Sequence[ast.expr], kind: Callable[[list[object]], object]) -> Thunk:
        thunks = [self.host(item) for item in items]
        return lambda values: kind([thunk(values) for thunk in thunks])

    def _binary(self, left: ast.expr, op: ast.operator, right: ast.expr) -> Thunk:
        work = BINARY.get(type(op))
        if work is None:
            raise NotLiteral(type(op).__name__)
        if isinstance(op, ast.Mod) and isinstance(left, ast.Constant) and isinstance(left.value, str | bytes):
            raise NotLiteral("text formatting")
        first, second = self.host(left), self.host(right)
        return lambda values: work(first(values), second(values))

    @staticmethod
    def _logical(op: ast.boolop, thunks: list[Thunk]) -> Thunk:
        stop = isinstance(op, ast.Or)

        def evaluate(values: Values) -> object:
            result: object = None
            for thunk in thunks:
                result = thunk(values)
                if bool(result) is stop:
                    break
            return result

        return evaluate

    def _compare(self, left: ast.expr, ops: list[ast.cmpop], rest: list[ast.expr]) -> Thunk:
        for op, operand in zip(ops, rest, strict=True):
            if isinstance(op, ast.Is | ast.IsNot) and not _is_singleton(operand) and not _is_type(operand):
                raise NotLiteral("identity of values")
        thunks = [self.host(part) for part in (left, *rest)]
        works = [COMPARE[type(op)] for op in ops]

        def evaluate(values: Values) -> object:
            mine, result = thunks[0](values), True
            for work, thunk in zip(works, thunks[1:], strict=True):
                other = thunk(values)
                result = bool(work(mine, other))
                if not result:
                    break
                mine = other
            return result

        return evaluate

    def _subscript(self, value: ast.expr, index: ast.expr) -> Thunk:
        held = self.host(value)
        if isinstance(index, ast.Slice):
            parts = [None if part is None else self.host(part) for part in (index.lower, index.upper, index.step)]
            return lambda vs: held(vs)[slice(*(None if p is None else p(vs) for p in parts))]  # type: ignore[index]
        key = self.host(index)
        return lambda values: held(values)[key(values)]  # type: ignore[index]

    def _call(self, node: ast.Call) -> Thunk:
        function: Callable[..., object] | None = None
        name = ""
        if isinstance(node.func, ast.Name) and node.func.id not in self.own and node.func.id not in self.aliases:
            name = node.func.id
            function = FUNCTIONS.get(name)
        elif self._is_math_member(node.func):
            member = MATH[node.func.attr]
            function = member if callable(member) else None
        if function is None:
            return self._ask(self.remote(node))
        if any(isinstance(item, ast.Starred) for item in node.args):
            raise NotLiteral("unpacking")
        allowed = {"sorted": {"reverse"}, "isclose": {"rel_tol", "abs_tol"}, "round": {"ndigits"}}
        mine = allowed.get(name or getattr(node.func, "attr", ""), set[str]())
        if any(keyword.arg not in mine for keyword in node.keywords):
            raise NotLiteral("a keyword that is not evaluated on the host")
        arguments = [self._argument(item, collect=name in MATERIALISING) for item in node.args]
        keywords = {str(keyword.arg): self.host(keyword.value) for keyword in node.keywords}
        work = function
        return lambda vs: work(*(a(vs) for a in arguments), **{key: value(vs) for key, value in keywords.items()})

    def _argument(self, node: ast.expr, *, collect: bool) -> Thunk:
        if collect and isinstance(node, ast.Call) and self._is_remote_call(node):
            return self._ask(("collect", self.remote(node)))
        return self.host(node)

    def _is_remote_call(self, node: ast.Call) -> bool:
        root: ast.expr = node.func
        while isinstance(root, ast.Attribute | ast.Call):
            root = root.value if isinstance(root, ast.Attribute) else root.func
        if not isinstance(root, ast.Name):
            return False
        return root.id in self.own or root.id in self.aliases or (root.id not in FUNCTIONS and root.id != "math")

    def remote(self, node: ast.expr) -> Expression:
        """The expression that the guest evaluates for `node`. Raises NotLiteral."""
        match node:
            case ast.Name(id=name):
                if name in self.constants:
                    return ("lit", self.constants[name])
                return self.aliases.get(name, ("name", name))
            case ast.Attribute(value=value, attr=attr) if not attr.startswith("__"):
                return ("attr", self.remote(value), attr)
            case ast.Call(func=func, args=args, keywords=keywords):
                if any(keyword.arg is None for keyword in keywords):
                    raise NotLiteral("unpacking")
                named = {str(keyword.arg): self._remote_argument(keyword.value) for keyword in keywords}
                return ("call", self.remote(func), [self._remote_argument(item) for item in args], named)
            case ast.List(elts=items):
                return ("list", [self._remote_argument(item) for item in items])
            case ast.Tuple(elts=items):
                return ("tuple", [self._remote_argument(item) for item in items])
            case _:
                raise NotLiteral(type(node).__name__)

    def _remote_argument(self, node: ast.expr) -> Expression:
        try:
            return ("lit", constant(node))
        except NotLiteral:
            return self.remote(node)


def constant(node: ast.expr) -> object:
    """The plain value of an expression without names. Raises NotLiteral."""
    compiler = Compiler(frozenset())
    thunk = compiler.host(node)
    if compiler.calls:
        raise NotLiteral("a name")
    try:
        value = thunk(_no_values)
        data = encode(value, _MAX_EXPECTED_BYTES)
    except (*_CONSTANT_ERRORS, TooMuchWork) as error:
        raise NotLiteral(str(error)) from None
    if isinstance(value, type | Opaque) or callable(value) or not data:
        raise NotLiteral("not plain data")
    return value


def _no_values(_index: int) -> object:
    raise NotLiteral("a call")


def _is_singleton(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool))


def _is_type(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in TYPES
