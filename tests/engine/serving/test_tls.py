"""TLS and mutual TLS over a real socket with real certificates, and that they change without a restart."""

import asyncio
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from thresher.client import AsyncClient, Client, ThresherError, Tls
from thresher.client.runtime import read_runtime_file
from thresher.v1 import info_service_pb2, info_service_pb2_grpc

from engine.config_base import ConfigError
from engine.serving.tls import names_in_certificate
from tests.support.certificates import Authority, Files
from tests.support.scripted_solver import ScriptedSolver
from tests.support.served import Served, serving, spec
from tests.support.tokens import add_token

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@asynccontextmanager
async def secured(files: Files, **settings: Any) -> AsyncGenerator[Served]:
    """A server on TCP with TLS."""
    chosen = {"tls_certificate": files.certificate, "tls_key": files.key, **settings}
    async with serving(ScriptedSolver(), tcp=True, serving=chosen) as served:
        yield served


async def load(served: Served, tls: Tls | None, token: str | None = TOKEN) -> info_service_pb2.GetLoadResponse:
    """One call by TCP, as a client makes it. Never waits for a connection that cannot be."""
    async with AsyncClient(served.tcp, token=token, tls=tls) as client:
        return await client.load(timeout=10)


async def not_reached(served: Served, tls: Tls | None) -> None:
    """No connection comes about. Asks what is not asked again, and open to everybody, so only TLS can be why."""
    async with AsyncClient(served.tcp, tls=tls) as client:
        with pytest.raises(ThresherError) as caught:
            await client.health(timeout=10)
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE


async def test_a_client_that_believes_the_issuer_is_served(tmp_path: Path, token_file: Path) -> None:
    authority = Authority(tmp_path)
    async with secured(authority.issue("127.0.0.1"), token_file=token_file) as served:
        tls = Tls(ca=authority.ca)
        assert (await load(served, tls)).executor_slots == 4
        async with AsyncClient(served.tcp, token=TOKEN, tls=tls) as client:
            answer = await client.solve_once(spec(), timeout=10)
            assert answer.summary.candidates
        with pytest.raises(ThresherError) as caught:
            await load(served, tls, token=None)
        assert caught.value.reason == "TOKEN_MISSING"

        def synchronous() -> int:
            with Client(served.tcp, token=TOKEN, tls=tls) as client:
                return client.load(timeout=10).executor_slots

        assert await asyncio.to_thread(synchronous) == 4


