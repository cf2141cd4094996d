"""Callers with tokens of their own: the file, what each may do, expiry, and changes while the server runs."""

import asyncio
import hmac
import json
import os
import signal
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from thresher.v1 import (
    execution_service_pb2,
    execution_service_pb2_grpc,
    info_service_pb2,
    info_service_pb2_grpc,
    synthesis_service_pb2_grpc,
)

from engine.config_base import ConfigError
from engine.serving.app import _signals
from engine.serving.auth import Access
from engine.serving.status import Unauthenticated
from engine.serving.tokens import digest_of, draw_token, id_of, read_tokens
from tests.support.scripted_solver import ScriptedSolver, accepted, forever
from tests.support.served import once_request, refused, serving, solve_request, spec, until
from tests.support.tokens import add_token, bearer, drop_tokens

SETTING = "serving.tokens_file"
SOLVE = "/thresher.v1.SynthesisService/SolveOnce"
PEER = "ipv4:127.0.0.1:9"


def execute_request() -> execution_service_pb2.ExecuteRequest:
    program = execution_service_pb2.Program(code="x = 1", entry_point="f", tests=spec().problem.tests)
    return execution_service_pb2.ExecuteRequest(program=program)


@asynccontextmanager
async def guarded(path: Path, solver: ScriptedSolver | None = None, **serving_settings: Any) -> AsyncGenerator[Any]:
    """A server with the callers of a file, and a channel to it by TCP."""
    settings = {"tokens_file": path, **serving_settings}
    async with serving(solver, tcp=True, serving=settings) as served, grpc.aio.insecure_channel(served.tcp) as channel:
        yield served, channel


def synthesis(channel: grpc.aio.Channel) -> Any:
    return synthesis_service_pb2_grpc.SynthesisServiceStub(channel)


async def opens(channel: grpc.aio.Channel, token: str) -> None:
    """Wait until a token opens; TimeoutError if it does not within a minute."""
    async with asyncio.timeout(60):
        while True:
            call = synthesis(channel).SolveOnce(once_request(), metadata=bearer(token))
            if await call.code() is grpc.StatusCode.OK:
                return
            await asyncio.sleep(0.02)


