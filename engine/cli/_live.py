"""Shows a solve while it runs: a live table on a terminal, plain lines in a pipe. Shared by `solve` and the demo."""

from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text
from thresher.v1 import solve_pb2

from engine.cli._view import SolveView, sample_words

_BRANCHES_SHOWN = 8
_CANDIDATES_SHOWN = 12
_STYLES = {"passed": "bold green", "skipped": "dim", "sandbox failure": "bold magenta", "": "yellow"}


class SolveDisplay:
    """Use as a context manager around the loop over the events, and give it each event."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.view = SolveView()
        self._console = console
        self._quiet = quiet
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=8, vertical_overflow="crop")
        self._drawing = console.is_terminal and not quiet

    def handle(self, event: solve_pb2.SolveEvent) -> None:
        """Takes one event in and shows it."""
        line = self.view.apply(event)
        if line and not self._drawing and not self._quiet:
            self._console.print(f"[{self.view.elapsed:7.2f}s] {line}", markup=False, highlight=False, soft_wrap=True)

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
        view = self.view
        parts: list[RenderableType] = [self._headline(view)]
        if candidates := list(view.candidates.items()):
            table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
            for name in ("candidate", "samples", "tokens", "verdict", "tests", ""):
                table.add_column(name, no_wrap=True, overflow="ellipsis")
            shown = [item for item in candidates if item[1].verdict == "passed"]
            others = [item for item in candidates if item[1].verdict != "passed"]
            for index, candidate in sorted(shown + others[-max(0, _CANDIDATES_SHOWN - len(shown)) :]):
                style = _STYLES.get(candidate.verdict, "red")
                tests = f"{candidate.tests_passed}/{candidate.tests_total}" if candidate.verdict else ""
                verdict = Text(candidate.verdict or "running", style=style)
                samples, tokens = sample_words(list(candidate.samples)).partition(" ")[2], str(candidate.tokens)
                table.add_row(str(index), samples, tokens, verdict, tests, Text(candidate.message, style="dim"))
            parts.append(table)
        if branches := list(view.branches.items()):
            table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
            for name in ("branch", "samples", "tokens", "text"):
                table.add_column(name, no_wrap=True, overflow="ellipsis")
            for index, branch in branches[:_BRANCHES_SHOWN]:
                lines = [line for line in branch.tail.splitlines() if line.strip()]
                samples = sample_words(list(branch.samples)).partition(" ")[2]
                table.add_row(str(index), samples, str(branch.tokens), Text(lines[-1] if lines else "", style="cyan"))
            if len(branches) > _BRANCHES_SHOWN:
                table.add_row("…", f"{len(branches) - _BRANCHES_SHOWN} more", "", "")
            parts.append(table)
        return Group(*parts)

    def _headline(self, view: SolveView) -> Text:
        if not view.model:
            return Text("waiting for the server", style="dim")
        judged = sum(1 for candidate in list(view.candidates.values()) if candidate.verdict)
        pruned = view.branches_ended.get("pruned", 0)
        given_up = f", {pruned} given up" if pruned else ""
        words = [
            f"{view.model}, tier {view.tier}" if view.tier else view.model,
            f"{view.elapsed:.1f} s",
            f"{len(view.branches)} of {view.branches_started} branches live{given_up}",
            f"{len(view.candidates)} candidates, {judged} judged",
            f"seed {view.seed}",
        ]
        return Text(" · ".join(words), style="bold")
