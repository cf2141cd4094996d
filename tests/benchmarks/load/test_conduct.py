"""A whole load test by its command, against a server over a scripted engine: files, pages, exit codes, and going on."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from grpc import StatusCode
from rich.console import Console
from thresher.client import ThresherError
from typer.testing import CliRunner

from benchmarks.load.calls import Answer
from benchmarks.load.command import load
from benchmarks.load.live import LiveLine
from benchmarks.load.trace import read_trace
from benchmarks.server import Server
from tests.support.load_server import LoadServer, load_server

app = typer.Typer()
app.command()(load)


@pytest.fixture(scope="module")
def server() -> Iterator[LoadServer]:
    with load_server() as running:
        yield running


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """Results without --out go to the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    def problem(name: str) -> dict[str, Any]:
        return {"problem_id": name, "completion": name, "tests": ["assert visible"]}

    entries = [
        {"name": "editor", "weight": 3, "problems": [problem("easy"), problem("hard")], "sampling": {"k": 8}},
        {"name": "batch", "problems": [problem("race")], "policy": "all", "sampling": {"k": 4}},
    ]
    file = tmp_path / "mix.yaml"
    file.write_text(yaml.safe_dump({"mix": entries}))
    return file


def asked(server: LoadServer, *arguments: str | Path) -> Any:
    at = ["--server", server.address, "--metrics", server.metrics, "--server-log", server.log]
    return CliRunner().invoke(app, [*map(str, arguments), *map(str, at)])


def test_a_run_leaves_its_result_its_pages_and_its_calls(server: LoadServer, mix: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "run.json"
    done = asked(server, "--rate", "25", "--seconds", "2", "--warm-up", "0.5", "--mix", mix, "--out", out, "--slo", "1")
    assert done.exit_code == 0, done.output
    # On a machine too busy to call in time the last line is a warning in their place.
    words = out.with_suffix(".md").read_text() if "generator itself was late" in done.output else done.output
    assert "goodput" in words and "time to first pass" in words
    result = json.loads(out.read_text())
    assert result["books"]["agree"] is True and result["books"]["exact"] is True
    assert result["books"]["differences"] == []
    clients, server_side = result["clients"], result["server"]
    assert clients["ends"]["solved"] > 0
    assert clients["time_to_first_pass"]["p50"] <= clients["time_to_first_pass"]["p99"]
    assert server_side["generated_tokens"] > 0 and server_side["tokens_per_solved_problem"] > 0
    assert result["protocol"]["load"] == {"kind": "open loop, Poisson", "rate": 25.0, "seconds": 2.0}
    assert result["protocol"]["server"]["models"][0]["model"] == "scripted"
    calls = [json.loads(line) for line in out.with_suffix(".calls.jsonl").read_text().splitlines()]
    assert len(calls) == result["books"]["calls"]
    page = out.with_suffix(".html").read_text()
    assert "Solved by then" in page and "Two books, equal" in page and "<svg" in page
    assert "http" not in page.split("<body>")[0]
    assert "At the server" in page and {"at", "running", "waiting", "executor_queue"} < set(result["looks"][0])
    assert len(read_trace(server.log)) >= len(calls), "a server's log is a trace as well"
    assert "Two books, equal" in out.with_suffix(".md").read_text()

    again = tmp_path / "again.json"
    trace = out.with_suffix(".calls.jsonl")
    replayed = asked(server, "--trace", trace, "--speed", "2", "--warm-up", "0", "--mix", mix, "--out", again)
    assert replayed.exit_code == 0, replayed.output
    assert json.loads(again.read_text())["books"]["calls"] == len(calls)


def test_books_that_differ_are_a_failure(server: LoadServer, mix: Path, tmp_path: Path) -> None:
    """A log that lacks a solve: one whose client was told of it must be there."""
    log = tmp_path / "log"
    log.write_bytes(b"")
    out = tmp_path / "run.json"
    arguments = ["--rate", "20", "--seconds", "1", "--warm-up", "0", "--mix", mix, "--out", out]
    at = ["--server", server.address, "--metrics", server.metrics, "--server-log", log]
    done = CliRunner().invoke(app, [*map(str, arguments), *map(str, at)])
    assert done.exit_code == 3
    assert "the two books differ" in done.output and "has 0 ends of it" in done.output
    assert "do not agree" in out.with_suffix(".html").read_text(), "what there is stays, with a warning"


def test_without_metrics_nothing_is_claimed(server: LoadServer, mix: Path, tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    arguments = ["--users", "2", "--seconds", "1", "--warm-up", "0", "--mix", mix, "--out", out]
    done = CliRunner().invoke(app, [*map(str, arguments), "--server", server.address])
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())
    assert result["books"]["agree"] is None and result["server"] is None
    assert "Not compared" in out.with_suffix(".md").read_text()


def test_a_knee_search_goes_on_where_it_was(server: LoadServer, mix: Path, tmp_path: Path) -> None:
    out = tmp_path / "knee.json"
    arguments = ["--knee", "5..10", "--seconds", "1", "--warm-up", "0", "--slo", "2", "--mix", mix, "--out", out]
    arguments += ["--runs", "1", "--precision", "1"]
    done = asked(server, *arguments)
    assert done.exit_code == 0, done.output
    result = json.loads(out.read_text())
    assert result["books_agree"] is True
    runs = out.with_suffix(".runs.jsonl")
    kept = runs.read_text()
    assert len(result["trials"]) == len(kept.splitlines()) - 1 >= 1
    assert asked(server, *arguments).exit_code == 0
    assert runs.read_text() == kept, "nothing was asked again"
    other = asked(server, *arguments, "--seed", "7")
    assert other.exit_code == 2 and "another protocol" in other.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say how much"),
        (["--rate", "1", "--users", "2"], "say how much"),
        (["--knee", "2..1"], "--knee"),
        (["--ramp", "fast"], "--ramp"),
        (["--trace", "no.such.file"], "no.such.file"),
        (["--rate", "1", "--seconds", "5", "--warm-up", "5"], "--warm-up"),
        (["--rate", "1", "--model", "m"], "--model"),
    ],
)
def test_what_makes_no_sense_is_refused(server: LoadServer, mix: Path, arguments: list[str], said: str) -> None:
    done = asked(server, *arguments, "--mix", mix)
    assert done.exit_code == 2
    assert said in done.output


