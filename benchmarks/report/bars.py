"""Bars, and strips of cells, as SVG."""

from benchmarks.report.marks import element, linear, named_short, number, svg
from benchmarks.report.page import Bars, Strips
from benchmarks.report.verdicts import kind_of

WIDTH = 760.0
LEVELS = 11
"""Steps of a strip's colour: a share of 0 has one of its own, and so has 1."""
_NAMES = 150.0
_VALUES = 120.0
_ROW = 26.0
_STRIP = 22.0


def draw_bars(plot: Bars, name: str) -> str:
    """The picture. name: unique on the page."""
    x = linear(0, 1, _NAMES, WIDTH - _VALUES)
    parts: list[str] = []
    for index, bar in enumerate(plot.bars):
        top = 6 + index * _ROW
        middle = top + 9
        parts.append(
            element("text", {"class": "label end", "x": _NAMES - 10, "y": middle + 4.5}, text=named_short(bar.name))
        )
        kind = f"bar v-{kind_of(bar.verdict)}" if bar.verdict else "bar"
        parts.append(
            element("rect", {"class": "trough", "x": x(0), "y": top, "width": x(1) - x(0), "height": 18, "rx": 2})
        )
        end = max(x(0) + (1.5 if bar.share > 0 else 0), x(bar.share))
        parts.append(element("rect", {"class": kind, "x": x(0), "y": top, "width": end - x(0), "height": 18, "rx": 2}))
        if bar.low is not None and bar.high is not None:
            parts += _whisker(x(bar.low), x(bar.high), middle)
        parts.append(element("text", {"class": "value", "x": x(1) + 10, "y": middle + 4.5}, text=bar.text))
    return svg(name, plot.title, plot.says, WIDTH, 12 + _ROW * len(plot.bars), *parts)


def _whisker(low: float, high: float, middle: float) -> list[str]:
    """A line with ends; what lies around it keeps it apart from the bar."""
    path = f"M{number(low)} {number(middle)}H{number(high)}"
    path += "".join(f"M{number(end)} {number(middle - 4)}v8" for end in (low, high))
    return [element("path", {"class": kind, "d": path}) for kind in ("halo", "whisker")]


def draw_strips(plot: Strips, name: str) -> str:
    """The picture: one path for each level of a strip, so that a thousand problems stay small."""
    cells = max((len(shares) for _, shares in plot.rows), default=0)
    x = linear(0, max(1, cells), _NAMES, WIDTH - 20)
    parts: list[str] = []
    for index, (label, shares) in enumerate(plot.rows):
        top = 4 + index * (_STRIP + 6)
        parts.append(element("text", {"class": "label end", "x": _NAMES - 10, "y": top + 15}, text=named_short(label)))
        levels: dict[str, list[str]] = {}
        for cell, share in enumerate(shares):
            width = number(x(cell + 1) - x(cell))
            box = f"M{x(cell):.2f} {number(top)}h{width}v{number(_STRIP)}h-{width}z"
            levels.setdefault(level(share), []).append(box)
        parts += [element("path", {"class": f"cell {kind}", "d": "".join(boxes)}) for kind, boxes in levels.items()]
    bottom = 4 + len(plot.rows) * (_STRIP + 6)
    parts += _key(bottom + 10)
    return svg(name, plot.title, plot.says, WIDTH, bottom + 34, *parts)


def level(share: float | None) -> str:
    """The class of a share: l0 only for 0, l10 only for 1, none where there is nothing."""
    if share is None:
        return "none"
    if share <= 0:
        return "l0"
    if share >= 1:
        return f"l{LEVELS - 1}"
    return f"l{min(LEVELS - 2, max(1, round(share * (LEVELS - 1))))}"


def _key(top: float) -> list[str]:
    parts = [element("text", {"class": "tick end", "x": _NAMES - 10, "y": top + 11}, text="never")]
    for index in range(LEVELS):
        box = {"class": f"cell l{index}", "x": _NAMES + index * 14, "y": top, "width": 14, "height": 14}
        parts.append(element("rect", box))
    said = {"class": "tick", "x": _NAMES + LEVELS * 14 + 10, "y": top + 11}
    return [*parts, element("text", said, text="every sample passes")]
