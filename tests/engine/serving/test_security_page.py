"""docs/security.md: its commands run in their order, its tables are what the server says."""

import asyncio
import re
import shlex
import subprocess
from pathlib import Path

import grpc
import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.serving.callers import Quota
from engine.serving.once import _KEPT_SECONDS, _LINGER_SECONDS, _MOST_KEPT_BYTES
from engine.serving.status import Forbidden, OverQuota, Unauthenticated, refusal_of
from engine.serving.tokens import Scope, read_tokens
from engine.solving.errors import InvalidRequest, QueueFull
from tests.support.served import serving

PAGE = (Path(__file__).parents[3] / "docs" / "security.md").read_text()
TOKENS, TLS, CERTIFICATES, MUTUAL = (
    [shlex.split(line) for line in block.splitlines()] for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
)
REFUSALS = (
    *(Unauthenticated(reason, "") for reason in ("TOKEN_MISSING", "TOKEN_WRONG", "TOKEN_EXPIRED", "TOKEN_REVOKED")),
    Forbidden("SCOPE_MISSING", ""),
    OverQuota(""),
    QueueFull(1, 1.0),
    InvalidRequest("x", ""),
    InvalidRequest("x", "", reason="REQUEST_ID_IN_USE"),
)


def rows(head: str) -> list[list[str]]:
    """Cells of the table with this head."""
    (table,) = re.findall(rf"^\| {re.escape(head)} \|\n\|[- |]+\|\n((?:\|.*\n)+)", PAGE, re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def thresher(words: list[str]) -> str:
    """Runs a command of the page; `serve` checks its settings and goes no further. Its standard output."""
    more = ["--print-config"] if words[1] == "serve" else []
    done = CliRunner().invoke(app, [*words[1:], *more])
    assert done.exit_code == 0, f"{words}: {done.output}"
    return done.stdout


def certify(folder: Path) -> None:
    for words in CERTIFICATES:
        subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=60)


def test_tokens_are_made_listed_and_revoked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = [thresher(words) for words in TOKENS]
    assert "ci" in said[2] and "student" in said[2]
    assert 'tokens_file = "tokens.json"' in said[3]
    (left,) = read_tokens(Path("tokens.json"), "x")
    assert (left.name, left.scopes) == ("ci", (Scope.SOLVE, Scope.EXECUTE))


async def test_a_server_with_the_page_s_certificate_answers_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    certify(tmp_path)
    (tmp_path / "token").write_text(thresher(TOKENS[0]))
    assert 'tls_certificate = "server.pem"' in thresher(TLS[0])
    secured = {"tls_certificate": "server.pem", "tls_key": "server.key", "tokens_file": "tokens.json"}
    async with serving(tcp=True, serving=secured) as served:
        port = served.tcp.rpartition(":")[2]
        health, solve = ([word.replace("50051", port) for word in words] for words in TLS[1:])
        assert await asyncio.to_thread(thresher, health) == "SERVING\n"
        assert "return 1" in await asyncio.to_thread(thresher, solve)


def test_callers_may_be_known_by_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words in MUTUAL:
        thresher(words)
    (record,) = read_tokens(Path("tokens.json"), "x")
    assert (record.certificate, record.sha256) == ("ada.example", None)


def test_the_statuses_are_those_of_the_table() -> None:
    said = {(row[0], row[1].strip("`")) for row in rows("status | reason | when | what helps")}
    assert said == {(found.code.name, found.reason) for found in map(refusal_of, REFUSALS)}
    assert grpc.StatusCode.RESOURCE_EXHAUSTED.name in dict(said)


def test_scopes_and_quotas_are_those_there_are() -> None:
    assert [row[0].split()[0].strip("`") for row in rows("scope | may call")] == list(Scope)
    quotas = {row[0].strip("`-").replace("-", "_") for row in rows("quota | bounds | absent")}
    assert quotas == set(Quota.__dataclass_fields__)


def test_what_is_kept_of_answers_is_as_the_page_says() -> None:
    assert (_LINGER_SECONDS, _KEPT_SECONDS, _MOST_KEPT_BYTES) == (3, 60, 64 << 20)
