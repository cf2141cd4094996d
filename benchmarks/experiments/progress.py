"""How far a run is: a line that is drawn anew on a terminal, plain lines in a pipe."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from benchmarks.experiments.outcome import Outcome

_BAR = 24


class Progress:
    """Use as a context manager, and give it each outcome. Everything goes to standard error."""

    def __init__(self, experiment: str, total: int, *, done: int = 0, solved: int = 0, console: Console | None = None):
        self._experiment = experiment
        self._total = total
        self._done = done
        self._solved = solved
        self._new = 0
        self._arm = ""
        self._began = time.monotonic()
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(get_renderable=self._line, console=self._console, refresh_per_second=2, transient=True)

    def add(self, arm: str, outcome: Outcome) -> None:
        """A problem is done."""
        self._done += 1
        self._new += 1
        self._solved += outcome.solved
        self._arm = arm
        if not self._console.is_terminal:
            line = (
                f"{self._count()} {arm} {outcome.id}: {outcome.passed} of {outcome.finished} passed; {self._so_far()}"
            )
            self._console.print(line, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._done:
            note = f"{self._experiment}: going on; {self._done} of {self._total} were done before"
            self._console.print(note, markup=False, soft_wrap=True)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def _line(self) -> Text:
        filled = _BAR * self._done // self._total
        text = Text(f"{self._experiment}  ", style="bold")
        text.append("━" * filled, style="cyan").append("━" * (_BAR - filled), style="dim")
        text.append(f"  {self._count()}  {self._so_far()}", style="default")
        return text.append(f"  {self._arm}  {self._left()}", style="dim")

    def _count(self) -> str:
        return f"{self._done}/{self._total}"

    def _so_far(self) -> str:
        return f"{self._solved} of {self._done} solved so far"

    def _left(self) -> str:
        if not self._new:
            return "starting"
        seconds = (time.monotonic() - self._began) / self._new * (self._total - self._done)
        return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
