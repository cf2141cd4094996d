"""Problem sets of your own: JSON lines in the schema of docs/data.md."""

from pathlib import Path
from typing import Any

from thresher.client import ProblemError
from thresher.client.reader import Reader

from benchmarks.data.errors import DataDamaged, UnknownSet
from benchmarks.data.record import DataSet, Origin, Record, TestDocument
from benchmarks.data.rows import Row, Rows

ENDINGS = (".jsonl", ".jsonl.gz")
_TEXTS = ("stub", "entry_point", "setup_code", "split")


def read_set(path: Path) -> DataSet:
    """A file of problems. Its first line may say what the set is. Raises UnknownSet and DataDamaged."""
    if not path.is_file():
        raise UnknownSet(f"{path} is no file; name a file of problems, or a set of `thresher data list`")
    rows = Rows((path,))
    header: Row = {}
    records: list[Record] = []
    for _, number, row in rows:
        try:
            if number == 1 and "set" in row:
                header = _header(row)
            else:
                records.append(_record(row))
        except ProblemError as error:
            raise DataDamaged(f"{path}, line {number}: {error}") from error
    name = path.name.removesuffix(".gz").removesuffix(".jsonl")
    origin = Origin(
        name=name,
        title=header.get("title", name),
        version=" ".join(filter(None, (header.get("version", ""), rows.version))),
        licence=header.get("licence", "not stated"),
        url=header.get("url", ""),
        shippable=header.get("shippable", False),
    )
    return DataSet(origin=origin, records=tuple(records))


def _header(row: Row) -> Row:
    outer = Reader(row)
    if (inner := outer.section("set")) is None:
        raise ProblemError("set", "missing")
    found = {key: inner.take(key, str, "") for key in ("title", "version", "licence", "url")}
    found["shippable"] = inner.take("shippable", bool, False)
    inner.done()
    outer.done()
    return {key: value for key, value in found.items() if value}


def _record(row: Row) -> Record:
    reader = Reader(row)
    found = {key: reader.take(key, str, "") for key in _TEXTS}
    record = Record(
        id=reader.take("id", str),
        text=reader.take("text", str),
        **found,
        visible=_tests(reader, "visible"),
        held_out=_tests(reader, "held_out"),
        quotable=reader.take("quotable", bool, True),
        references=tuple(_items(reader, "references", str)),
        facts=reader.take("facts", dict, {}),
    )
    reader.done()
    return record


def _tests(reader: Reader, key: str) -> tuple[TestDocument, ...]:
    return tuple(_items(reader, key, str, dict))


def _items(reader: Reader, key: str, *kinds: type) -> list[Any]:
    items: list[object] = reader.take(key, list, [])
    for index, item in enumerate(items):
        if not isinstance(item, kinds):
            wanted = "a text or a mapping" if dict in kinds else "a text"
            raise ProblemError(f"{reader.path(key)}[{index}]", f"expected {wanted}, found {type(item).__name__}")
    return items
