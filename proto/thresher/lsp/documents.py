"""Files as the editor has them, and edits of them."""

from dataclasses import dataclass

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from thresher.lsp.finding import find_tests
from thresher.lsp.found import Found, Place
from thresher.lsp.functions import Function, Source
from thresher.lsp.problem import Task


@dataclass(frozen=True, slots=True)
class Document:
    """A file: its text at one version."""

    uri: str
    path: str
    version: int | None
    source: Source
    crlf: bool

    @classmethod
    def of(cls, server: LanguageServer, uri: str) -> "Document":
        """The file as the editor has it, else as it is on disk. Raises OSError or UnicodeDecodeError."""
        document = server.workspace.get_text_document(uri)
        text = document.source
        return cls(uri, document.path, document.version, Source(text), "\r\n" in text)

    def replacing(self, function: Function, text: str) -> types.WorkspaceEdit:
        """The edit that puts `text` in the place of a function's lines; lines that stay the same are left alone."""
        old = self.source.lines[function.first - 1 : function.last]
        new = text.split("\n")[:-1]
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        first, last = function.first - 1 + same, function.last
        lines = new[same:]
        if last < len(self.source.lines):
            end = types.Position(last, 0)
            written = "".join(f"{line}\n" for line in lines)
        else:
            end = types.Position(last - 1, len(self.source.lines[last - 1].encode("utf-16-le")) // 2)
            written = "\n".join(lines) + "\n"
        if self.crlf:
            written = written.replace("\n", "\r\n")
        edit = types.TextEdit(types.Range(types.Position(first, 0), end), written)
        identifier = types.OptionalVersionedTextDocumentIdentifier(self.uri, self.version)
        return types.WorkspaceEdit(document_changes=[types.TextDocumentEdit(identifier, [edit])])

    def tests(self, server: LanguageServer, function: Function, source: Source | None = None) -> Found:
        """All tests of a function of this file, or of `source` in its place."""

        def read(uri: str) -> str:
            return server.workspace.get_text_document(uri).source

        return find_tests(source or self.source, function, self.path, read)

    def task(self, function: Function, found: Found) -> Task:
        """The task of writing a function of this file, which parses."""
        assert self.source.tree is not None
        return Task.of(self.source, self.source.tree, function, found.tests)


def range_of(place: Place) -> types.Range:
    """Whole lines."""
    return types.Range(types.Position(place.first, 0), types.Position(place.last + 1, 0))
