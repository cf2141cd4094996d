"""Shows a solve while it runs: a table that changes in a notebook, lines on standard error elsewhere."""

import html
import importlib
import sys
import time
from typing import Any

from thresher.client.progress import Progress
from thresher.client.result import table
from thresher.v1 import solve_pb2

_BETWEEN_SECONDS = 0.15
"""A notebook takes each change over a network and draws it anew."""
_ROWS = 16


class Shown:
    """The display of one solve. `show` None stands for a table in a notebook, and for nothing elsewhere."""

    def __init__(self, show: bool | None) -> None:
        self.progress = Progress()
        notebook = in_notebook()
        self._lines = show is True and not notebook
        self._handle: Any = None
        self._drawn = 0.0
        if notebook and show is not False:
            display: Any = importlib.import_module("IPython.display")
            self._handle = display.display(self, display_id=True)

    def waiting(self, words: str) -> None:
        """Shows what is waited for before there are events."""
        if self._lines:
            print(words, file=sys.stderr)

    def apply(self, event: solve_pb2.SolveEvent) -> None:
        """Takes an event in and shows it."""
        line = self.progress.apply(event)
        if self._lines and line:
            print(f"[{self.progress.seconds:7.2f}s] {line}", file=sys.stderr)
        if self._handle is not None:
            now = time.monotonic()
            if self.progress.summary is not None or now - self._drawn >= _BETWEEN_SECONDS:
                self._drawn = now
                self._handle.update(self)

    def __repr__(self) -> str:
        return self.progress.headline

    def _repr_html_(self) -> str:
        attempts = list(self.progress.attempts.values())
        passed = [one for one in attempts if one.verdict == "passed"][:_ROWS]
        others = [one for one in attempts if one.verdict != "passed"]
        latest = others[max(0, len(others) - (_ROWS - len(passed))) :]
        more = len(attempts) - len(passed) - len(latest)
        note = f"<p>and {more} others</p>" if more else ""
        shown = sorted([*passed, *latest], key=lambda one: one.index)
        return f"<p><b>{html.escape(self.progress.headline)}</b></p>{table(shown)}{note}"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
