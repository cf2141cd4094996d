"""When two texts are the same program, so that it is run once."""

import ast
import hashlib

from engine.text.python_source import parse

# A program that looks at itself can tell texts apart that are otherwise one program.
_READS_DOCSTRINGS = frozenset({"__doc__", "getdoc", "doctest", "testmod", "help", "inspect"})
_READS_SOURCE = frozenset(
    {"__file__", "getsource", "getsourcelines", "linecache", "tokenize", "currentframe", "_getframe", "traceback"}
    | {"f_lineno", "tb_lineno", "co_firstlineno", "co_code", "__code__"}
)


def program_key(code: str) -> bytes:
    """16 bytes, equal for programs that differ only in comments, layout, quotes and docstrings that they never read.

    Names are not touched. Source that does not parse, or that is nested too deep or too long to look at, is keyed by
    its text.
    """
    tree = parse(code)
    if tree is not None:
        try:
            return _key(b"tree", _canonical(tree))
        except (_KeepText, RecursionError, MemoryError, ValueError):
            pass  # ValueError: a number too long to be written out
    return _key(b"text", code.replace("\r\n", "\n").strip())


class _KeepText(Exception):
    """The program may look at its own text."""


def _canonical(tree: ast.Module) -> str:
    nodes = list(ast.walk(tree))
    words = {word for node in nodes for word in _words(node)}
    if not words.isdisjoint(_READS_SOURCE):
        raise _KeepText
    keep_docstrings = not words.isdisjoint(_READS_DOCSTRINGS)
    for node in nodes:
        if isinstance(node, ast.Constant):
            node.kind = None  # u"" is ""
        elif not keep_docstrings and isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ):
            _drop_docstring(node)
    return ast.dump(tree, annotate_fields=False)


def _words(node: ast.AST) -> tuple[str, ...]:
    match node:
        case ast.Name(id=word) | ast.Attribute(attr=word):
            return (word,)
        case ast.alias(name=word):
            return tuple(word.split("."))
        case ast.ImportFrom(module=str(word)):
            return tuple(word.split("."))
        case ast.Constant(value=str(word)) if len(word) < 32:
            return (word,)  # getattr(f, "__doc__")
        case _:
            return ()


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    match node.body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            node.body = rest or ([] if isinstance(node, ast.Module) else [ast.Pass()])
        case _:
            pass


def _key(kind: bytes, text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=kind).digest()
