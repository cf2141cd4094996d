"""Doctests as tests of the server.

An example is run in the candidate's process just as doctest runs it, by `run_examples`, which gives what it prints;
that text is compared with the expected one outside. So what passes here passes `python -m doctest`, whatever the
example prints: values, objects of the file's own classes, exceptions.
"""

import ast
import doctest
import inspect

from thresher.lsp.found import Found, FoundTest, LeftOut, Place
from thresher.lsp.functions import Function

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_TRACEBACK = "Traceback (most recent call last):\n"


def run_examples(*sources: str) -> str:
    """Runs examples one after the other, as doctest does; what the last one prints.

    Its text is sent to the server, so it can use nothing from this file.
    """
    import contextlib
    import io
    import traceback

    names = dict(globals())
    printed = ""
    for source in sources:
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output):
                exec(compile(source, "<doctest>", "single"), names)  # noqa: S102
            printed = output.getvalue()
        except Exception as error:
            told = traceback.format_exception_only(error)[-1].removeprefix(f"{__name__}.")
            printed = f"Traceback (most recent call last):\n{told}"
    return printed


SETUP = (
    inspect.getsource(run_examples)
    .replace("def run_examples", "\n\ndef _thresher_examples")
    .replace("  # noqa: S102", "")
)
"""What the tests need after the program."""


def doctests(function: Function, module: str) -> Found:
    """The examples of a function's docstring. `module` is its module's name, which may stand before an exception's."""
    text = function.docstring
    if text is None:
        return Found()
    # A line end that is written as an escape makes the lines below it wrong by one; nothing else depends on them.
    start = function.node.body[0].lineno - 1
    try:
        examples = doctest.DocTestParser().get_examples(text, function.dotted)
    except ValueError as error:
        return Found((), (LeftOut("doctest", Place("", start, start), f"the docstring cannot be read: {error}"),))
    tests: list[FoundTest] = []
    left_out: list[LeftOut] = []
    before: list[str] = []
    for example in examples:
        lines = example.source.count("\n") + example.want.count("\n")
        place = Place("", start + example.lineno, start + example.lineno + lines - 1)
        reason = _unusable(example)
        if reason is None and _is_check(example):
            tests.append(_test(example, before, place, module))
        elif reason is not None:
            left_out.append(LeftOut(example.source.strip(), place, reason))
        if not example.options.get(doctest.SKIP):
            before.append(example.source)
    return Found(tuple(tests), tuple(left_out))


def _is_check(example: doctest.Example) -> bool:
    """An example without output is a step on the way to others, unless it is a call that must return None."""
    return bool(example.want) or _expression(example.source) is not None


def _unusable(example: doctest.Example) -> str | None:
    if example.options.get(doctest.SKIP):
        return "it says +SKIP"
    unknown = [
        flag for flag, on in example.options.items() if on and not flag & (_FLAGS | doctest.DONT_ACCEPT_BLANKLINE)
    ]
    if unknown:
        names = [name for name, flag in doctest.OPTIONFLAGS_BY_NAME.items() if flag in unknown]
        return f"its option {', '.join(names)} is not supported"
    try:
        compile(example.source, "<doctest>", "single")
    except (SyntaxError, ValueError) as error:
        return f"not Python: {error}"
    return None


def _test(example: doctest.Example, before: list[str], place: Place, module: str) -> FoundTest:
    want = example.want
    if example.exc_msg is not None:
        # A class of the file's own has another module in the sandbox, and `__main__` where the file is run.
        want = _TRACEBACK + example.exc_msg.removeprefix("__main__.").removeprefix(f"{module}.")
    call = f"_thresher_examples({', '.join(map(repr, [*before, example.source]))})"
    flags = sum(flag for flag, on in example.options.items() if on and flag & _FLAGS)
    if flags:
        code = (
            "import doctest\n"
            f"printed = {call}\n"
            f"assert doctest.OutputChecker().check_output({want!r}, printed, {flags}), f'(got {{printed!r}})'\n"
        )
    else:
        if not example.options.get(doctest.DONT_ACCEPT_BLANKLINE):
            want = "".join("\n" if line == "<BLANKLINE>\n" else line for line in want.splitlines(keepends=True))
        code = f"assert {call} == {want!r}\n"
    steps = [*(step for step in before if not _is_plain_call(step)), example.source]
    return FoundTest(code, _shown(steps, example.want), example.source.strip(), place, want)


def _is_plain_call(source: str) -> bool:
    """Whether an example only calls a function: it is run before those after it, but need not be shown with them."""
    call = _expression(source)
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name)


def _expression(source: str) -> ast.expr | None:
    try:
        return ast.parse(source.strip(), mode="eval").body
    except SyntaxError:
        return None


def _shown(steps: list[str], want: str) -> str:
    """`assert f(2) == 4` where one step gives a value, else the steps as they stand in a docstring."""
    source, want = steps[-1].strip(), want.strip()
    if len(steps) == 1 and _expression(source) is not None and _is_value(want):
        return f"assert {source} == {want}"
    lines = [">>> " + step.strip().replace("\n", "\n... ") for step in steps]
    return "\n".join([*lines, *([want] if want else [])])


def _is_value(text: str) -> bool:
    try:
        ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return True
