"""The judge's process: runs a test's own code in a jail that holds no candidate.

Names that the test does not define are the candidate's. Each becomes a plain value or a `Remote`, and whatever is done
to a `Remote` is done in the candidate's jail, by way of the host. Only plain data comes back, so an object that claims
to equal everything never sits beside an assert.
"""

import builtins
import sys

from executor.guest.plain import Opaque, PlainError
from executor.guest.program import describe
from executor.guest.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_MUTABLE = (list, dict, set, bytearray)
_PLAIN = (int, float, complex, str, bytes, bytearray, type(None), type({}.keys()), type({}.items()))
_DEPTH = 50


class CandidateError(Exception):
    """An exception of a class that only the candidate knows."""


class Undecidable(BaseException):
    """The test needs something that cannot cross between two jails."""


class Uncarried(BaseException):
    """The candidate gave what is no plain value, or a value made to cost the judge dear."""


class Link:
    """Asks the candidate, by way of the host."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.last: BaseException | None = None
        """The last exception that came from the candidate."""

    def evaluate(self, expression: object, copy_back: "list[object] | None" = None) -> object:
        self.wire.send(("eval", expression, copy_back is not None, True))
        try:
            reply, _ = self.wire.receive()
        except PlainError as error:
            raise Uncarried(str(error)) from None
        verb = reply[0]  # type: ignore[index]
        if verb == "raised":
            self.last = _exception(*reply[2:])  # type: ignore[index]
            raise self.last
        if verb != "value":
            raise Uncarried(f"the candidate's value cannot be carried: {reply[1]}")  # type: ignore[index]
        if copy_back is not None:
            for mine, theirs in zip(copy_back, reply[2], strict=False):  # type: ignore[index]
                _restore(mine, theirs)
        return self.value(reply[1])  # type: ignore[index]

    def value(self, value: object) -> object:
        """`value`, with each opaque part turned into a Remote."""
        kind = type(value)
        if kind is Opaque:
            return Remote(self, value)  # type: ignore[arg-type]
        if kind is list or kind is tuple:
            return kind([self.value(item) for item in value])  # type: ignore[attr-defined]
        if kind is dict:
            return {self.value(key): self.value(item) for key, item in value.items()}  # type: ignore[attr-defined]
        return value


def expression(value: object) -> object:
    """The expression that gives `value` in the candidate's process. Raises Undecidable for what cannot cross."""
    kind = type(value)
    if kind is Remote:
        return ("ref", value._opaque.handle)  # type: ignore[attr-defined]
    if kind is range or kind is slice:
        parts = (value.start, value.stop, value.step)  # type: ignore[attr-defined]
        return ("call", ("builtin", kind.__name__), [("lit", part) for part in parts], {})
    if hasattr(kind, "__next__") and hasattr(kind, "__iter__"):
        items = list(value)  # type: ignore[call-overload]
        _require_plain(items, 0)
        return ("call", ("builtin", "iter"), [("lit", items)], {})
    if isinstance(value, type) and getattr(builtins, value.__name__, None) is value:
        return ("builtin", value.__name__)
    if callable(value):
        if getattr(builtins, getattr(value, "__name__", ""), None) is value:
            return ("builtin", value.__name__)
        raise Undecidable("the test passes a function to the candidate, which only an in-process test can do")
    if not _holds_remote(value, 0):
        _require_plain(value, 0)
        return ("lit", value)
    if kind is list or kind is tuple:
        return (kind.__name__, [expression(item) for item in value])  # type: ignore[attr-defined]
    if kind is dict:
        return ("dict", [(expression(key), expression(item)) for key, item in value.items()])  # type: ignore[attr-defined]
    raise Undecidable(f"the test passes a {kind.__name__} of the candidate's objects to the candidate")


def _holds_remote(value: object, depth: int) -> bool:
    if type(value) is Remote:
        return True
    if depth > _DEPTH or not isinstance(value, (list, tuple, set, frozenset, dict)):
        return False
    items = [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)
    return any(_holds_remote(item, depth + 1) for item in items)


def _require_plain(value: object, depth: int) -> None:
    for base in type(value).__mro__:
        if base in (list, tuple, set, frozenset, dict):
            items = list(value.items()) if base is dict else list(value)  # type: ignore[attr-defined, call-overload]
            if depth < _DEPTH:
                for item in items:
                    _require_plain(item, depth + 1)
            return
        if base in _PLAIN:
            return
    raise Undecidable(f"the test passes a {type(value).__name__} object to the candidate, which is not plain data")


