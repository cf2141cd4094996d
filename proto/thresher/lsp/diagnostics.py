"""Failing tests as diagnostics, kept where the tests are while the files around them change."""

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from thresher.lsp.documents import Document, range_of
from thresher.lsp.failures import Failure

Key = tuple[str, tuple[str, ...]]
"""A function: the uri of its file, and its path."""


class Diagnostics:
    """The failures of functions that were not solved, until they are, or change."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self._failures: dict[Key, tuple[str, tuple[Failure, ...]]] = {}
        self._published: dict[str, set[str]] = {}

    def set(self, key: Key, text: str, failures: tuple[Failure, ...]) -> None:
        """The failures of a function whose lines are `text`; none clears what was there."""
        self._failures.pop(key, None)
        if failures:
            self._failures[key] = text, failures
        self.refresh(key[0])

    def has(self, key: Key) -> bool:
        """Whether a function has failures that are shown."""
        return key in self._failures

    def refresh(self, uri: str) -> None:
        """Finds the tests of this file's functions anew, and publishes. Functions that have changed lose theirs."""
        shown: dict[str, list[types.Diagnostic]] = {one: [] for one in self._published.get(uri, ())}
        document = Document.of(self._server, uri) if shown or any(key[0] == uri for key in self._failures) else None
        if document is None or (document.source.tree is None and shown):
            return  # they stay where they are until the file can be read again
        for key in [key for key in self._failures if key[0] == uri]:
            text, failures = self._failures[key]
            function = document.source.find(key[1])
            if function is None or document.source.text_of(function) != text:
                del self._failures[key]
                continue
            places = {test.code: test.place for test in document.tests(self._server, function).tests}
            for failure in failures:
                if (place := places.get(failure.test.code)) is not None:
                    shown.setdefault(place.uri or uri, []).append(
                        _diagnostic(failure, range_of(place), function.dotted)
                    )
        for target, diagnostics in shown.items():
            self._server.text_document_publish_diagnostics(types.PublishDiagnosticsParams(target, diagnostics))
        self._published[uri] = {target for target, diagnostics in shown.items() if diagnostics}

    def about(self, uri: str) -> list[str]:
        """The files whose functions have failures of tests in this file, itself left out."""
        return [one for one, targets in self._published.items() if uri in targets and one != uri]


def _diagnostic(failure: Failure, where: types.Range, name: str) -> types.Diagnostic:
    programs = "one program fails" if failure.programs == 1 else f"{failure.programs} programs fail"
    return types.Diagnostic(
        range=where,
        message=f"{failure.message} ({programs} this test of {name})",
        severity=types.DiagnosticSeverity.Warning,
        source="thresher",
        code=failure.verdict,
    )
