"""The examples of a HumanEval docstring as asserts.

They are written in many ways; what is read here stands on one line and has a literal for its result:

    >>> add(2, 3)            (and 5 on the line below)
    add(2, 3) == 5           (or =, ->, =>, ==>, an arrow, "returns", "should return", "is")
"""

import ast
import re

_RESULT = re.compile(r"\s*(?:==>|=>|==|->|➞|=|[Rr]eturns|should return|is)\s+(.*)|\s*(?:==>|=>|==|->|➞|=)(.*)")
_REMARK = re.compile(r"\s{2,}|\s+#|\s+\(|\s*//|, since|[.,;]\s*$")

_FAULTY = {
    'bf("Earth", "Mercury")',  # shows ("Venus"), a text; a tuple is meant
    "median([-10, 4, 6, 1000, 10, 20])",
    "tri(1)",  # speaks of the sequence, the function returns a list
    "tri(4)",
}
"""Calls whose shown result is not what the reference returns."""


def examples(stub: str, entry_point: str) -> tuple[str, ...]:
    """Asserts, in the order of the docstring, each once; none where nothing is shown in a way that is read here."""
    lines = stub.splitlines()
    found: dict[str, None] = {}
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        text = line.strip()
        pair = _prompted(text, below) if text.startswith(">>>") else _stated(text, entry_point)
        if pair is not None and pair[0] not in _FAULTY and _calls(ast.parse(pair[0]), entry_point):
            found[f"assert {pair[0]} == {pair[1]}"] = None
    return tuple(found)


def _prompted(line: str, below: str) -> tuple[str, str] | None:
    try:
        call = ast.unparse(ast.parse(line.removeprefix(">>>").strip(), mode="eval"))  # without a remark
    except SyntaxError:
        return None
    wanted = _literal(below)
    return None if wanted is None else (call, wanted)


def _stated(line: str, entry_point: str) -> tuple[str, str] | None:
    start = line.find(f"{entry_point}(")
    if start < 0 or line.startswith("def "):
        return None
    for end in (found.end() for found in re.finditer(r"\)", line) if found.end() > start):
        call = line[start:end]
        try:
            ast.parse(call, mode="eval")
        except SyntaxError:
            continue  # a bracket inside a text, or of an inner call
        result = _RESULT.match(line, end)
        wanted = _literal(result.group(1) or result.group(2) or "") if result else None
        return None if wanted is None else (call, wanted)
    return None


def _calls(tree: ast.AST, entry_point: str) -> bool:
    """Whether the function is called, and no name is there that is not called: some docstrings forget the quotes."""
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    return any(name.id == entry_point for name in names) and all(name in called for name in names)


def _literal(text: str) -> str | None:
    """What stands before a remark in a text, or all of it, if that is a literal."""
    for candidate in (_REMARK.split(text.strip(), maxsplit=1)[0], text.strip()):
        try:
            ast.literal_eval(candidate)
        except (SyntaxError, ValueError, TypeError):
            continue
        return candidate
    return None
