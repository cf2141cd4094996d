"""Shows a solve while it runs: a live table on a terminal, plain lines in a pipe. Shared by `solve` and the demo."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from thresher.client.progress import Progress, sample_words
from thresher.v1 import solve_pb2

_BRANCHES_SHOWN = 8
_PROGRAMS_SHOWN = 12
_STYLES = {"passed": "bold green", "skipped": "dim", "sandbox failure": "bold magenta", "": "yellow"}


class SolveDisplay:
    """Use as a context manager around the loop over the events, and give it each event."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.progress = Progress()
        self._console = console
        self._quiet = quiet
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, vertical_overflow="crop")
        self._drawing = console.is_terminal and not quiet

    def handle(self, event: solve_pb2.SolveEvent) -> None:
        """Takes one event in and shows it."""
        line = self.progress.apply(event)
        if line and not self._drawing and not self._quiet:
            self._console.print(
                f"[{self.progress.seconds:7.2f}s] {line}", markup=False, highlight=False, soft_wrap=True
            )

    def __enter__(self) -> Self:
        if self._drawing:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawing:
            self._live.stop()

    def _render(self) -> RenderableType:
        # Called from the thread that redraws, so it works on copies of what the events change.
        progress = self.progress
        parts: list[RenderableType] = [Text(progress.headline, style="bold")]
        if attempts := list(progress.attempts.values()):
            table = _table("program", "samples", "tokens", "verdict", "tests", "")
            passed = [one for one in attempts if one.verdict == "passed"]
            others = [one for one in attempts if one.verdict != "passed"]
            shown = passed + others[max(0, len(others) - (_PROGRAMS_SHOWN - len(passed))) :]
            for one in sorted(shown, key=lambda one: one.index):
                word = one.verdict.replace("_", " ")
                verdict = Text(word or "running", style=_STYLES.get(word, "red"))
                tests = f"{one.passed}/{one.total}" if word else ""
                samples = sample_words(list(one.drawn)).partition(" ")[2]
                message = Text(one.message, style="dim")
                table.add_row(str(one.index), samples, str(one.tokens), verdict, tests, message)
            parts.append(table)
        if branches := list(progress.branches.items()):
            table = _table("branch", "samples", "tokens", "text")
            for index, branch in branches[:_BRANCHES_SHOWN]:
                lines = [line for line in branch.tail.splitlines() if line.strip()]
                samples = sample_words(list(branch.samples)).partition(" ")[2]
                table.add_row(str(index), samples, str(branch.tokens), Text(lines[-1] if lines else "", style="cyan"))
            if len(branches) > _BRANCHES_SHOWN:
                table.add_row("…", f"{len(branches) - _BRANCHES_SHOWN} more", "", "")
            parts.append(table)
        return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table
