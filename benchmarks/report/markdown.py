"""A page as Markdown: the same words and numbers, plots as tables."""

from benchmarks.report.numbers import flat, of_bars, of_curves, of_strips
from benchmarks.report.page import Bars, Block, Curves, Figures, Page, ProblemTable, Strips, Table, Text


def markdown(page: Page) -> str:
    """The whole page."""
    lines = [f"# {page.title}", "", page.lead, ""]
    if page.warning:
        lines += [f"**{page.warning}**", ""]
    for block in page.blocks:
        lines += _block(block)
    lines += ["## Protocol", "", f"Fingerprint: `{page.fingerprint}`", "", "| | |", "| --- | --- |"]
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in flat(page.protocol)]
    lines += ["", "## Made by", "", "| | |", "| --- | --- |"]
    lines += [f"| {_cell(name)} | {_cell(value)} |" for name, value in flat(page.provenance)]
    return "\n".join(lines) + "\n"


def headline(page: Page) -> str:
    """What a command line says of a result: the numbers that stand out, or why there are none."""
    if page.warning:
        return f"{page.title}: {page.warning}"
    figures = [figure for block in page.blocks if isinstance(block, Figures) for figure in block.figures]
    width = max((len(figure.label) for figure in figures), default=0)
    lines = [
        f"{figure.label.ljust(width)}  {figure.value}" + (f"  ({figure.note})" if figure.note else "")
        for figure in figures
    ]
    return "\n".join([f"{page.title}: {page.lead}", *lines])


def _block(block: Block) -> list[str]:
    match block:
        case Figures():
            rows = [f"| {_cell(one.label)} | {_cell(one.value)} | {_cell(one.note)} |" for one in block.figures]
            return ["| | | |", "| --- | --- | --- |", *rows, ""]
        case Text():
            return [f"## {block.title}", "", *(line for one in block.paragraphs for line in (one, ""))]
        case Table():
            return [f"## {block.title}", "", *_note(block.note), *_table(block), ""]
        case Curves():
            return [f"## {block.title}", "", block.says, "", *_table(of_curves(block)), "", *_note(block.note)]
        case Bars():
            return [f"## {block.title}", "", block.says, "", *_table(of_bars(block)), "", *_note(block.note)]
        case Strips():
            return [f"## {block.title}", "", block.says, "", *_table(of_strips(block)), "", *_note(block.note)]
        case ProblemTable():
            rows = tuple((row.id, *(_verdicts(verdicts) for verdicts in row.verdicts)) for row in block.rows)
            table = Table(title="", head=("problem", *block.arms), rows=rows, align="l" * (1 + len(block.arms)))
            return [f"## {block.title}", "", *_note(block.note), *_table(table), ""]


def _verdicts(verdicts: "dict[str, int] | object") -> str:
    counts: dict[str, int] = dict(verdicts)  # type: ignore[call-overload]
    return ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in counts.items())


def _table(table: Table) -> list[str]:
    ruler = " | ".join("---:" if letter == "r" else "---" for letter in table.align)
    head = " | ".join(_cell(name) for name in table.head)
    return [f"| {head} |", f"| {ruler} |", *(f"| {' | '.join(map(_cell, row))} |" for row in table.rows)]


def _note(note: str) -> list[str]:
    return [note, ""] if note else []


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
