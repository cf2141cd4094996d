"""`thresher token` and `thresher health`."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from support.fake_server import FakeServer
from typer.testing import CliRunner, Result

from engine.cli.health import health
from engine.cli.main import app
from engine.cli.token import app as token_app
from engine.serving.auth import Access
from engine.serving.tokens import digest_of, read_tokens

SOLVE = "/thresher.v1.SynthesisService/SolveOnce"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tokens.json"
    monkeypatch.setenv("THRESHER_SERVING_TOKENS_FILE", str(path))
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(token_app, words)


def test_an_added_token_is_shown_once_and_opens(file: Path) -> None:
    done = run("add", "ci", "--scope", "solve", "--scope", "execute", "--k", "8", "--solves", "2", "--expires", "90d")
    assert done.exit_code == 0, done.output
    token = done.stdout.strip()
    (record,) = read_tokens(file, "x")
    assert (record.name, record.scopes, record.sha256) == ("ci", ("solve", "execute"), digest_of(token))
    assert (record.k, record.solves, record.tests, record.requests_per_second) == (8, 2, None, None)
    assert record.expires is not None
    assert timedelta(days=89) < record.expires - datetime.now(UTC) <= timedelta(days=90)
    access = Access(None, tokens_file=file)
    assert access.admit(SOLVE, "ipv4:1.2.3.4:5", (("authorization", f"Bearer {token}"),)).name == "ci"
    listed = run("list")
    assert "ci" in listed.stdout and "k 8" in listed.stdout and token not in listed.stdout
    (row,) = json.loads(run("list", "--json").stdout)["tokens"]
    assert (row["quota"], row["expired"]) == ({"solves": 2, "k": 8}, False)


def test_the_right_to_solve_is_the_default(file: Path) -> None:
    assert run("add", "one").exit_code == 0
    assert read_tokens(file, "x")[0].scopes == ("solve",)


def test_a_caller_with_a_certificate_has_no_token(file: Path) -> None:
    done = run("add", "ada", "--certificate", "ada.example", "--json")
    assert json.loads(done.stdout)["token"] is None
    (record,) = read_tokens(file, "x")
    assert (record.certificate, record.sha256) == ("ada.example", None)


@pytest.mark.parametrize("by", ["id", "name"])
def test_revoking(file: Path, by: str) -> None:
    identity = json.loads(run("add", "one", "--json").stdout)["id"]
    run("add", "two")
    assert run("revoke", {"id": identity, "name": "one"}[by]).exit_code == 0
    assert [record.name for record in read_tokens(file, "x")] == ["two"]
    done = run("revoke", "one")
    assert (done.exit_code, "two" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "a", "--expires", "soon"), "90d"),
        (("add", "a", "--expires", "2020-01-01"), "in the past"),
        (("add", "a", "--k", "0"), "--k is 0"),
        (("add", "a", "--requests-per-second", "-1"), "--requests-per-second is -1"),
        (("add", "a", "--scope", "root"), "root"),
        (("list",), "cannot be read"),
    ],
)
def test_wrong_use_is_exit_code_2_and_writes_nothing(file: Path, words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not file.exists()


def test_a_name_twice_is_refused(file: Path) -> None:
    run("add", "one")
    assert run("add", "one").exit_code == 2
    assert len(read_tokens(file, "x")) == 1


def test_the_file_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THRESHER_SERVING_TOKENS_FILE", raising=False)
    done = run("list")
    assert done.exit_code == 2
    assert "--file" in done.stderr


def test_both_commands_are_found() -> None:
    for name in ("token", "health"):
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0


def asked(*words: str) -> Result:
    command = typer.Typer()
    command.command()(health)
    return CliRunner().invoke(command, words)


def test_health_of_a_server(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    address = f"unix:{socket}"
    assert asked("--address", f"unix:{tmp_path}/nobody", "--timeout", "1").exit_code == 3
    with FakeServer(socket) as server:
        server.set_serving(False)
        done = asked("--address", address)
        assert (done.exit_code, done.stdout) == (3, "NOT_SERVING\n")
        assert asked("--address", address, "--wait", "0.3").exit_code == 3
        server.set_serving(True)
        done = asked("--address", address, "--json")
        assert (done.exit_code, json.loads(done.stdout)) == (0, {"status": "SERVING"})
        assert asked("models/other", "--address", address).stdout == "SERVICE_UNKNOWN\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--tls-ca", "/none"), "cannot be read"), (("--tls-certificate", "/none"), "go together")],
)
def test_tls_files_that_cannot_be_used_are_wrong_use(options: tuple[str, ...], said: str) -> None:
    done = asked("--address", "127.0.0.1:1", *options)
    assert (done.exit_code, said in done.stderr) == (2, True)