async def test_a_client_that_does_not_believe_or_does_not_ask_is_not_served(tmp_path: Path, token_file: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    named = Authority(tmp_path)
    async with secured(named.issue("127.0.0.1"), token_file=token_file) as served:
        for tls in (Tls(ca=stranger.ca), Tls(), None, Tls(ca=named.ca, name="other.example")):
            await not_reached(served, tls)


async def test_the_name_may_be_another_one_than_the_address_s(tmp_path: Path, token_file: Path) -> None:
    authority = Authority(tmp_path)
    async with secured(authority.issue("thresher.example"), token_file=token_file) as served:
        await load(served, Tls(ca=authority.ca, name="thresher.example"))


async def test_with_tls_a_server_may_be_reached_from_elsewhere(tmp_path: Path, token_file: Path) -> None:
    files = Authority(tmp_path).issue("localhost")
    async with secured(files, token_file=token_file, listen=("0.0.0.0:0",)) as served:
        assert served.tcp.startswith("0.0.0.0:")


async def test_the_local_client_finds_a_server_with_tls(
    tmp_path: Path, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("THRESHER_TLS_CA", str(authority.ca))
    monkeypatch.delenv("THRESHER_ADDRESS", raising=False)
    async with secured(authority.issue("127.0.0.1"), token_file=token_file, listen=("127.0.0.1:0",)):
        found = read_runtime_file()
        assert found is not None and found.tls
        async with AsyncClient() as client:
            assert (await client.load(timeout=10)).executor_slots == 4


async def test_mutual_tls_knows_the_caller_by_its_certificate(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "clients")
    client = theirs.issue("ada.example", file="ada")
    async with secured(ours.issue("127.0.0.1"), tls_client_ca=theirs.ca) as served:
        shown = Tls(ca=ours.ca, certificate=client.certificate, key=client.key)
        await load(served, shown, token=None)
        async with AsyncClient(served.tcp, tls=shown) as asking:
            await asking.solve_once(spec(), timeout=10)
        assert served.solver.specs[0].client == "certificate:ada.example"
        foreign = ours.issue("eve.example", file="eve")
        for tls in (Tls(ca=ours.ca), Tls(ca=ours.ca, certificate=foreign.certificate, key=foreign.key)):
            await not_reached(served, tls)


async def test_a_certificate_has_the_rights_that_the_file_gives_it(tmp_path: Path) -> None:
    ours, path = Authority(tmp_path), tmp_path / "tokens.json"
    add_token(path, "Ada", "execute", certificate="ada.example")
    token = add_token(path, "Bob", "solve")
    async with secured(ours.issue("127.0.0.1"), tls_client_ca=ours.ca, tokens_file=path) as served:

        async def solve(name: str, token: str | None) -> str:
            files = ours.issue(name, file="client")
            tls = Tls(ca=ours.ca, certificate=files.certificate, key=files.key)
            async with AsyncClient(served.tcp, token=token, tls=tls) as client:
                try:
                    await client.solve_once(spec(), timeout=10)
                except ThresherError as error:
                    return error.reason
                return served.solver.specs[-1].client

        assert await solve("ada.example", None) == "SCOPE_MISSING"
        assert await solve("unknown.example", None) == "TOKEN_MISSING"
        assert (await solve("unknown.example", token)).startswith("token:")


async def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path, token_file: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    files = old.issue("127.0.0.1", file="server")
    async with secured(files, token_file=token_file) as served:
        await load(served, Tls(ca=old.ca))
        new.issue("127.0.0.1", file="server")
        served.front.reload()
        await load(served, Tls(ca=new.ca))
        await not_reached(served, Tls(ca=old.ca))
        files.certificate.write_text("spoilt")
        served.front.reload()
        await load(served, Tls(ca=new.ca))


async def test_an_expired_certificate_of_a_client_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    over = authority.issue("ada.example", file="ada", not_after=datetime.now(UTC) - timedelta(days=1))
    async with secured(authority.issue("127.0.0.1"), tls_client_ca=authority.ca) as served:
        await not_reached(served, Tls(ca=authority.ca, certificate=over.certificate, key=over.key))


def scrape(port: int | None, context: ssl.SSLContext) -> bytes:
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/metrics", context=context, timeout=10) as answer:
        return answer.read()


async def test_metrics_are_behind_the_same_certificate(tmp_path: Path, token_file: Path) -> None:
    authority, renewed = Authority(tmp_path), Authority(tmp_path, "renewed")
    files = authority.issue("127.0.0.1", file="server")
    async with secured(files, token_file=token_file, metrics_listen="127.0.0.1:0") as served:
        port = served.front.metrics_port
        believing = ssl.create_default_context(cafile=str(authority.ca))
        # Somebody who connects and says nothing keeps nobody else waiting.
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        assert b"thresher_" in await asyncio.to_thread(scrape, port, believing)
        with pytest.raises(OSError, match=r".*"):
            await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/metrics", None, 10)
        renewed.issue("127.0.0.1", file="server")
        served.front.reload()
        now = ssl.create_default_context(cafile=str(renewed.ca))
        assert b"thresher_" in await asyncio.to_thread(scrape, port, now)
        silent.close()


async def test_metrics_ask_for_a_certificate_where_callers_need_one(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, client = authority.issue("127.0.0.1", file="server"), authority.issue("prometheus", file="client")
    async with secured(server, tls_client_ca=authority.ca, metrics_listen="127.0.0.1:0") as served:
        context = ssl.create_default_context(cafile=str(authority.ca))
        with pytest.raises(OSError, match=r".*"):
            await asyncio.to_thread(scrape, served.front.metrics_port, context)
        context.load_cert_chain(client.certificate, client.key)
        assert b"thresher_" in await asyncio.to_thread(scrape, served.front.metrics_port, context)


@pytest.mark.parametrize("what", ["no certificate", "another key", "password", "everybody", "no client ca", "missing"])
async def test_files_that_do_not_fit_are_refused_at_the_start(tmp_path: Path, token_file: Path, what: str) -> None:
    authority = Authority(tmp_path)
    files, other = authority.issue("a", file="a"), authority.issue("b", file="b")
    settings: dict[str, Any] = {"token_file": token_file}
    said = "serving.tls_"
    match what:
        case "no certificate":
            files.certificate.write_text("nothing")
        case "another key":
            files = Files(files.certificate, other.key)
        case "password":
            key = rsa.generate_private_key(65537, 2048)
            locked = serialization.BestAvailableEncryption(b"secret")
            files.key.write_bytes(
                key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
            )
        case "everybody":
            files.key.chmod(0o644)
            said = "chmod o="
        case "no client ca":
            (tmp_path / "none.pem").write_text("nothing")
            settings["tls_client_ca"] = tmp_path / "none.pem"
            said = "serving.tls_client_ca"
        case _:
            files = Files(tmp_path / "absent", files.key)
    with pytest.raises(ConfigError, match=said):
        async with secured(files, **settings):
            pass


async def test_tls_without_tcp_is_refused(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("a")
    with pytest.raises(ConfigError, match=r"serving\.tls_certificate is of TCP"):
        async with serving(serving={"tls_certificate": files.certificate, "tls_key": files.key}):
            pass


@pytest.mark.parametrize(
    ("context", "names"),
    [
        ({}, ()),
        ({"transport_security_type": [b"insecure"]}, ()),
        ({"x509_common_name": [b"ada"]}, ("ada",)),
        ({"x509_common_name": [b"root"], "x509_subject_alternative_name": [b"a", b"b"]}, ("a", "b")),
        ({"x509_common_name": [b"two\nlines"]}, ()),
        ({"x509_common_name": [b"x" * 200]}, ()),
    ],
    ids=str,
)
def test_names_of_a_certificate(context: dict[str, list[bytes]], names: tuple[str, ...]) -> None:
    assert names_in_certificate(context) == names


async def test_health_is_open_behind_tls(tmp_path: Path, token_file: Path) -> None:
    authority = Authority(tmp_path)
    async with secured(authority.issue("127.0.0.1"), token_file=token_file) as served:
        async with AsyncClient(served.tcp, tls=Tls(ca=authority.ca)) as client:
            assert await client.health(timeout=10) == "SERVING"
        stub: Any = info_service_pb2_grpc.InfoServiceStub(served.channel)
        await stub.GetLoad(info_service_pb2.GetLoadRequest())
