"""Elements of SVG and HTML as text, every value escaped; scales, and where their ticks are."""

import math
from collections.abc import Callable, Sequence
from html import escape


def element(tag: str, attributes: dict[str, str | float] | None = None, *children: str, text: str = "") -> str:
    """An element. `children` are elements already; `text` is not, and is escaped. `_` in a name stands for `-`."""
    inside = "".join(children) or escape(text)
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"' for name, value in (attributes or {}).items()
    )
    return f"<{tag}{said}>{inside}</{tag}>" if inside or tag not in _EMPTY else f"<{tag}{said}/>"


_EMPTY = ("rect", "line", "path", "circle", "polygon", "polyline")


def number(value: float) -> str:
    """A coordinate with at most one digit behind the point."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def svg(name: str, title: str, says: str, width: float, height: float, *children: str) -> str:
    """A picture that has a title and says what it shows, for who does not see it. name: unique on the page."""
    return element(
        "svg",
        {
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-desc",
            "viewBox": f"0 0 {number(width)} {number(height)}",
        },
        element("title", {"id": f"{name}-title"}, text=title),
        element("desc", {"id": f"{name}-desc"}, text=says),
        *children,
    )


def named_short(name: str) -> str:
    """A name as long as the margins of the pictures are wide; the tables below them have it whole."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


_LONGEST_NAME = 18


Scale = Callable[[float], float]


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """From values to coordinates."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """The same, even in the logarithm. low, high: above 0."""
    scale = linear(math.log(low), math.log(high), start, end)
    return lambda value: scale(math.log(value))


def round_ticks(low: float, high: float, most: int) -> list[float]:
    """At most about `most` round values within an interval."""
    raw = (high - low) / max(1, most)
    if raw <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [
        round(index * step, 12) for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... within an interval; only powers of ten where it is long."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low <= 2000 else (1,)
    found = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near as may be to the wanted ones, in the same order of height, at least `gap` from each other."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    before = low - gap
    for index in order:
        before = placed[index] = max(wanted[index], before + gap)
    after = high + gap
    for index in reversed(order):
        after = placed[index] = min(placed[index], after - gap)
    return placed


def short(value: float) -> str:
    """A number for an axis."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def _value(value: str | float) -> str:
    return escape(value, quote=True) if isinstance(value, str) else number(value)
