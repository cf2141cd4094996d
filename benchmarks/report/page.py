"""What a report is made of. Plain data: how it looks is the affair of `markdown` and `html`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number that stands out. value: as it is shown, with its unit. note: its interval, or what it counts."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Numbers beside each other, the most important first; it stands for the result on a command line."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A section of words: paragraphs, plain text."""

    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of texts. align: a letter for each column, l or r."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points of a curve, and the ends of its 95 % band where there is one. dashed: a fit, or another's figure."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Curves over a common x, each named at its end. y is a share from 0 to 1, shown in per cent.

    says: what the picture shows, in a sentence, for who does not see it. at: the x of the table below it; empty for
    all. crowded: many curves that lie close together: bands, which would hide each other, are left to the table, and
    the axis begins where the curves do.
    """

    title: str
    says: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    at: tuple[float, ...] = ()
    crowded: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar; `share` from 0 to 1. low, high: its 95 % interval, or nothing. text: what stands at its end.

    verdict: where it is about one (executor.Verdict's word), for its colour.
    """

    name: str
    share: float
    text: str
    low: float | None = None
    high: float | None = None
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Horizontal bars of shares."""

    title: str
    says: str
    bars: tuple[Bar, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strips:
    """One strip of cells for each row; a cell is a share from 0 to 1, or None where there is none."""

    title: str
    says: str
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    columns: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """A problem and, for each arm, how many of its samples came to each verdict (executor.Verdict's words)."""

    id: str
    verdicts: tuple[Mapping[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemTable:
    """All problems with their verdicts."""

    title: str
    arms: tuple[str, ...]
    rows: tuple[ProblemRow, ...]
    note: str = ""


Block = Figures | Text | Table | Curves | Bars | Strips | ProblemTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A report. lead: what was done, in a sentence or two. warning: why it is not to be quoted; empty if it may be."""

    title: str
    lead: str
    blocks: tuple[Block, ...]
    warning: str = ""
    protocol: Mapping[str, Any] = field(default_factory=dict[str, Any])
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fingerprint: str = ""
