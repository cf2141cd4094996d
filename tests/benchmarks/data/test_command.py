"""`thresher data`: the table, one problem, and checking sets."""

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from support.problem_rows import humaneval_row, mbpp_row, put
from typer.testing import CliRunner

from benchmarks.data import SETS
from benchmarks.data.command import app

from .conftest import Places

WRONG = {"id": "wrong", "text": "x", "visible": ["assert f(1) == 1"], "references": ["def f(x):\n    return 2\n"]}


def run(*words: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_is_found_by_its_entry_point() -> None:
    (point,) = entry_points(group="thresher.commands", name="data")
    assert point.load() is app


def test_list_shows_what_is_where(places: Places) -> None:
    put(places.given, "mbpp/mbpp.jsonl", mbpp_row(1), mbpp_row(2), mbpp_row(11))
    put(places.cache, "humaneval/HumanEval.jsonl.gz", humaneval_row())
    put(places.named, "cruxeval/cruxeval.jsonl", {"id": "sample_0"})
    code, out, _ = run("list", "--data", places.given)
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert all(name in rows for name in SETS)
    assert rows["mbpp"].split()[1:6] == ["3", "prompt", "2,", "test", "1"] and rows["mbpp"].rstrip().endswith("--data")
    assert "CC BY 4.0" in rows["mbpp"] and "sha256:" in rows["mbpp"]
    assert rows["humaneval"].rstrip().endswith("cache") and rows["leetcode"].rstrip().endswith("not here")
    assert "damaged: see `thresher data validate cruxeval`" in rows["cruxeval"]
    assert not any(str(folder) in out for folder in (places.given, places.named, places.cache))


def test_list_as_json(places: Places) -> None:
    put(places.given, "mbpp/mbpp.jsonl", mbpp_row(1), mbpp_row(2))
    code, out, _ = run("list", "--data", places.given, "--json")
    rows = {row["name"]: row for row in json.loads(out)["sets"]}
    assert code == 0 and list(rows) == list(SETS)
    mbpp = rows["mbpp"]
    assert (mbpp["records"], mbpp["splits"], mbpp["where"]) == (2, {"prompt": 2}, "--data")
    assert mbpp["shippable"] is True and mbpp["note"] == "2 of 974 problems are here."
    assert rows["apps"]["records"] is None and rows["apps"]["where"] == "not here"


def test_a_folder_that_is_none(places: Places) -> None:
    for command in (("list",), ("validate",), ("show", "mbpp/1")):
        code, _, err = run(*command, "--data", places.given / "nowhere")
        assert code == 3 and "is no folder" in err


def test_show_prints_a_problem(places: Places) -> None:
    row = mbpp_row(20, challenge_test_list=["assert double(9) == 18"], test_setup_code="import math")
    put(places.named, "mbpp/mbpp.jsonl", row)
    code, out, _ = run("show", "mbpp/20")
    assert code == 0
    for words in (
        "mbpp/20  (split test)",
        "Write a function to double a number.",
        "visible tests (3):\nassert double(1) == 2\n",
        "held-out tests (1):\nassert double(9) == 18",
        "import math",
        "def double(x):",
        "Licence: CC BY 4.0",
        "1 of 974 problems are here.",
    ):
        assert words in out


def test_show_as_json_has_everything(places: Places) -> None:
    put(places.named, "humaneval/HumanEval.jsonl", humaneval_row())
    code, out, _ = run("show", "humaneval/HumanEval/0", "--json")
    found = json.loads(out)
    assert code == 0 and found["origin"]["licence"] == "MIT"
    assert found["record"]["stub"] == humaneval_row()["prompt"]
    assert found["record"]["facts"]["examples"] == ["assert half(3) == 1.5"]


def test_show_cuts_what_is_long(tmp_path: Path) -> None:
    tests: list[Any] = [{"stdio": {"stdin": "1\n" * 100, "expected": "1\n"}}] * 9
    path = put(tmp_path, "mine.jsonl", {"id": "a/b", "text": "x", "visible": tests, "facts": {"long": "y" * 500}})
    code, out, _ = run("show", f"{path}/a/b")
    assert code == 0 and "mine/a/b" in out
    assert "... and 4 more (see --json)" in out and "lines more (see --json)" in out
    assert "long: 500 characters" in out


def test_show_says_what_it_cannot_find(places: Places) -> None:
    put(places.named, "mbpp/mbpp.jsonl", mbpp_row(20), mbpp_row(21))
    assert run("show", "mbpp")[::2] == (2, "thresher: 'mbpp' names no problem; say mbpp/ID\n")
    assert run("show", "mbpp/")[0] == 2
    code, _, err = run("show", "mbpp/22")
    assert code == 2 and "mbpp has no problem '22' here; near it are" in err
    assert run("show", "nosuch/1")[0] == 2
    code, _, err = run("show", "leetcode/1")
    assert code == 3 and "leetcode is not here. Looked in:" in err


def test_validate_all_that_is_here(places: Places) -> None:
    put(places.named, "mbpp/mbpp.jsonl", mbpp_row(1))
    put(places.named, "humaneval/HumanEval.jsonl", humaneval_row())
    assert run("validate") == (0, "mbpp: 1 records, good\nhumaneval: 1 records, good\n", "")
    code, out, _ = run("validate", "mbpp", "--json")
    (result,) = json.loads(out)["sets"]
    assert (code, result["faults"], result["references"]) == (0, [], None)


def test_validate_without_any_set(places: Places) -> None:
    code, _, err = run("validate")
    assert code == 3 and "no set is here" in err


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"visible": ["assert f("]}, r"wrong: visible[0]: not Python"),
        ({"held_out": [{"stdio": {}}]}, r"wrong: held_out[0].stdio.expected: missing"),
        ({"visible": [], "references": []}, "wrong: visible: no test, and none is held out"),
        ({"setup_code": "import"}, "wrong: setup_code: not Python"),
        ({"entry_point": "a.b"}, "wrong: entry_point: 'a.b' is not a Python name"),
        ({"references": [" "]}, "wrong: references: one is empty"),
        ({"text": " "}, "wrong: text: is empty"),
        ({"id": ""}, "id: is empty"),
    ],
)
def test_validate_names_each_fault(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    path = put(tmp_path, "mine.jsonl", WRONG | row)
    code, out, _ = run("validate", path)
    assert code == 1 and "faults: 1\n" in out and words in out


def test_validate_reports_a_file_that_cannot_be_read(places: Places) -> None:
    put(places.named, "mbpp/mbpp.jsonl", {"task_id": 1})
    code, out, _ = run("validate", "mbpp")
    assert code == 1 and "lacks 'text'" in out


def test_validate_finds_an_empty_set(tmp_path: Path) -> None:
    code, out, _ = run("validate", put(tmp_path, "mine.jsonl"))
    assert code == 1 and "the set is empty" in out


@pytest.mark.sandbox
def test_validate_runs_the_references(places: Places) -> None:
    put(places.named, "mbpp/mbpp.jsonl", mbpp_row(1), mbpp_row(2, challenge_test_list=["assert double(5) == 10"]))
    code, out, _ = run("validate", "mbpp", "--references")
    assert (code, out) == (0, "mbpp: 2 records, good; references 2/2, of which with held-out tests 1/1\n")
    put(places.named, "mbpp/mbpp.jsonl", mbpp_row(1), mbpp_row(2, challenge_test_list=["assert double(5) == 11"]))
    code, out, _ = run("validate", "mbpp", "--references")
    assert code == 1
    assert out.startswith("mbpp: 2 records, good; references 1/2, of which with held-out tests 0/1\n  2: wrong_answer")


@pytest.mark.sandbox
def test_a_test_that_cannot_be_judged_is_no_fault_of_a_reference(tmp_path: Path) -> None:
    row = {**WRONG, "visible": ["assert f(lambda: 1) == 1"], "references": ["def f(x):\n    return x()\n"]}
    code, out, err = run("validate", put(tmp_path, "mine.jsonl", row), "--references")
    assert (code, out) == (3, "") and "wrong: the sandbox failed" in err and "Traceback" not in err


@pytest.mark.sandbox
def test_validate_of_own_sets_with_several_references(tmp_path: Path) -> None:
    good = {**WRONG, "id": "both", "references": ["def f(x):\n    return x\n", "def f(x):\n    return 2\n"]}
    bare = {"id": "bare", "text": "x", "visible": ["assert f(1) == 1"]}
    code, out, _ = run("validate", put(tmp_path, "mine.jsonl", good, bare), "--references", "--json")
    (result,) = json.loads(out)["sets"]
    assert code == 1 and json.loads(out)["good"] is False
    references = result["references"]
    assert (references["programs"], references["passed"]) == (2, 1)
    assert list(references["failed"]) == ["both (reference 2)"]
    code, out, _ = run("validate", put(tmp_path, "none.jsonl", bare), "--references")
    assert (code, out.endswith("good; no references\n")) == (0, True)
