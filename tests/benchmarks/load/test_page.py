"""docs/load.md: every command runs in its order, the mix and the trace are read, the tables name what there is.

The commands ask a server over a scripted engine, with a mix of its texts, for a second or two.
"""

import inspect
import json
import os
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.load.command import load
from benchmarks.load.mix import mix_of, read_mix
from benchmarks.load.trace import Point, read_trace
from tests.support.load_server import ROOT, LoadServer, load_server

PAGE = (ROOT / "docs" / "load.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


COMMANDS = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
NOT_HERE = ("--set", "--problems", "--k", "--server", "--token-file", "--metrics", "--server-log")
SHORTER = {"--rate": "10", "--ramp": "5..15", "--think": "0.1", "--knee": "5..8", "--speed": "1800"}


def shorter(words: list[str], mix: Path, server: LoadServer) -> list[str]:
    """The same command for that mix and that server, over in a second or two."""
    command, *rest = words[2:]
    if command == "trace":
        return words[2:]
    found: dict[str, str] = {}
    while rest:
        option = rest.pop(0)
        found[option] = "" if option == "--measure" else rest.pop(0)
    found = {option: SHORTER.get(option, value) for option, value in found.items() if option not in NOT_HERE}
    found |= {"--mix": str(mix), "--warm-up": "0", "--seconds": "2"}
    if "--knee" in found:
        found |= {"--runs": "1", "--precision": "1", "--seconds": "1"}
    if "--measure" in found:
        found |= {"--samples": "4", "--each": "1"}
    if command == "load" or "--measure" in found:
        found |= {"--server": server.address, "--metrics": server.metrics}
    if command == "load":
        found["--server-log"] = str(server.log)
    return [command, *(word for pair in found.items() for word in pair if word)]


def test_every_command_of_the_page_is_one_of_ours() -> None:
    assert {tuple(words[:3]) for words in COMMANDS} == {("thresher", "bench", one) for one in ("load", "plan", "trace")}
    assert len(COMMANDS) >= 11


@pytest.mark.slow
def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    problems = [{"problem_id": name, "completion": name, "tests": ["assert visible"]} for name in ("easy", "hard")]
    mix = tmp_path / "mix.yaml"
    mix.write_text(yaml.safe_dump({"mix": [{"name": "a", "problems": problems, "sampling": {"k": 4, "top_p": 1.0}}]}))
    with load_server() as server:
        for words in COMMANDS:
            run = CliRunner().invoke(app, shorter(words, mix, server))
            if "--check" in words:
                assert run.exit_code in (0, 1), run.output
                assert "solved a second: predicted" in run.output
                continue
            assert run.exit_code == 0, (words, run.output)
            if "--out" in words and words[2] != "trace":
                out = Path(words[words.index("--out") + 1])
                assert all(out.with_suffix(ending).is_file() for ending in (".json", ".md", ".html"))
        result = json.loads(Path("results/load.json").read_text())
    for path in re.findall(r"^\| `((?:clients|server|books|looks)[^|]*)` \|", PAGE, re.MULTILINE):
        for key in path.split("`, `"):
            value = result
            for part in key.split("."):
                value = value[part]


def test_the_mix_of_the_page_is_read() -> None:
    folder = os.environ.get("THRESHER_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("THRESHER_DATA does not name the folder with the problem sets")
    file = ROOT / "docs" / "examples" / "load" / "team.yaml"
    assert blocks("yaml") == [file.read_text()]
    editor, nightly = read_mix(file, Path(folder)).entries
    assert (editor.weight, editor.clients, editor.timeout, len(editor.specs)) == (4, 3, 30, 20)
    assert (nightly.weight, len(nightly.specs), nightly.specs[0].sampling.k) == (1, 10, 4)


def test_the_trace_of_the_page_is_read(tmp_path: Path) -> None:
    (text,) = blocks("json")
    file = tmp_path / "trace.jsonl"
    file.write_text(text)
    assert read_trace(file) == (Point(0.42, "editor", "HumanEval/7"), Point(1.93))


def test_the_tables_name_options_and_keys_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    options = re.findall(r"^\| `--(\w+)[^`]*` \|", PAGE, re.MULTILINE)
    assert options == ["rate", "ramp", "trace", "users", "knee"]
    assert set(options) < set(inspect.signature(load).parameters)
    table = PAGE.split("| key of an entry | value |")[1].split("\n\n")[0]
    keys = {key for line in table.splitlines() for key in re.findall(r"`(\w+)`", line.split(" | ")[0])}
    entry = {
        "name": "a",
        "weight": 2,
        "clients": 2,
        "problems": ["docs/examples/word_count.yaml"],
        "first": 0,
        "count": 1,
        "sampling": {"k": 2},
        "policy": "first_pass",
        "priority": "batch",
        "budget": {"rows": 100},
        "limits": {"cpu_seconds": 1},
        "model": "m",
        "stop_after_passes": 2,
        "timeout": 3,
        "cancel": {"share": 0.5, "after": [0, 1]},
    }
    assert keys == {*entry, "ask"}, "`ask` goes with a set"
    monkeypatch.chdir(ROOT)
    assert mix_of(entry).entries[0].problems == ("examples/word_count",)