class Remote:
    """An object of the candidate's that is not plain data: a function, a class, a generator, an instance."""

    _link: Link
    _opaque: Opaque
    __hash__ = object.__hash__

    def __init__(self, link: Link, opaque: Opaque) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_opaque", opaque)

    def _do(self, name: str, *arguments: object) -> object:
        call = ("call", ("builtin", name), [("ref", self._opaque.handle), *map(expression, arguments)], {})
        return self._link.evaluate(call)

    def __call__(self, *arguments: object, **keywords: object) -> object:
        call = (
            "call",
            ("ref", self._opaque.handle),
            [expression(item) for item in arguments],
            {name: expression(item) for name, item in keywords.items()},
        )
        mutable = any(type(item) in _MUTABLE for item in arguments)
        try:
            return self._link.evaluate(call, list(arguments) if mutable else None)
        except StopIteration as error:
            # It would end a loop of the test's own, `for a, b in zip(map(f, ...), ...)`, before the first assert.
            raise CandidateError(f"StopIteration: {error}") from None

    def __getattr__(self, name: str) -> object:
        return self._do("getattr", name)

    def __setattr__(self, name: str, value: object) -> None:
        self._do("setattr", name, value)

    def __iter__(self) -> "Iterator[object]":
        return iter(self._link.evaluate(("collect", ("ref", self._opaque.handle))))  # type: ignore[call-overload]

    def __next__(self) -> object:
        return self._do("next")

    def __len__(self) -> int:
        return self._do("len")  # type: ignore[return-value]

    def __getitem__(self, key: object) -> object:
        item = ("call", ("attr", ("ref", self._opaque.handle), "__getitem__"), [expression(key)], {})
        return self._link.evaluate(item)

    def __setitem__(self, key: object, value: object) -> None:
        call = ("attr", ("ref", self._opaque.handle), "__setitem__")
        self._link.evaluate(("call", call, [expression(key), expression(value)], {}))

    def __bool__(self) -> bool:
        return self._opaque.truth

    def __eq__(self, other: object) -> bool:
        return type(other) is Remote and other._opaque.handle == self._opaque.handle

    def __str__(self) -> str:
        return str(self._do("str"))

    def __repr__(self) -> str:
        return repr(self._opaque)


def _exception(name: str, bases: list[str], text: str) -> BaseException:
    """The nearest builtin exception, or CandidateError."""
    for base in [name, *bases]:
        kind = getattr(builtins, base, None)
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            continue
        if base in ("Exception", "BaseException", "SystemExit", "KeyboardInterrupt", "GeneratorExit"):
            break
        try:
            return kind(text)
        except TypeError:  # UnicodeDecodeError and its like want more than a text
            break
    return CandidateError(f"{name}: {text}")


def _restore(mine: object, theirs: object) -> None:
    if type(mine) is not type(theirs) or mine == theirs:
        return
    if isinstance(mine, list):
        mine[:] = theirs  # type: ignore[call-overload]
    elif isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(theirs)  # type: ignore[call-overload, arg-type]


def judge(wire: Wire, code: str, imports: str, names: list[str]) -> None:
    """Run the test and tell the host how it ended: ("passed",) or (kind, class name, text)."""
    namespace: dict[str, object] = {"__name__": "tests", "__builtins__": builtins}
    link = Link(wire)
    sys.setrecursionlimit(10_000)
    try:
        compiled = compile(code, "test.py", "exec", dont_inherit=True)
        if imports:
            exec(compile(imports, "setup.py", "exec", dont_inherit=True), namespace)  # noqa: S102
        for name in names:
            try:
                namespace[name] = link.evaluate(("name", name))
            except NameError:
                continue  # the test's own use of it then says which name is missing
        exec(compiled, namespace)  # noqa: S102
    except (Undecidable, PlainError, SyntaxError) as error:
        wire.send(("undecidable", type(error).__name__, str(error)[:2000]))
    except Uncarried as error:
        wire.send(("failed", "ValueError", str(error)[:2000]))
    except AssertionError as error:
        kind = "raised" if error is link.last else "failed"
        wire.send((kind, *describe(error)[::2]))
    except BaseException as error:
        wire.send(("raised", *describe(error)[::2]))
    else:
        wire.send(("passed",))