def test_what_can_be_refused_is_refused_before_a_server_is_started(mix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.load.conduct.own_server", None)
    for arguments, said in (
        (["--rate", "1", "--seconds", "5", "--warm-up", "5"], "--warm-up"),
        (["--trace", "no.such.file"], "no.such.file"),
        (["--knee", "2"], "--knee"),
        (["--rate", "0"], "--rate"),
    ):
        done = CliRunner().invoke(app, [*arguments, "--mix", str(mix)])
        assert done.exit_code == 2 and said in done.output


def ours(log: Path, *, start: str = "", stop: str = "") -> Any:
    """A server of our own; what is said is why it does not start, or not stop."""

    @contextmanager
    def own_server(*flags: str) -> Generator[Server]:
        if start:
            raise RuntimeError(start)
        yield Server("unix:/nowhere", 1, log)
        if stop:
            raise RuntimeError(stop)

    return own_server


def test_a_server_of_ours_that_fails_is_told(mix: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    log.write_text("out of memory\n")

    def run_with(server: Any) -> tuple[int, str]:
        monkeypatch.setattr("benchmarks.load.conduct.own_server", server)
        done = CliRunner().invoke(app, ["--rate", "1", "--mix", str(mix), "--model", "m"])
        return done.exit_code, done.output

    status, said = run_with(ours(log, start="no such model"))
    assert status == 2 and "no such model" in said
    monkeypatch.setattr("benchmarks.load.conduct.one_run", lambda *_, **__: {})
    status, said = run_with(ours(log, stop="ended with status 1"))
    assert status == 3 and "ended with status 1" in said

    def dies(*_: Any, **__: Any) -> None:
        raise ThresherError(StatusCode.UNAVAILABLE, "", "the engine has died")

    monkeypatch.setattr("benchmarks.load.conduct.one_run", dies)
    status, said = run_with(ours(log))
    assert status == 3 and "the engine has died" in said and "out of memory" in said


def test_options_of_a_running_server_need_one(mix: Path) -> None:
    done = CliRunner().invoke(app, ["--rate", "1", "--metrics", "127.0.0.1:1", "--mix", str(mix)])
    assert done.exit_code == 2 and "--metrics" in done.output


def test_an_endpoint_without_metrics_is_told(server: LoadServer, mix: Path) -> None:
    at = ["--server", server.address, "--metrics", "127.0.0.1:1", "--mix", str(mix)]
    done = CliRunner().invoke(app, ["--rate", "1", *at])
    assert done.exit_code == 2 and "no metrics at 127.0.0.1:1" in done.output


def test_the_live_line_counts(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(force_terminal=False, width=200)
    with LiveLine("load", 2.0, console) as line:
        for number in range(3):
            line.answer(
                Answer(
                    id=f"{number}",
                    entry="a",
                    problem="p",
                    model="m",
                    priority="batch",
                    due=0.0,
                    sent=0.0,
                    ended=1.0 + number,
                    first_pass=1.0 + number,
                    end="solved",
                    code="OK",
                )
            )
        line.look(5, None)
    said = capsys.readouterr().out
    assert "5 calls, 2 open; 3 solved, 67 % in time" in said
    assert "p50 2.00 s" in said
