"""Work-done progress: what an editor shows while a solve goes on."""

import time

from lsprotocol import types
from pygls.lsp.server import LanguageServer

_LEAST_SECONDS = 0.1
"""Between two reports; an editor draws each."""


class WorkDone:
    """Reports under a token; does nothing where there is none."""

    def __init__(self, server: LanguageServer, token: str | int | None) -> None:
        self._server = server
        self.token = token
        self._last = 0.0

    @classmethod
    async def created(cls, server: LanguageServer, token: str) -> "WorkDone":
        """Progress that the editor did not ask for; without a token where it cannot show any."""
        window = server.client_capabilities.window
        if window is None or not window.work_done_progress:
            return cls(server, None)
        await server.work_done_progress.create_async(token)
        return cls(server, token)

    def begin(self, title: str) -> None:
        """The first report; it can be cancelled."""
        if self.token is not None:
            value = types.WorkDoneProgressBegin(title=title, cancellable=True, percentage=0)
            self._server.work_done_progress.begin(self.token, value)

    def report(self, message: str, percentage: int | None = None, *, now: bool = False) -> None:
        """A report, unless there was one just now."""
        if self.token is None or (not now and time.monotonic() - self._last < _LEAST_SECONDS):
            return
        self._last = time.monotonic()
        value = types.WorkDoneProgressReport(message=message, percentage=percentage, cancellable=True)
        self._server.work_done_progress.report(self.token, value)

    def end(self, message: str) -> None:
        """The last report."""
        if self.token is not None:
            self._server.work_done_progress.end(self.token, types.WorkDoneProgressEnd(message=message))
            self._server.work_done_progress.tokens.pop(self.token, None)
            self.token = None
