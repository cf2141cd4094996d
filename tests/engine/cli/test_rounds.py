"""`thresher solve --rounds`: a line for each round, the program in the end, and the transcript as JSON."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from google.rpc import code_pb2
from support.fake_server import PROGRAM, FakeServer, rich_error, solved_events, unsolved_events
from thresher.v1 import solve_pb2
from typer.testing import CliRunner

from engine.cli.main import app


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with FakeServer(tmp_path / "s.sock") as fake:
        monkeypatch.setenv("THRESHER_ADDRESS", fake.address)
        yield fake


def thresher(*options: str) -> Result:
    problem = ("--prompt", "Add two numbers.", "--test", "assert add(1, 2) == 3")
    return CliRunner().invoke(app, ["solve", *problem, *options])


def solved_at(turn: int) -> Iterator[list[solve_pb2.SolveEvent]]:
    for _ in range(turn - 1):
        yield unsolved_events()
    while True:
        yield solved_events()


def test_a_line_for_each_round_and_the_program_in_the_end(server: FakeServer) -> None:
    turns = solved_at(3)
    server.events = lambda: next(turns)
    result = thresher("--rounds", "4")
    assert (result.exit_code, result.stdout) == (0, PROGRAM)
    lines = result.stderr.splitlines()
    assert [line.split(";")[0] for line in lines] == [
        "round 1 of 4: unsolved",
        "round 2 of 4: unsolved",
        "round 3 of 4: solved",
    ]
    assert "the best of 2 programs passes 1 of 1 tests" in lines[-1]


def test_no_round_solves_it(server: FakeServer) -> None:
    server.events = unsolved_events
    result = thresher("--rounds", "2", "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "")


def test_json_has_the_transcript(server: FakeServer) -> None:
    turns = solved_at(2)
    server.events = lambda: next(turns)
    result = thresher("--rounds", "3", "--json")
    document = json.loads(result.stdout)
    assert (document["solved"], document["rounds"], document["program"]) == (True, 2, PROGRAM)
    assert document["transcript"]["session"] == "sessions/fake"


def test_a_server_that_is_still_loading_is_waited_for(server: FakeServer) -> None:
    server.error = rich_error(code_pb2.UNAVAILABLE, "STARTING", "loading")
    server.errors_left = 1
    server.set_serving(True)
    result = thresher("--rounds", "2")
    assert (result.exit_code, result.stdout) == (0, PROGRAM)
    assert result.stderr.startswith("thresher: waiting for the server to start; ")


def test_a_recording_is_of_one_solve(server: FakeServer, tmp_path: Path) -> None:
    result = thresher("--rounds", "2", "--record", str(tmp_path / "file"))
    assert result.exit_code == 2
    assert "--record" in result.stderr
    assert not server.specs
