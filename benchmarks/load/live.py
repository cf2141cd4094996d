"""The line that says how a run goes: drawn anew on a terminal, every few seconds a plain one in a pipe."""

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text
from thresher.v1 import info_service_pb2

from benchmarks.load.calls import FAILED, Answer
from benchmarks.load.histogram import Latencies

_PLAIN_SECONDS = 10.0


class LiveLine:
    """Give it each answer and each look at the server's load; everything goes to standard error."""

    def __init__(self, title: str, slo: float, console: Console | None = None) -> None:
        self._title = title
        self._slo = slo
        self._ends: Counter[str] = Counter()
        self._in_time = 0
        self._latencies = Latencies()
        self._made = 0
        self._load: info_service_pb2.GetLoadResponse | None = None
        self._began = self._told = time.monotonic()
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(get_renderable=self._line, console=self._console, refresh_per_second=4, transient=True)

    def answer(self, answer: Answer) -> None:
        """A call has ended."""
        self._ends[answer.end] += 1
        self._in_time += answer.within(self._slo)
        if answer.end == "solved" and answer.pass_seconds is not None:
            self._latencies.add(answer.pass_seconds)

    def look(self, made: int, load: info_service_pb2.GetLoadResponse | None) -> None:
        """So many calls were made so far, and this is what the server says of itself, if it does."""
        self._made, self._load = made, load
        if not self._console.is_terminal and time.monotonic() - self._told >= _PLAIN_SECONDS:
            self._told = time.monotonic()
            self._console.print(self._line(), soft_wrap=True)

    def __enter__(self) -> Self:
        self._began = self._told = time.monotonic()
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._console.print(self._line(), soft_wrap=True)

    def _line(self) -> Text:
        ended = self._ends.total()
        text = Text(f"{self._title}  ", style="bold")
        text.append(f"{time.monotonic() - self._began:.0f} s  ", style="dim")
        text.append(f"{self._made} calls, {self._made - ended} open; {self._ends['solved']} solved", style="default")
        if ended:
            text.append(f", {100 * self._in_time / ended:.0f} % in time")
        if failed := self._ends[FAILED]:
            text.append(f", {failed} failed", style="red")
        median, tail = self._latencies.at(50), self._latencies.at(99)
        if median is not None and tail is not None:
            text.append(f"  first pass p50 {median:.2f} s, p99 {tail:.2f} s", style="default")
        if self._load is not None:
            busy = f"  server: {self._load.solves_running} running, {self._load.solves_waiting} waiting"
            text.append(f"{busy}, {self._load.tokens_per_second:.0f} rows/s", style="dim")
        return text
