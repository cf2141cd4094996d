"""The solves that are under way, and what ends them early."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from lsprotocol import types

from thresher.lsp.functions import Source, place_of
from thresher.lsp.solving import Ended

EDITED = "the function was edited"
CLOSED = "the file was closed"
ASKED_AGAIN = "it was asked for again"
STOPPED = "as you asked"


@dataclass(eq=False, slots=True)
class Job:
    """One solve under way. `text` holds the function's lines, `line` is where they begin, counted from 0.

    `reason` says why it was ended early; empty otherwise.
    """

    id: str
    uri: str
    path: tuple[str, ...]
    text: str
    line: int
    token: str | int | None = None
    task: "asyncio.Task[Ended] | None" = None
    reason: str = ""

    def end(self, reason: str) -> None:
        """Ends it; what it holds on the server ends with it."""
        if not self.reason and self.task is not None:
            self.reason = reason
            self.task.cancel()

    def touched_by(self, changes: Iterable[types.TextDocumentContentChangeEvent]) -> bool:
        """Whether one of the changes lies in its function's lines; what ends where they begin does not."""
        first = types.Position(self.line, 0)
        last = self.line + self.text.count("\n") - 1
        ranges = [one.range for one in changes if isinstance(one, types.TextDocumentContentChangePartial)]
        return any(one.start.line <= last and one.end > first for one in ranges)


@dataclass(slots=True)
class Jobs:
    """All that are under way; of one function there is one at most."""

    live: list[Job] = field(default_factory=list[Job])

    def add(self, job: Job) -> None:
        """Takes one in; an earlier one of the same function ends."""
        for other in [one for one in self.live if (one.uri, one.path) == (job.uri, job.path)]:
            other.end(ASKED_AGAIN)
        self.live.append(job)

    def remove(self, job: Job) -> None:
        """Takes one out that has ended."""
        self.live.remove(job)

    def changed(self, uri: str, source: Source, changes: Iterable[types.TextDocumentContentChangeEvent]) -> None:
        """Ends those whose function was edited."""
        known = list(changes)
        for job in [one for one in self.live if one.uri == uri]:
            line = place_of(source, job.path, job.text)
            if line is None or job.touched_by(known):
                job.end(EDITED)
            else:
                job.line = line

    def end(self, reason: str, *, uri: str | None = None, token: str | int | None = None) -> None:
        """Ends those of a file, or with a token, or all of them."""
        for job in list(self.live):
            if (uri is None or job.uri == uri) and (token is None or job.token == token):
                job.end(reason)
