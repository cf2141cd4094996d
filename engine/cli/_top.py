"""What `thresher top` shows: figures of a server from two scrapes, and how they look."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.exposition import Book, Key, grown, quantile, total
from engine.metric_words import WASTE

_DRAWN_FOR_NOTHING = [reason for reason in WASTE if reason != "preempted"]
_BAR = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """One model. Rates are of a second, over the window; None where nothing was counted in it. waste: share of the
    tokens of solves that ended; tokens_per_row: what sharing brings."""

    model: str
    running: int
    waiting: int
    solved_rate: float
    ended_rate: float
    pass_median: float | None
    pass_90: float | None
    rows: int
    row_rate: float
    tokens_per_row: float | None
    step_median: float | None
    pages_used: float
    pages_shared: int
    waste: float | None
    drafts_accepted: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A server. window: seconds that the rates are of; 0 with the first scrape. branches: that end, by outcome."""

    window: float
    models: tuple[ModelFigures, ...]
    branches: Mapping[str, float]
    slots: Mapping[str, int]
    queue: int
    programs_rate: float
    passed_rate: float
    program_wait_90: float | None
    faults: int
    calls_rate: float
    lag_99: float | None

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


class History:
    """Scrapes of the last `seconds`; rates are between the oldest and the newest of them, since the server's last
    start."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._books: deque[tuple[float, Book]] = deque()

    def add(self, book: Book, now: float | None = None) -> Figures:
        """Take a scrape in; the figures with it."""
        now = time.monotonic() if now is None else now
        if self._books and _began_again(self._books[-1][1], book):
            self._books.clear()
        self._books.append((now, book))
        while len(self._books) > 2 and now - self._books[0][0] > self._seconds:
            self._books.popleft()
        then, before = self._books[0]
        return _figures(grown(before, book), book, now - then)


def _began_again(before: Book, after: Book) -> bool:
    """Counters never fall but where a server starts anew."""
    return any(after.get(series, 0.0) < value for series, value in before.items() if series[0].endswith("_total"))


def _figures(growth: Mapping[Key, float], book: Mapping[Key, float], window: float) -> Figures:
    def rate(name: str, **labels: str) -> float:
        return total(growth, name, **labels) / window if window else 0.0

    outcomes = sorted({dict(labels)["outcome"] for name, labels in growth if name == "thresher_branches_total"})
    states = ("busy", "idle", "starting")
    models = sorted({dict(labels)["model"] for name, labels in book if name == "thresher_solves_running"})
    return Figures(
        window=window,
        models=tuple(_model(name, growth, book, window) for name in models),
        branches={word: found for word in outcomes if (found := rate("thresher_branches_total", outcome=word))},
        slots={state: round(total(book, "thresher_executor_slots", state=state)) for state in states},
        queue=round(total(book, "thresher_executor_queue_depth")),
        programs_rate=rate("thresher_verdicts_total"),
        passed_rate=rate("thresher_verdicts_total", verdict="passed"),
        program_wait_90=quantile(growth, 0.9, "thresher_executor_queue_seconds"),
        faults=round(total(book, "thresher_sandbox_faults_total")),
        calls_rate=rate("thresher_grpc_requests_total"),
        lag_99=quantile(growth, 0.99, "thresher_event_loop_lag_seconds"),
    )


def _model(model: str, growth: Mapping[Key, float], book: Mapping[Key, float], window: float) -> ModelFigures:
    def more(name: str, **labels: str) -> float:
        return total(growth, f"thresher_{name}", model=model, **labels)

    def now(name: str) -> float:
        return total(book, f"thresher_{name}", model=model)

    def share(part: float, whole: float) -> float | None:
        return part / whole if whole else None

    tokens, rows = more("generated_tokens_total"), more("rows_computed_total")
    drafted = more("draft_tokens_total")
    return ModelFigures(
        model=model,
        running=round(now("solves_running")),
        waiting=round(now("solves_waiting")),
        solved_rate=more("solves_total", outcome="solved") / window if window else 0.0,
        ended_rate=more("solves_total") / window if window else 0.0,
        pass_median=quantile(growth, 0.5, "thresher_time_to_first_pass_seconds", model=model),
        pass_90=quantile(growth, 0.9, "thresher_time_to_first_pass_seconds", model=model),
        rows=round(now("batch_rows")),
        row_rate=rows / window if window else 0.0,
        tokens_per_row=share(tokens, rows),
        step_median=quantile(growth, 0.5, "thresher_step_seconds", model=model),
        pages_used=now("kv_cache_usage_ratio"),
        pages_shared=round(now("kv_pages_shared")),
        waste=share(sum(more("wasted_tokens_total", reason=reason) for reason in _DRAWN_FOR_NOTHING), tokens),
        drafts_accepted=share(more("draft_tokens_total", result="accepted"), drafted),
    )


def picture(server: str, found: Figures, gone: str = "") -> RenderableType:
    """The figures for a terminal; `gone`: why they are old ones."""
    head = Text(server, style="bold")
    head.append(f" · {found.calls_rate:.1f} calls/s · over the last {found.window:.0f} s", style="dim")
    if gone:
        head.append(f"\n{gone}", style="bold red")
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    table.add_column("")
    for one in found.models:
        table.add_column(one.model, style="bold", justify="right")
    rows: dict[str, Callable[[ModelFigures], str]] = {
        "solves running, waiting": lambda one: f"{one.running}, {one.waiting}",
        "goodput: solved a second": lambda one: f"{one.solved_rate:.2f} of {one.ended_rate:.2f}",
        "time to first pass, 50 %, 90 %": lambda one: f"{_seconds(one.pass_median)}, {_seconds(one.pass_90)}",
        "rows in the last step": lambda one: f"{one.rows}",
        "rows a second": lambda one: f"{one.row_rate:.0f}",
        "tokens for each row": lambda one: _number(one.tokens_per_row),
        "step, 50 %": lambda one: _seconds(one.step_median),
        "pages used": lambda one: f"{_bar(one.pages_used)} {one.pages_used:.0%}",
        "pages shared": lambda one: f"{one.pages_shared}",
        "waste": lambda one: _percent(one.waste),
        "drafts accepted": lambda one: _percent(one.drafts_accepted),
    }
    for name, say in rows.items():
        table.add_row(name, *(say(one) for one in found.models))
    slots = sum(found.slots.values())
    busy = found.slots["busy"]
    sandbox = Text(f"sandbox  {_bar(busy / slots if slots else 0.0)} {busy} of {slots} slots busy")
    sandbox.append(
        f" · {found.queue} wait ({_seconds(found.program_wait_90)}, 90 %) · "
        f"{found.programs_rate:.1f} programs/s, {found.passed_rate:.1f} pass"
    )
    if found.faults:
        sandbox.append(f" · {found.faults} faults", style="bold red")
    ended = ", ".join(f"{rate:.1f} {word}" for word, rate in sorted(found.branches.items(), key=lambda item: -item[1]))
    branches = Text(f"branches that end, a second  {ended or 'none'}")
    lag = Text(f"front's delay, 99 %  {_seconds(found.lag_99)}")
    return Group(head, Text(), table, Text(), sandbox, branches, lag)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _bar(share: float) -> str:
    full = round(_BAR * min(1.0, max(0.0, share)))
    return "█" * full + "░" * (_BAR - full)
