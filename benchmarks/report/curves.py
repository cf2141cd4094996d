"""Curves with bands as SVG; each curve is named at its end, so that no legend has to be read."""

from collections.abc import Sequence

from benchmarks.report.marks import (
    apart,
    element,
    linear,
    log_ticks,
    logarithmic,
    named_short,
    number,
    round_ticks,
    short,
    svg,
)
from benchmarks.report.page import Curve, Curves

WIDTH, HEIGHT = 760.0, 390.0
COLOURS = 6
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 150.0, 30.0, 48.0
_LINE = 15.0
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "12 4")


def draw(plot: Curves, name: str) -> str:
    """The picture. name: unique on the page."""
    xs = [x for curve in plot.curves for x in curve.x]
    low, high = min(xs), max(xs)
    scale = logarithmic if plot.log_x and low > 0 and high > low else linear
    x = scale(low, high, _LEFT, WIDTH - _RIGHT)
    drawn = [y for curve in plot.curves for y in (*curve.y, *(() if plot.crowded else curve.high))]
    top = _ceiling(drawn)
    bottom = _floor(drawn) if plot.crowded else 0.0
    y = linear(bottom, top, HEIGHT - _BOTTOM, _TOP)
    parts: list[str] = []
    for value in round_ticks(bottom, top, 5):
        at = y(value)
        parts.append(element("line", {"class": "grid", "x1": _LEFT, "x2": WIDTH - _RIGHT, "y1": at, "y2": at}))
        tick = {"class": "tick end", "x": _LEFT - 8, "y": at + 4}
        parts.append(element("text", tick, text=f"{100 * value:g} %"))
    ticks = log_ticks(low, high) if scale is logarithmic else round_ticks(low, high, 8)
    for value in ticks:
        at = x(value)
        ends = {"class": "axis", "x1": at, "x2": at, "y1": HEIGHT - _BOTTOM, "y2": HEIGHT - _BOTTOM + 5}
        parts.append(element("line", ends))
        parts.append(element("text", {"class": "tick middle", "x": at, "y": HEIGHT - _BOTTOM + 20}, text=short(value)))
    base = {"class": "axis", "x1": _LEFT, "x2": WIDTH - _RIGHT, "y1": HEIGHT - _BOTTOM, "y2": HEIGHT - _BOTTOM}
    parts.append(element("line", base))
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(element("text", {"class": "label middle", "x": middle, "y": HEIGHT - 8}, text=plot.x_label))
    parts.append(element("text", {"class": "label", "x": _LEFT, "y": 14}, text=plot.y_label))
    points = [[(x(a), y(b)) for a, b in zip(curve.x, curve.y, strict=True)] for curve in plot.curves]
    for index, curve in enumerate(plot.curves):
        if curve.low and curve.high and not plot.crowded:
            edge = [(x(a), y(b)) for a, b in zip(curve.x, curve.high, strict=True)]
            edge += [(x(a), y(b)) for a, b in reversed(list(zip(curve.x, curve.low, strict=True)))]
            parts.append(element("polygon", {"class": f"band s{index % COLOURS}", "points": _points(edge)}))
    for index, (curve, line) in enumerate(zip(plot.curves, points, strict=True)):
        parts += _line(curve, line, index)
    parts += _names(plot.curves, points)
    return svg(name, plot.title, plot.says, WIDTH, HEIGHT, *parts)


def _line(curve: Curve, line: Sequence[tuple[float, float]], index: int) -> list[str]:
    kind = f"curve s{index % COLOURS}" + (" fit" if curve.dashed else "")
    # Also without colour a curve can be told from the others.
    dash = "" if curve.dashed else _DASHES[index % len(_DASHES)]
    drawn = [
        element("polyline", {"class": kind, "points": _points(line), **({"stroke-dasharray": dash} if dash else {})})
    ]
    if not curve.dashed and len(line) <= 24:
        drawn += [element("circle", {"class": f"dot s{index % COLOURS}", "cx": a, "cy": b, "r": 2.6}) for a, b in line]
    return drawn


def _names(curves: Sequence[Curve], points: Sequence[Sequence[tuple[float, float]]]) -> list[str]:
    places = apart([line[-1][1] for line in points], _LINE, _TOP, HEIGHT - _BOTTOM - 4)
    named: list[str] = []
    for index, (curve, line, place) in enumerate(zip(curves, points, places, strict=True)):
        end_x, end_y = line[-1]
        leader = {"class": f"leader s{index % COLOURS}", "x1": end_x + 3, "y1": end_y, "x2": end_x + 14, "y2": place}
        named.append(element("line", leader))
        said = {"class": f"name s{index % COLOURS}", "x": end_x + 18, "y": place + 4}
        named.append(element("text", said, text=named_short(curve.name)))
    return named


def _points(line: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{number(a)},{number(b)}" for a, b in line)


def _ceiling(values: Sequence[float]) -> float:
    """The lowest tenth above all values; never less than a tenth, never more than one."""
    most = max(values, default=0.0)
    return min(1.0, max(0.1, -(-round(most * 1000) // 100) / 10))


def _floor(values: Sequence[float]) -> float:
    """The highest tenth below all values; a tenth below the top at least."""
    return max(0.0, min(round(min(values) * 1000) // 100 / 10, _ceiling(values) - 0.1))
