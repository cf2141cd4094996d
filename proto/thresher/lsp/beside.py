"""Tests in the file beside: `test_<name>.py` in the same folder, or in `tests` below it."""

import ast
from collections.abc import Callable
from pathlib import Path

from pygls.uris import from_fs_path

from thresher.lsp.found import Found
from thresher.lsp.functions import Function, Source
from thresher.lsp.names import bound
from thresher.lsp.unit_tests import unit_tests

Reader = Callable[[str], str]
"""The text of a file by its uri: as an editor has it, else as it is on disk."""


def test_file_of(path: str) -> Path | None:
    """The test file of a Python file; None where there is none."""
    file = Path(path)
    name = f"test_{file.name}"
    return next((one for one in (file.parent / name, file.parent / "tests" / name) if one.is_file()), None)


def found_beside(path: str, function: Function, read: Reader) -> Found:
    """The tests of a function in the test file of its file; none where that file does not import it."""
    file = test_file_of(path)
    uri = None if file is None else from_fs_path(str(file))
    if uri is None:
        return Found()
    try:
        tree = Source(read(uri)).tree
    except (OSError, UnicodeDecodeError):
        return Found()
    if tree is None:
        return Found()
    plain = _PlainNames(Path(path).stem)
    plain.read_imports(tree)
    if not plain.imported:
        return Found()
    body = [plain.visit(statement) for statement in tree.body if statement not in plain.imported]
    if any(function.path[0] in bound(statement) for statement in body):
        return Found()
    return unit_tests(body, body, body, function, uri)


class _PlainNames(ast.NodeTransformer):
    """Writes what a test file imports from the module by its plain name: `m.f`, or `g` of `import f as g`, is `f`."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.imported: list[ast.stmt] = []
        """Import statements that are about the module alone."""
        self._modules: set[str] = set()
        self._aliases: dict[str, str] = {}

    def read_imports(self, tree: ast.Module) -> None:
        """Finds out under which names the file knows the module and its contents."""
        for statement in tree.body:
            match statement:
                case ast.ImportFrom(module=str(name), names=aliases) if name.rpartition(".")[2] == self.module:
                    self._aliases |= {alias.asname or alias.name: alias.name for alias in aliases}
                    self.imported.append(statement)
                case (
                    ast.ImportFrom(names=[ast.alias(name=name, asname=short)])
                    | ast.Import(names=[ast.alias(name=name, asname=short)])
                ) if name.rpartition(".")[2] == self.module:
                    self._modules.add(short or name)
                    self.imported.append(statement)
                case _:
                    continue

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A name that was imported."""
        return ast.copy_location(ast.Name(self._aliases.get(node.id, node.id), node.ctx), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """A name of the module after a dot."""
        if ast.unparse(node.value) in self._modules:
            return ast.copy_location(ast.Name(node.attr, node.ctx), node)
        return self.generic_visit(node)
