"""From a program that passed to the text that takes the function's place in its file.

Decorators, signature and docstring stay as the user wrote them, and only the body is the program's, unless the
program's parameters are others: then its signature comes along. What the body needs of the program besides (imports,
helpers, constants) comes with it: imports inside the function, the rest above it, or inside where it is a method.
"""

import ast
import io
import tokenize

from thresher.lsp.functions import Definition, Function, Source, documented, signature
from thresher.lsp.names import BUILTINS, bound, closure, used

_IMPORTS = ast.Import | ast.ImportFrom


class SpliceError(Exception):
    """The program cannot take the function's place; the text says why."""


def new_text(source: Source, function: Function, code: str) -> str:
    """The lines that replace those of `function` in `source`, so that it does what it does in the program `code`.

    Raises SpliceError.
    """
    program = Source(code)
    written = _written(program, function)
    keeps = _parameters(written.node) == _parameters(function.node)
    head = source.head(function) if keeps else _head_with_signature(source, function, written)
    indent = source.body_indent(function)
    body = _body(program, written, indent, source.unit)
    inside, above = _extras(source, program, written, header=not keeps)
    if function.method:
        inside, above = inside + above, []
        if any(isinstance(node, ast.Global) for one in [*inside, written.node] for node in ast.walk(one)):
            raise SpliceError(f"the program keeps values in globals, which {function.dotted} cannot bring along")
    brought = "".join(_moved(program, one, indent, source.unit) for one in inside)
    if any(not isinstance(one, _IMPORTS) for one in inside):
        brought += "\n"
    helpers = "\n\n".join(_moved(program, one, "", source.unit) for one in above)
    return f"{helpers}{'\n\n' if helpers else ''}{head}{brought}{body}"


def _written(program: Source, function: Function) -> Function:
    """The function in the program: of the same path, else the one of that name at the margin."""
    if program.tree is None:
        raise SpliceError("the program is not Python")
    found = program.find(function.path) or program.find((function.name,))
    if found is None:
        raise SpliceError(f"the program does not define {function.dotted}")
    if isinstance(found.node, ast.AsyncFunctionDef) != isinstance(function.node, ast.AsyncFunctionDef):
        raise SpliceError(
            f"the program's {function.dotted} is {_kind(found.node)}, the file's is {_kind(function.node)}"
        )
    return found


def _kind(node: Definition) -> str:
    return "asynchronous" if isinstance(node, ast.AsyncFunctionDef) else "an ordinary function"


def _parameters(node: Definition) -> list[str]:
    """Names of the parameters, marked by how they are given."""
    arguments = node.args
    names = [f"/{one.arg}" for one in arguments.posonlyargs]
    names += [one.arg for one in arguments.args]
    names += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    names += [f"={one.arg}" for one in arguments.kwonlyargs]
    return names + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


def _head_with_signature(source: Source, function: Function, written: Function) -> str:
    """The user's decorators and docstring around the program's signature."""
    decorators = source.between(function.first, function.node.lineno - 1)
    docstring = ""
    if documented(function.node.body):
        docstring = f"{source.body_indent(function)}{source.segment(function.node.body[0])}\n"
    return f"{decorators}{source.indent(function)}{signature(written.node)}\n{docstring}"


def _body(program: Source, written: Function, indent: str, unit: str) -> str:
    body = written.node.body[1:] if documented(written.node.body) else written.node.body
    if not body or written.stub:
        raise SpliceError(f"the program leaves {written.dotted} unwritten")
    if not _stands_alone(program, body[0]):
        return "".join(f"{indent}{program.segment(one)}\n" for one in body)
    first = written.hole
    earliest = (written.node.body[0].end_lineno if documented(written.node.body) else written.node.lineno) or first
    while first - 1 > earliest and program.lines[first - 2].lstrip().startswith("#"):
        first -= 1
    text = program.between(first, written.last)
    return _reindented(text, program.body_indent(written), indent, program.unit, unit)


def _stands_alone(program: Source, statement: ast.stmt) -> bool:
    line = program.lines[statement.lineno - 1].encode()[: statement.col_offset]
    return not line.strip()


def _extras(
    source: Source, program: Source, written: Function, *, header: bool
) -> tuple[list[ast.stmt], list[ast.stmt]]:
    """What the body needs of the program besides, and the file does not have: for inside the function, and above it."""
    others = [one for one in (program.tree.body if program.tree else []) if one is not written.top]
    here = {name for one in (source.tree.body if source.tree else []) for name in bound(one)}
    here |= BUILTINS - set[str]().union(*map(bound, others))
    read_by_header = used(written.node.args) if header else set[str]()
    reads = set[str]().union(read_by_header, *map(used, written.node.body)) - _locals(written.node)
    missing = [one for one in others if not bound(one) <= here]
    needed = closure(reads - here, missing) - here
    wanted = [one for one in missing if bound(one) & needed]
    definitions = [one for one in wanted if not isinstance(one, _IMPORTS)]
    read_above = read_by_header.union(*map(used, definitions))
    above = [one for one in wanted if one in definitions or bound(one) & read_above]
    return [one for one in wanted if one not in above], above


def _locals(node: Definition) -> set[str]:
    """Names that mean something of the function's own."""
    arguments = [one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)]
    stored = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)]
    declared = {name for one in ast.walk(node) if isinstance(one, ast.Global) for name in one.names}
    return {*arguments, *stored} - declared


def _moved(program: Source, statement: ast.stmt, indent: str, unit: str) -> str:
    """A statement of the program's margin, in whole lines, at another margin."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    first = min([statement.lineno, *(decorator.lineno for decorator in decorators)])
    text = program.between(first, statement.end_lineno or first)
    return _reindented(text, "", indent, program.unit, unit)


def _reindented(text: str, old: str, new: str, old_unit: str, new_unit: str) -> str:
    """Lines whose margin `old` becomes `new`. Lines inside a string stay as they are."""
    if old == new and old_unit == new_unit:
        return text
    inside = _lines_in_strings(text)
    result: list[str] = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        if number in inside or not line.strip():
            result.append(line if number in inside else "")
            continue
        rest = line.removeprefix(old)
        if old_unit != new_unit:
            deeper = len(rest) - len(rest.lstrip())
            steps, left = divmod(deeper, len(old_unit))
            rest = new_unit * steps + " " * left + rest.lstrip()
        result.append(new + rest)
    return "".join(f"{line}\n" for line in result)


def _lines_in_strings(text: str) -> set[int]:
    """Numbers of lines that begin inside a string, counted from 1."""
    found: set[int] = set()
    begun: list[int] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(f"if 1:\n{text}").readline):
            match token.type:
                case tokenize.STRING:
                    found.update(range(token.start[0], token.end[0]))
                case tokenize.FSTRING_START:
                    begun.append(token.start[0])
                case tokenize.FSTRING_END:
                    found.update(range(begun.pop(), token.end[0]))
                case _:
                    continue
    except (tokenize.TokenError, SyntaxError) as error:
        raise SpliceError(f"the program cannot be read: {error}") from error
    return found
