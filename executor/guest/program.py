"""A candidate's process: runs the program as a script, or loads it and answers calls.

It runs in a fork of its own, so nothing it does to the interpreter outlives its test. What it answers is a claim that
the host compares; nothing here knows what is expected.
"""

import atexit
import builtins
import gc
import posix as os
import sys

from executor.guest.plain import PlainError, TooLargeError
from executor.guest.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

FILENAME = "solution.py"
_MAX_ITEMS = 1 << 20
_MUTABLE = (list, dict, set, bytearray)


class Source:
    """What the host sent: the program, the statements around it, and, once known to compile, its code."""

    def __init__(self, program: str, before: str, after: str) -> None:
        self.program = program
        self.before = before
        self.after = after
        self.code: CodeType | None = None

    def compile(self) -> "CodeType":
        """The program's code. Raises SyntaxError, or whatever else the compiler does with hostile text."""
        if self.code is None:
            self.code = compile(self.program, FILENAME, "exec", dont_inherit=True)
        return self.code


def describe(error: BaseException) -> tuple[str, list[str], str]:
    """Class name, names of all base classes, text. Never raises, whatever the class does."""
    kind = type(error)
    try:
        text = str(error)
    except BaseException:  # a hostile __str__ may raise anything
        text = ""
    return str(kind.__name__)[:200], [str(base.__name__)[:200] for base in kind.__mro__[:20]], text[:2000]


def _module(name: str) -> dict[str, object]:
    module = type(sys)(name)
    module.__dict__["__builtins__"] = builtins
    module.__dict__["__file__"] = FILENAME
    sys.modules[name] = module
    return module.__dict__


def _compile(source: Source, wire: Wire) -> "CodeType | None":
    try:
        code = source.compile()
    except BaseException as error:
        if isinstance(error, SyntaxError):
            text = f"line {error.lineno}: {error.msg}"
            wire.send(("refused", type(error).__name__, text[:500]))
        else:
            wire.send(("refused", *describe(error)[::2]))
        return None
    wire.send(("compiled",))
    return code


def refusal(text: str) -> tuple[str, str]:
    """The error's name and text if `text` is surely no Python; empty names for all that only a real run can tell."""
    # A warning on this process's own stderr would reach nobody, and fill a pipe.
    stderr, sys.stderr = sys.stderr, None
    try:
        compile(text, FILENAME, "exec", dont_inherit=True)
    except SyntaxError as error:
        return type(error).__name__, f"line {error.lineno}: {error.msg}"[:500]
    except BaseException:  # no memory, too deep: a matter of limits, and those are each program's own
        return "", ""
    finally:
        sys.stderr = stderr
    return "", ""


def run_script(source: Source, wire: Wire, argv: list[str]) -> None:
    """Run the program as `python solution.py` would, and end this process as the interpreter would."""
    code = _compile(source, wire)
    wire.socket.close()
    if code is None:
        os._exit(1)  # pyright: ignore[reportPrivateUsage]
    sys.argv = [FILENAME, *argv]
    namespace = _module("__main__")
    status = 0
    try:
        exec(code, namespace)  # noqa: S102
    except SystemExit as error:
        status = _exit_status(error.code)
    except BaseException as error:
        _print_traceback(error)
        status = 1
    _finish(status, namespace)


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _finish(status: int, namespace: dict[str, object]) -> None:
    """What the interpreter does at its end and a program can notice: threads, exit functions, its objects, its output.

    The rest (taking the interpreter itself apart) costs 2 ms of CPU per test and is left out.
    """
    threading = sys.modules.get("threading")
    if threading is not None:
        threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    good = _flush()
    # In the interpreter's own order: private names go first.
    for private in (True, False):
        for name in list(namespace):
            if name.startswith("_") == private and name != "__builtins__":
                namespace[name] = None
    gc.collect()
    os._exit(status if _flush() and good else status or 120)  # pyright: ignore[reportPrivateUsage]


def _print_traceback(error: BaseException) -> None:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != FILENAME:
        trace = trace.tb_next
    try:
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        sys.stderr.flush()
    except BaseException:  # the program may have broken its own stderr or hook: there is nowhere left to write to
        return


def answer_calls(source: Source, wire: Wire, max_bytes: int) -> None:
    """Load the program, then evaluate what the host asks for until it hangs up."""
    code = _compile(source, wire)
    if code is None:
        return
    namespace = _module("solution")
    try:
        if source.before:
            exec(compile(source.before, "setup.py", "exec", dont_inherit=True), namespace)  # noqa: S102
        exec(code, namespace)  # noqa: S102
        if source.after:
            exec(compile(source.after, "setup.py", "exec", dont_inherit=True), namespace)  # noqa: S102
    except BaseException as error:
        _print_traceback(error)
        wire.send(("raised", "load", *describe(error)))
        return
    _flush()
    wire.send(("loaded",))
    Answers(namespace, wire, max_bytes).serve()


