"""Problem sets of one's own: the documented schema, strictly read."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.problem_rows import lines, put

from benchmarks.data import DataDamaged, Record, UnknownSet, load

ADD: dict[str, Any] = {"id": "add", "text": "Add two numbers.", "visible": ["assert add(1, 2) == 3"]}


def test_every_field_of_a_record_can_be_given(tmp_path: Path) -> None:
    row: dict[str, Any] = {
        "id": "add",
        "text": "Add two numbers.",
        "stub": "def add(a, b):\n",
        "entry_point": "add",
        "setup_code": "import math",
        "visible": ["assert add(1, 2) == 3"],
        "held_out": [{"call": {"args": [2, 2], "expected": 4}}],
        "quotable": False,
        "references": ["def add(a, b):\n    return a + b\n"],
        "split": "test",
        "facts": {"difficulty": "easy"},
    }
    (record,) = load(str(put(tmp_path, "mine.jsonl", row))).records
    lists = {key: tuple(row[key]) for key in ("visible", "held_out", "references")}
    assert record == Record(**(row | lists))
    assert set(row) == set(Record.__slots__), "a field that the schema lacks"


def test_the_first_line_may_say_what_the_set_is(tmp_path: Path) -> None:
    about = {"title": "Mine", "version": "2", "licence": "CC0-1.0", "url": "https://example.org", "shippable": True}
    data = load(str(put(tmp_path, "mine.jsonl.gz", {"set": about}, ADD)))
    origin = data.origin
    assert (origin.name, origin.title, origin.licence, origin.url) == ("mine", "Mine", "CC0-1.0", about["url"])
    assert origin.shippable and origin.version.startswith("2 sha256:") and len(data.records) == 1
    bare = load(str(put(tmp_path, "mine.jsonl", ADD))).origin
    assert (bare.title, bare.licence, bare.shippable) == ("mine", "not stated", False)
    assert bare.version.startswith("sha256:")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "a", "text": "x", "test": []}, r"line 2: test: unknown key; did you mean text\?"),
        ({"id": 5, "text": "x"}, "line 2: id: expected a text, found int '5'"),
        ({"text": "x"}, "line 2: id: missing"),
        ({"id": "a"}, "line 2: text: missing"),
        ({"id": "a", "text": "x", "visible": "assert 1"}, "line 2: visible: expected a list"),
        ({"id": "a", "text": "x", "visible": [1]}, r"line 2: visible\[0\]: expected a text or a mapping, found int"),
        ({"id": "a", "text": "x", "references": [{}]}, r"line 2: references\[0\]: expected a text, found dict"),
        ({"set": {"title": "late"}}, "line 2: set: unknown key|line 2: id: missing"),
        ({"id": "add", "text": "x"}, "1 ids are there twice, such as add"),
    ],
)
def test_what_is_wrong_is_named_with_the_line(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(lines(ADD, row))
    with pytest.raises(DataDamaged, match=words):
        load(str(path))


def test_a_wrong_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    for header in ({"set": {"name": "x"}}, {"set": {"title": "x"}, "id": "y"}, {"set": "x"}):
        path.write_text(json.dumps(header))
        with pytest.raises(DataDamaged, match="line 1"):
            load(str(path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownSet, match=r"mine\.jsonl is no file"):
        load(str(tmp_path / "mine.jsonl"))
