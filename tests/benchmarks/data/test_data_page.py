"""docs/data.md: its examples run and print what stands below them; its tables say what the registry says."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.data import SETS, Record
from benchmarks.data.command import app

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's own problems, to work in."""
    (content,) = blocks("jsonl")
    (tmp_path / "mine.jsonl").write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.sandbox
def test_the_commands_about_ones_own_problems(mine: Path) -> None:
    ((commands, printed),) = re.findall(r"^```sh\n([^`]*)```\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    lines = commands.splitlines()
    assert len(lines) == 2
    results = [CliRunner().invoke(app, line.removeprefix("thresher data ").split()) for line in lines]
    assert [result.exit_code for result in results] == [0, 0]
    assert "".join(result.stdout for result in results) == printed


def test_the_first_commands_are_ones(data_folder: Path) -> None:
    first = blocks("sh")[0].splitlines()
    assert len(first) == 4
    for line in first[:2]:
        words = line.split("#")[0].split()
        assert words[:2] == ["thresher", "data"]
        assert CliRunner().invoke(app, words[2:]).exit_code == 0, line
    assert all(SETS[name] for name in re.findall(r"validate (\w+)", "\n".join(first)))


@pytest.mark.sandbox
def test_the_examples_in_python(mine: Path) -> None:
    examples = re.findall(r"^```python\n([^`]*)```\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(examples) == len(blocks("python")) == 2
    for code, wanted in examples:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "data.md", "exec"), {})  # noqa: S102
        assert printed.getvalue() == wanted


def rows(heading: str) -> dict[str, list[str]]:
    table = PAGE.split(heading, 1)[1].split("\n\n", 1)[0].strip()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[1:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_tables_are_those_of_the_registry() -> None:
    about = rows("| name | what | visible tests | held-out tests | licence |")
    assert list(about) == list(SETS)
    for name, (what, _, _, licence) in about.items():
        number = re.search(r"\(([\d,]+)\)", what)
        assert (int(number.group(1).replace(",", "")) if number else 0) == SETS[name].problems, name
        assert licence.split(";")[0].split(" ")[0] == SETS[name].licence.split(";")[0].split(" ")[0], name
        assert ("texts" in licence) == (not SETS[name].shippable), name
    files = rows("| name | files |")
    assert list(files) == list(SETS)
    for name, (text,) in files.items():
        shown = re.findall(r"`([^`]+)`", text)
        expected = set(SETS[name].files)
        assert set(shown) == (
            expected - {"apps/t*.jsonl"} | {"apps/train.jsonl", "apps/test.jsonl"} if name == "apps" else expected
        )


def test_the_schema_has_all_fields() -> None:
    assert list(rows("| key | value |")) == list(Record.__slots__)


def test_the_hub_has_the_sets_that_the_page_names() -> None:
    (sentence,) = re.findall(r"The hub has (.*?);", PAGE, re.DOTALL)
    assert set(re.findall(r"`([^`]+)`", sentence)) == {name for name, entry in SETS.items() if entry.hub is not None}
