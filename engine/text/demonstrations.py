"""Models like to show what they wrote at work: asserts, prints and a main part below the function asked for.

Left in, they cost time at every run, fail a right function by a wrong example, wait for input that never comes, and
make one function look like many programs. Sanitisers of benchmarks (EvalPlus) take them off as well.
"""

import ast

from engine.text.python_source import parse

_SHOWS = frozenset({"print", "input"})


def without_demonstrations(code: str, entry_point: str) -> str:
    """The program without what only shows its entry point at work.

    Of the statements after the entry point's definition these go, unless they bind a name that it needs: asserts, a
    main part, and whatever mentions the entry point, print or input, or what such statements bind; also plain values
    that nothing needs. Set-up of any other kind stays. Code that does not parse, or does not define the entry point at
    its left margin, comes back as it is.
    """
    tree = parse(code)
    name = entry_point.partition(".")[0]
    body = [] if tree is None else tree.body
    last = max((index for index, statement in enumerate(body) if name in _binds(statement)), default=None)
    if last is None:
        return code
    needed = _needed(name, body)
    shown = {name} | _SHOWS
    dropped: list[ast.stmt] = []
    for statement in body[last + 1 :]:
        binds = _binds(statement)
        if binds & needed:
            continue
        if _is_demonstration(statement, shown):
            dropped.append(statement)
            shown |= binds
    return _cut_out(code, body, dropped)


def _is_demonstration(statement: ast.stmt, shown: set[str]) -> bool:
    match statement:
        case ast.Assert() | ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.Assign() | ast.AnnAssign() if not any(isinstance(node, ast.Call) for node in ast.walk(statement)):
            return bool(_binds(statement))  # an example's input; not `table[0] = 1`
        case ast.Expr(value=ast.Constant()):
            return True
        case _:
            return not shown.isdisjoint(_uses(statement))


def _needed(name: str, body: list[ast.stmt]) -> set[str]:
    """Names that the entry point uses, directly or by what it uses."""
    uses: dict[str, set[str]] = {}
    for statement in body:
        used = _uses(statement)
        for bound in _binds(statement):
            uses.setdefault(bound, set()).update(used)
    needed, waiting = {name}, [name]
    while waiting:
        new = uses.get(waiting.pop(), set()) - needed
        needed |= new
        waiting += new
    return needed


def _binds(statement: ast.stmt) -> set[str]:
    """Names that the statement binds at the top of the program."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return {alias.asname or alias.name.partition(".")[0] for alias in aliases}
        case _:
            stored = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            return {node.id for node in stored if not isinstance(node.ctx, ast.Load)}


def _uses(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def _cut_out(code: str, body: list[ast.stmt], dropped: list[ast.stmt]) -> str:
    """The code without the lines of these statements, and without comments that stand right above them."""
    if not dropped:
        return code
    lines = code.split("\n")
    kept_lines: set[int] = set()
    cut_lines: set[int] = set()
    for statement in body:
        decorators = [node.lineno for node in getattr(statement, "decorator_list", [])]
        span = range(min([statement.lineno, *decorators]), (statement.end_lineno or statement.lineno) + 1)
        (cut_lines if statement in dropped else kept_lines).update(span)
    cut_lines -= kept_lines  # statements that share a line stay together
    for number in sorted(cut_lines):
        above = number - 1
        while above > 0 and above not in kept_lines and (lines[above - 1][:1] == "#" or not lines[above - 1].strip()):
            cut_lines.add(above)
            above -= 1
    return "\n".join(line for number, line in enumerate(lines, start=1) if number not in cut_lines)
