"""A page as one HTML file: style and pictures inside, no scripts, nothing loaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.report import bars, curves
from benchmarks.report.numbers import flat, of_bars, of_curves, of_strips
from benchmarks.report.page import Bars, Block, Curves, Figures, Page, ProblemTable, Strips, Table, Text
from benchmarks.report.verdicts import KEY, kind_of

_FOLDER = Path(__file__).parent
_STACKED_ARMS = 2
"""So many arms have room for bars beside their counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cell:
    """A problem's samples in one arm: `passed` of all, in words, and the parts of a bar in per cent."""

    passed: str
    words: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    id: str
    cells: tuple[_Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A block that has a heading, with what the template needs of it."""

    name: str
    kind: str
    block: Block
    picture: str = ""
    numbers: Table | None = None
    rows: tuple[_Row, ...] = ()
    stacked: bool = False
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


def html(page: Page) -> str:
    """The whole file."""
    loader = jinja2.FileSystemLoader(_FOLDER)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    figures = [block for block in page.blocks if isinstance(block, Figures)]
    titled = [block for block in page.blocks if not isinstance(block, Figures)]
    return environment.get_template("page.html").render(
        page=page,
        style=(_FOLDER / "style.css").read_text(),
        figures=figures,
        sections=[_section(block, f"part-{place}") for place, block in enumerate(titled, 1)],
        key=KEY,
        protocol=list(flat(page.protocol)),
        provenance=list(flat(page.provenance)),
    )


def _section(block: Block, name: str) -> _Section:
    match block:
        case Curves():
            return _Section(
                name=name, kind="plot", block=block, picture=curves.draw(block, name), numbers=of_curves(block)
            )
        case Bars():
            picture = bars.draw_bars(block, name)
            return _Section(name=name, kind="plot", block=block, picture=picture, numbers=of_bars(block))
        case Strips():
            picture = bars.draw_strips(block, name)
            return _Section(name=name, kind="plot", block=block, picture=picture, numbers=of_strips(block))
        case ProblemTable():
            rows = tuple(_Row(id=row.id, cells=tuple(map(_cell, row.verdicts))) for row in block.rows)
            stacked = len(block.arms) <= _STACKED_ARMS
            return _Section(name=name, kind="problems", block=block, rows=rows, stacked=stacked)
        case Text():
            return _Section(name=name, kind="text", block=block)
        case _:
            return _Section(name=name, kind="table", block=block)


def _cell(verdicts: Mapping[str, int]) -> _Cell:
    total = sum(verdicts.values())
    if not total:
        return _Cell(passed="", words="not in this arm", parts=())
    counts: dict[str, int] = {}
    for verdict, count in verdicts.items():
        kind = kind_of(verdict)
        counts[kind] = counts.get(kind, 0) + count
    return _Cell(
        passed=f"{verdicts.get('passed', 0)} / {total}",
        words=", ".join(f"{verdict.replace('_', ' ')} {count}" for verdict, count in verdicts.items()),
        parts=tuple((kind, f"{100 * counts[kind] / total:.3g}") for kind, _ in KEY if kind in counts),
    )
