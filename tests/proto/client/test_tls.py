"""What a client knows of TLS without asking anybody."""

import os
from pathlib import Path

import pytest
from thresher.client import Client, ThresherError, Tls
from thresher.client.channel import Endpoint, find_server
from thresher.client.runtime import RuntimeInfo, write_runtime_file


@pytest.fixture(autouse=True)
def _own_runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_it_comes_from_the_argument_else_from_the_environment() -> None:
    environ = {"THRESHER_TLS_CA": "/ca.pem", "THRESHER_TLS_NAME": "n"}
    mine = Tls(ca=Path("/other.pem"))
    assert find_server("h:1", environ=environ).tls == Tls(ca=Path("/ca.pem"), name="n")
    assert find_server("h:1", tls=mine, environ=environ).tls == mine
    assert find_server("h:1", environ={}).tls is None
    assert find_server("h:1", environ={"THRESHER_TLS": "0"}).tls is None
    assert find_server("h:1", environ={"THRESHER_TLS": "1"}).tls == Tls()


def test_a_socket_has_none() -> None:
    assert find_server("unix:/s", environ={"THRESHER_TLS_CA": "/ca.pem"}).tls is None
    with pytest.raises(ThresherError, match="a Unix socket has no TLS"):
        find_server("unix:/s", tls=Tls(), environ={})


def test_the_local_server_says_whether_it_speaks_it() -> None:
    write_runtime_file(RuntimeInfo("127.0.0.1:1", os.getpid(), tls=True))
    assert find_server(environ={}).tls == Tls()
    assert find_server(environ={"THRESHER_TLS_CA": "/ca.pem"}).tls == Tls(ca=Path("/ca.pem"))
    write_runtime_file(RuntimeInfo("127.0.0.1:1", os.getpid()))
    assert find_server(environ={"THRESHER_TLS_CA": "/ca.pem"}).tls is None


def test_half_a_pair_and_files_that_are_not_there_are_refused() -> None:
    with pytest.raises(ThresherError, match="go together"):
        Tls(certificate=Path("/c"))
    with pytest.raises(ThresherError, match="/none cannot be read"):
        Client("h:1", tls=Tls(ca=Path("/none")))


def test_another_name_is_checked_against_the_certificate() -> None:
    assert ("grpc.ssl_target_name_override", "n") in Endpoint("h:1", tls=Tls(name="n")).options
    assert "grpc.ssl_target_name_override" not in dict(Endpoint("h:1", tls=Tls()).options)