async def test_each_scope_opens_its_service_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    tokens = {name: bearer(add_token(path, name, name)) for name in ("solve", "execute", "admin")}
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    async with guarded(path) as (_, channel):
        execution: Any = execution_service_pb2_grpc.ExecutionServiceStub(channel)
        info: Any = info_service_pb2_grpc.InfoServiceStub(channel)
        for name, metadata in tokens.items():
            await info.GetLoad(info_service_pb2.GetLoadRequest(), metadata=metadata)
            assert await channel.stream_stream(reflection)(iter([b""]), metadata=metadata).read() is not None
            for scope, call in (
                ("solve", lambda metadata: synthesis(channel).SolveOnce(once_request(), metadata=metadata)),
                ("solve", lambda metadata: synthesis(channel).Solve(solve_request(), metadata=metadata)),
                ("execute", lambda metadata: execution.Execute(execute_request(), metadata=metadata)),
                ("execute", lambda metadata: execution.ExecuteMany(iter(()), metadata=metadata)),
            ):
                if name in (scope, "admin"):
                    found = call(metadata)
                    _ = await found.read() if hasattr(found, "read") else await found
                    continue
                found = await refused(call(metadata))
                assert (found.code, found.info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
                assert repr(scope) in found.message


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (None, "TOKEN_MISSING"),
        ("", "TOKEN_WRONG"),
        ("thr-", "TOKEN_WRONG"),
        ("thr-00000000-" + "x" * 43, "TOKEN_WRONG"),
        pytest.param(draw_token()[0], "TOKEN_WRONG", id="of-nobody"),
        ("changed", "TOKEN_WRONG"),
        ("over", "TOKEN_EXPIRED"),
    ],
)
async def test_whoever_is_nobody_is_refused_with_the_reason(tmp_path: Path, token: str | None, reason: str) -> None:
    path = tmp_path / "tokens.json"
    good = add_token(path, "good")
    over = add_token(path, "over", expires=datetime(2020, 1, 1, tzinfo=UTC))
    given = {"changed": good[:-1] + ("a" if good[-1] != "a" else "b"), "over": over}.get(token or "", token)
    async with guarded(path) as (served, channel):
        call = synthesis(channel).SolveOnce(once_request(), metadata=None if given is None else bearer(given))
        found = await refused(call)
        assert (found.code, found.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
        await synthesis(channel).SolveOnce(once_request(), metadata=bearer(good))
        assert len(served.solver.specs) == 1


async def test_the_single_token_of_the_operator_still_holds_beside_them(tmp_path: Path) -> None:
    path, single = tmp_path / "tokens.json", tmp_path / "token"
    add_token(path, "other")
    single.write_text("correct-horse-battery-staple")
    single.chmod(0o600)
    async with guarded(path, token_file=single) as (_, channel):
        await synthesis(channel).SolveOnce(once_request(), metadata=bearer("correct-horse-battery-staple"))


async def test_no_token_is_drawn_beside_a_file_of_them(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    add_token(path, "one")
    async with guarded(path) as (served, _):
        assert list((served.folder / "thresher").glob("token-*")) == []


async def test_nothing_is_parsed_for_a_stranger(tmp_path: Path) -> None:
    """A message of a stranger that cannot even be parsed is answered like any other of his."""
    path = tmp_path / "tokens.json"
    token = add_token(path, "one")
    async with guarded(path) as (_, channel):
        call = channel.unary_unary(SOLVE)
        assert (await refused(call(b"\xff" * 100))).info.reason == "TOKEN_MISSING"
        found = await refused(call(b"\xff" * 100, metadata=bearer(token)))
        assert (found.code, found.info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")


async def test_a_new_token_opens_and_a_revoked_one_closes_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    first = bearer(add_token(path, "first"))
    async with guarded(path) as (served, channel):
        second = bearer(add_token(path, "second"))
        drop_tokens(path, ["first"])
        served.front.reload()
        await synthesis(channel).SolveOnce(once_request(), metadata=second)
        found = await refused(synthesis(channel).SolveOnce(once_request(), metadata=first))
        assert found.info.reason == "TOKEN_WRONG"


async def test_a_changed_file_is_seen_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    add_token(path, "first")
    async with guarded(path) as (_, channel):
        await opens(channel, add_token(path, "second"))


async def test_a_revoked_caller_s_calls_end_and_nobody_else_s(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    tokens = {name: bearer(add_token(path, name)) for name in ("stays", "goes")}
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    async with guarded(path, solver) as (served, channel):
        calls = {name: synthesis(channel).Solve(solve_request(), metadata=tokens[name]) for name in tokens}
        for call in calls.values():
            await call.read()
        drop_tokens(path, ["goes"])
        served.front.reload()
        found = await refused(calls["goes"])
        assert (found.code, found.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REVOKED")
        await until(lambda: solver.live == 1)
        calls["stays"].cancel()


async def test_what_expires_during_a_call_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    over = datetime.now(UTC) + timedelta(hours=1)
    metadata = bearer(add_token(path, "short", expires=over))
    solver = ScriptedSolver(lambda spec: [accepted(spec), forever])
    async with guarded(path, solver) as (served, channel):
        call = synthesis(channel).Solve(solve_request(), metadata=metadata)
        await call.read()
        served.front._access._clock = lambda: over
        assert (await refused(call)).info.reason == "TOKEN_EXPIRED"
        await until(lambda: solver.live == 0)


async def test_a_file_that_is_spoilt_locks_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    metadata = bearer(add_token(path, "one"))
    async with guarded(path) as (served, channel):
        for spoil in (lambda: path.write_text("{"), path.unlink):
            spoil()
            served.front.reload()
            await synthesis(channel).SolveOnce(once_request(), metadata=metadata)


async def test_a_caller_is_told_apart_whatever_it_calls_itself(tmp_path: Path) -> None:
    """The engine's time is divided between callers; only an admin divides its share between the names it gives."""
    path = tmp_path / "tokens.json"
    tokens = {name: add_token(path, name, scope) for name, scope in (("a", "solve"), ("b", "solve"), ("r", "admin"))}
    async with guarded(path) as (served, channel):
        for name in ("a", "b", "r"):
            for calls_itself in ("ada", "bob"):
                metadata = (*bearer(tokens[name]), ("thresher-client", calls_itself))
                await synthesis(channel).SolveOnce(once_request(), metadata=metadata)
        clients = [spec.client for spec in served.solver.specs]
    assert clients[0] == clients[1] != clients[2] == clients[3]
    assert clients[4:] == ["ada", "bob"]
    assert "ada" not in clients[:4]


def test_a_token_is_kept_as_a_hash_only(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    token = add_token(path, "one")
    text = path.read_text()
    secret = token.split("-", 2)[2]
    assert token not in text and secret not in text
    assert digest_of(token) in text and len(secret) == 43
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert id_of(token) == json.loads(text)["tokens"][0]["id"]


def test_whoever_asks_is_compared_once_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right token, a wrong secret and an id that nobody has: hashes of one length, by hmac alone."""
    path = tmp_path / "tokens.json"
    good = add_token(path, "one")
    access = Access(None, tokens_file=path)
    compared: list[tuple[int, int]] = []
    plain = hmac.compare_digest

    def watched(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return plain(one, other)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    access.admit(SOLVE, PEER, bearer(good))
    for wrong in (good[:-1] + ("a" if good[-1] != "a" else "b"), draw_token()[0], "nonsense"):
        with pytest.raises(Unauthenticated):
            access.admit(SOLVE, PEER, bearer(wrong))
    assert compared == [(64, 64)] * 4


@pytest.mark.parametrize("text", ["", "abc", "thr", "thr-", "thr--x", "abc-1-x"])
def test_what_is_no_token_names_no_id(text: str) -> None:
    assert id_of(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not a file of"),
        ('{"tokens": [{"id": "a"}]}', "name"),
        ('{"tokens": [], "more": 1}', "more"),
        ('{"tokens": [{"id": "a", "name": "n", "scopes": [], "created": "2026-01-01T00:00:00Z"}]}', "scopes"),
        ('{"tokens": [{"id": "a", "name": "n", "scopes": ["root"], "created": "2026-01-01T00:00:00Z"}]}', "root"),
        ('{"tokens": [{"id": "a", "name": "n", "scopes": ["solve"], "created": "2026-01-01T00:00:00Z"}]}', "one of"),
        ('{"tokens": [{"id": "a", "name": "n", "scopes": ["solve"], "created": "2026-01-01T00:00:00"}]}', "timezone"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=said):
        read_tokens(path, SETTING)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    add_token(path, "one")
    path.chmod(0o640)
    read_tokens(path, SETTING)
    path.chmod(0o620)
    with pytest.raises(ConfigError, match="chmod go-w"):
        read_tokens(path, SETTING)


def test_names_are_there_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    add_token(path, "one")
    with pytest.raises(ConfigError, match="name 'one' is there twice"):
        add_token(path, "one")
    assert len(read_tokens(path, SETTING)) == 1


def test_a_rewritten_file_keeps_its_mode_and_is_written_through_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "tokens.json", tmp_path / "tokens.json"
    add_token(real, "one")
    real.chmod(0o640)
    link.symlink_to(real)
    add_token(link, "two")
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [record.name for record in read_tokens(real, SETTING)] == ["one", "two"]
    assert [entry.name for entry in real.parent.iterdir()] == ["tokens.json"]


def test_a_jump_of_the_clock_moves_what_expires_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    now = datetime(2026, 6, 1, tzinfo=UTC)
    day = add_token(path, "day", expires=now + timedelta(days=1))
    ever = add_token(path, "ever", requests_per_second=1.0)
    access = Access(None, tokens_file=path, clock=lambda: now)
    access.admit(SOLVE, PEER, bearer(day))
    access.admit(SOLVE, PEER, bearer(ever))
    now += timedelta(days=400)
    with pytest.raises(Unauthenticated, match="expired"):
        access.admit(SOLVE, PEER, bearer(day))
    assert {error.reason for error in access.refresh().values()} == {"TOKEN_EXPIRED"}
    now -= timedelta(days=800)
    access.admit(SOLVE, PEER, bearer(day))
    assert access.refresh() == {}


async def test_sighup_reads_the_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same through the signal, with the server's own handler, and nobody else who looks."""
    monkeypatch.setattr("engine.serving.front._RELOAD_PERIOD", 3600)
    path = tmp_path / "tokens.json"
    add_token(path, "first")
    async with guarded(path) as (served, channel), _signals() as signals:
        signals.on_hangup(served.front.reload)
        token = add_token(path, "second")
        os.kill(os.getpid(), signal.SIGHUP)
        await opens(channel, token)


async def test_a_file_of_tokens_without_tcp_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    add_token(path, "one")
    with pytest.raises(ConfigError, match=r"serving\.tokens_file is of TCP"):
        async with serving(serving={"tokens_file": path}):
            pass
