"""The numbers of a plot as a table, and a protocol as lines: for Markdown, and for who does not see the plot."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.report.marks import short
from benchmarks.report.page import Bars, Curves, Strips, Table

_MOST_ENTRIES = 24


def of_curves(plot: Curves) -> Table:
    """A row for each x of `at`, a column for each curve."""
    at = plot.at or tuple(sorted({x for curve in plot.curves for x in curve.x}))
    rows: list[tuple[str, ...]] = []
    for x in at:
        cells = [short(x)]
        for curve in plot.curves:
            if x not in curve.x:
                cells.append("")
                continue
            place = curve.x.index(x)
            band = (
                f" ({_percent(curve.low[place])} to {_percent(curve.high[place])})" if curve.low and curve.high else ""
            )
            cells.append(_percent(curve.y[place]) + band)
        rows.append(tuple(cells))
    head = (plot.x_label, *(f"{curve.name}, %" for curve in plot.curves))
    return Table(title=plot.title, head=head, rows=tuple(rows), align="r" * len(head))


def of_bars(plot: Bars) -> Table:
    """A row for each bar."""
    rows = tuple(
        (
            bar.name,
            bar.text,
            _percent(bar.share)
            + ("" if bar.low is None or bar.high is None else f" ({_percent(bar.low)} to {_percent(bar.high)})"),
        )
        for bar in plot.bars
    )
    return Table(title=plot.title, head=("", "", "%"), rows=rows, align="lrr")


def of_strips(plot: Strips) -> Table:
    """How many cells of each strip are empty, part full and full."""
    rows = tuple(
        (
            label,
            str(sum(share == 0 for share in shares if share is not None)),
            str(sum(0 < share < 1 for share in shares if share is not None)),
            str(sum(share == 1 for share in shares if share is not None)),
        )
        for label, shares in plot.rows
    )
    head = ("", "no sample passes", "some do", "all do")
    return Table(title=plot.title, head=head, rows=rows, align="lrrr")


def flat(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested values with their paths, for a person to read; of a long mapping only how many there are."""
    if isinstance(values, Mapping) and len(values) > _MOST_ENTRIES:
        yield name, f"{len(values):,} entries, in the result document"
    elif isinstance(values, Mapping):
        for key, value in values.items():
            words = str(key).replace("_", " ")
            yield from flat(value, f"{name} · {words}" if name else words)
    elif isinstance(values, Sequence) and not isinstance(values, str) and any(isinstance(v, Mapping) for v in values):
        for place, value in enumerate(values, 1):
            said = next((key for key in ("name", "set") if isinstance(value, Mapping) and key in value), None)
            if isinstance(value, Mapping) and said is not None:
                yield from flat({key: one for key, one in value.items() if key != said}, f"{name} {value[said]}")
            else:
                yield from flat(value, f"{name} {place}")
    elif isinstance(values, Sequence) and not isinstance(values, str):
        yield name, ", ".join(_leaf(value) for value in values) or "none"
    else:
        yield name, _leaf(values)


def _leaf(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A stop string is white space more often than not.
    return repr(value) if isinstance(value, str) and ("\n" in value or value != value.strip()) else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