class Answers:
    """Evaluates small expression trees in the program's namespace and sends what they give.

    An expression is a tuple: ("lit", value), ("name", n), ("builtin", n), ("ref", handle), ("attr", e, n),
    ("call", e, [e ...], {name: e}), ("list", [e ...]), ("tuple", [e ...]), ("dict", [(e, e) ...]),
    ("collect", e): the items of an iterable as a list.
    """

    def __init__(self, namespace: dict[str, object], wire: Wire, max_bytes: int) -> None:
        self.namespace = namespace
        self.wire = wire
        self.max_bytes = max_bytes
        self.kept: list[object] = []
        self.handles: dict[int, int] = {}
        self.builtins = dict(builtins.__dict__)

    def serve(self) -> None:
        """Answer ("eval", expression, copy_back, keep) and ("exec", code, False, False) until the end of the stream."""
        while True:
            try:
                request, _ = self.wire.receive()
            except EOFError:
                return
            verb, content, copy_back, keep = request  # type: ignore[misc]
            if verb == "exec":  # type: ignore[has-type]
                content = ("exec", content)  # type: ignore[has-type]
            self.answer(content, bool(copy_back), bool(keep))  # type: ignore[has-type]

    def answer(self, expression: object, copy_back: bool, keep: bool) -> None:
        arguments: list[object] | None = [] if copy_back else None
        try:
            value = self.evaluate(expression, arguments)  # type: ignore[arg-type]
            _flush()
            reply = ("value", value) if arguments is None else ("value", value, arguments)
            self.wire.send(reply, self.max_bytes, self.keep if keep else None)
        except TooLargeError as error:
            self.wire.send(("large", str(error)))
        except PlainError as error:
            self.wire.send(("unplain", str(error)))
        except BaseException as error:
            _print_traceback(error)
            self.wire.send(("raised", "call", *describe(error)))

    def keep(self, value: object) -> int:
        """A number by which the host may name `value` later."""
        handle = self.handles.get(id(value), 0)
        if not handle:
            self.kept.append(value)
            self.handles[id(value)] = handle = len(self.kept)
        return handle

    def evaluate(self, expression: tuple[object, ...], arguments: list[object] | None = None) -> object:
        kind = expression[0]
        if kind == "lit":
            return expression[1]
        if kind == "name":
            name = str(expression[1])
            if name in self.namespace:
                return self.namespace[name]
            if name in self.builtins:
                return self.builtins[name]
            raise NameError(f"name {name!r} is not defined")
        if kind == "builtin":
            return self.builtins[str(expression[1])]
        if kind == "ref":
            return self.kept[int(expression[1]) - 1]  # type: ignore[call-overload]
        if kind == "attr":
            return getattr(self.evaluate(expression[1]), str(expression[2]))  # type: ignore[arg-type]
        if kind == "collect":
            return _collect(self.evaluate(expression[1]))  # type: ignore[arg-type]
        if kind == "call":
            return self.call(expression, arguments)
        if kind == "list":
            return [self.evaluate(item) for item in expression[1]]  # type: ignore[attr-defined]
        if kind == "tuple":
            return tuple([self.evaluate(item) for item in expression[1]])  # type: ignore[attr-defined]
        if kind == "dict":
            return {self.evaluate(key): self.evaluate(item) for key, item in expression[1]}  # type: ignore[attr-defined]
        if kind == "exec":
            exec(compile(str(expression[1]), "test.py", "exec", dont_inherit=True), self.namespace)  # noqa: S102
            return None
        raise ValueError(f"unknown expression {kind!r}")

    def call(self, expression: tuple[object, ...], arguments: list[object] | None) -> object:
        function = self.evaluate(expression[1])  # type: ignore[arg-type]
        positional = [self.evaluate(item) for item in expression[2]]  # type: ignore[attr-defined]
        keywords = {name: self.evaluate(item) for name, item in expression[3].items()}  # type: ignore[attr-defined]
        if arguments is not None:
            arguments += [item if type(item) in _MUTABLE else None for item in positional]
        return function(*positional, **keywords)  # type: ignore[operator]


def _collect(value: object) -> object:
    if type(value) in (list, tuple, set, frozenset, dict, str, bytes):
        return value
    items: list[object] = []
    for item in value:  # type: ignore[attr-defined]
        items.append(item)
        if len(items) > _MAX_ITEMS:
            raise TooLargeError(f"the iterable has more than {_MAX_ITEMS} items")
    return items


def _flush() -> bool:
    good = True
    for stream in (sys.stdout, sys.stderr):
        if stream is None or getattr(stream, "closed", False):
            continue
        try:
            stream.flush()
        except BaseException:  # broken or replaced by the program
            good = False
    return good


def leave(code: int) -> None:
    """End this process at once, with what it printed flushed."""
    _flush()
    os._exit(code)  # pyright: ignore[reportPrivateUsage]
