"""Sets and problems for a person's eyes."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from benchmarks.data.record import DataSet, Record, TestDocument
from benchmarks.data.registry import ProblemSet

_MOST_LINES = 30
_LONGEST_LINE = 2000
_MOST_TESTS = 5
_LONGEST_FACT = 200


def row(entry: ProblemSet, where: str, data: DataSet | None) -> dict[str, Any]:
    """A set of the registry as JSON values. data: None where it is not here."""
    return {
        "name": entry.name,
        "title": entry.title,
        "about": entry.about,
        "records": None if data is None else len(data.records),
        "splits": None if data is None else dict(Counter(record.split for record in data.records if record.split)),
        "version": None if data is None else data.origin.version,
        "licence": entry.licence,
        "shippable": entry.shippable,
        "url": entry.url,
        "where": where,
        "note": "" if data is None else data.note,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    """What `row` gave, a line each."""
    found = Table(box=None, pad_edge=False)
    for title in ("name", "records", "splits", "version", "licence", "found"):
        whole = title in ("name", "records", "found")
        found.add_column(title, justify="right" if title == "records" else "left", no_wrap=whole)
    for one in rows:
        parts = ", ".join(f"{name} {count}" for name, count in (one["splits"] or {}).items())
        records = "" if one["records"] is None else f"{one['records']:,}"
        found.add_row(one["name"], records, parts, one["version"] or "", one["licence"], one["where"])
    return found


def problem(name: str, record: Record) -> Group:
    """A problem, long parts cut short."""
    title = f"{name}/{record.id}" + (f"  (split {record.split})" if record.split else "")
    return Group(Text(title, style="bold"), *_parts(record))


def _parts(record: Record) -> Iterator[Text]:
    yield Text(f"\n{_cut(record.text.strip())}")
    if record.entry_point:
        yield from _part("entry point", record.entry_point)
    if record.stub:
        yield from _part("begins with", record.stub)
    if record.setup_code:
        yield from _part("set-up code", record.setup_code)
    quoting = "" if record.quotable else ", never quoted in a prompt"
    yield from _tests(f"visible tests{quoting}", record.visible)
    yield from _tests("held-out tests", record.held_out)
    if record.references:
        count = len(record.references)
        yield from _part("reference" if count == 1 else f"first of {count} references", record.references[0])
    if record.facts:
        yield Text()
    for key, value in record.facts.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        short = text if len(text) <= _LONGEST_FACT else f"{len(text):,} characters (see --json)"
        yield Text.assemble((f"{key}: ", "dim"), short)


def _tests(title: str, tests: tuple[TestDocument, ...]) -> Iterator[Text]:
    if not tests:
        return
    more = f"\n... and {len(tests) - _MOST_TESTS} more (see --json)" if len(tests) > _MOST_TESTS else ""
    yield Text(f"\n{title} ({len(tests)}):", style="dim")
    yield Text("\n".join(map(_test, tests[:_MOST_TESTS])) + more)


def _test(test: TestDocument) -> str:
    if isinstance(test, str):
        return _cut(test.strip())
    if "stdio" in test:
        stdio = test["stdio"]
        return f"reads:\n{_cut(stdio.get('stdin', '').strip())}\nprints:\n{_cut(stdio.get('expected', '').strip())}"
    return _cut(json.dumps(test, ensure_ascii=False))


def _part(title: str, text: str) -> Iterator[Text]:
    yield Text(f"\n{title}:", style="dim")
    yield Text(_cut(text.rstrip()))


def _cut(text: str) -> str:
    lines = [line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}..." for line in text.splitlines()]
    if len(lines) <= _MOST_LINES:
        return "\n".join(lines)
    return "\n".join([*lines[:_MOST_LINES], f"... and {len(lines) - _MOST_LINES} lines more (see --json)"])
