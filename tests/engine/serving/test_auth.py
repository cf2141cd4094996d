"""Who may call: Unix sockets by their mode, TCP by token, health by anybody."""

import stat
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from thresher.client.runtime import read_runtime_file
from thresher.v1 import info_service_pb2, info_service_pb2_grpc, synthesis_service_pb2_grpc

from engine.config_base import ConfigError
from engine.serving.auth import Access, read_token, write_new_token
from engine.serving.status import Unauthenticated
from tests.support.served import once_request, refused, serving, solve_request

TOKEN = "correct-horse-battery-staple"


def bearer(value: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", value),)


async def test_tcp_needs_the_token_and_the_unix_socket_does_not(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    async with serving(tcp=True, serving={"token_file": path}) as served:
        await served.synthesis.SolveOnce(once_request())
        async with grpc.aio.insecure_channel(served.tcp) as channel:
            stub: Any = synthesis_service_pb2_grpc.SynthesisServiceStub(channel)
            missing = await refused(stub.SolveOnce(once_request()))
            wrong = await refused(stub.Solve(solve_request(), metadata=bearer("Bearer " + TOKEN[:-1])))
            basic = await refused(stub.SolveOnce(once_request(), metadata=bearer("Basic " + TOKEN)))
            twice = await refused(stub.SolveOnce(once_request(), metadata=bearer("Bearer " + TOKEN) * 2))
            await stub.SolveOnce(once_request(), metadata=bearer("Bearer " + TOKEN))
            await stub.SolveOnce(once_request(), metadata=bearer("bearer  " + TOKEN))
    for found, reason in ((missing, "TOKEN_MISSING"), (wrong, "TOKEN_WRONG"), (basic, "TOKEN_WRONG")):
        assert (found.code, found.info.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert twice.code is grpc.StatusCode.UNAUTHENTICATED
    assert len(served.solver.specs) == 3


async def test_every_service_but_health_needs_the_token() -> None:
    async with serving(tcp=True) as served, grpc.aio.insecure_channel(served.tcp) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        await health.Check(health_pb2.HealthCheckRequest())
        info: Any = info_service_pb2_grpc.InfoServiceStub(channel)
        assert (await refused(info.GetLoad(info_service_pb2.GetLoadRequest()))).info.reason == "TOKEN_MISSING"
        reflection = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        assert (await refused(reflection(iter([b""])))).info.reason == "TOKEN_MISSING"


async def test_a_token_is_drawn_when_none_is_given_and_goes_with_the_server() -> None:
    async with serving(tcp=True) as served:
        runtime = read_runtime_file()
        assert runtime is not None
        assert runtime.token_file is not None
        path = served.folder / "thresher" / runtime.token_file.rpartition("/")[2]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        token = read_token(path, "serving.token_file")
        async with grpc.aio.insecure_channel(served.tcp) as channel:
            stub: Any = info_service_pb2_grpc.InfoServiceStub(channel)
            await stub.GetLoad(info_service_pb2.GetLoadRequest(), metadata=bearer(f"Bearer {token}"))
    assert not path.exists()


def test_without_a_token_no_tcp_call_passes() -> None:
    access = Access(None)
    for metadata in ((), bearer("Bearer "), bearer("Bearer None")):
        with pytest.raises(Unauthenticated):
            access.admit("/thresher.v1.InfoService/GetLoad", "ipv4:127.0.0.1:9", metadata)
    assert access.admit("/thresher.v1.InfoService/GetLoad", "unix:", ()).key == "local"


def test_a_peer_cannot_pass_for_a_socket() -> None:
    for peer in ("ipv4:1.2.3.4:5", "ipv6:[::1]:5", "unknown", "unixx:", ""):
        with pytest.raises(Unauthenticated):
            Access(TOKEN).admit("/grpc.health.v2.Health/Check", peer, ())


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        ("short", 0o600, "at least 16"),
        ("two words and more of them", 0o600, "one word"),
        ("ümlaut-ümlaut-ümlaut", 0o600, "ASCII"),
        (TOKEN, 0o644, "chmod 600"),
    ],
)
def test_tokens_that_cannot_be_trusted_are_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=said):
        read_token(path, "serving.token_file")


def test_a_missing_token_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "none", "serving.token_file")


def test_drawn_tokens_differ(tmp_path: Path) -> None:
    first = read_token(write_new_token(tmp_path), "serving.token_file")
    assert read_token(write_new_token(tmp_path), "serving.token_file") != first
