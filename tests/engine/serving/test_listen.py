"""Addresses: what may be bound, modes of sockets, stale sockets, runtime file."""

import os
import socket
import stat
import threading
from pathlib import Path

import pytest
from thresher.client.runtime import read_runtime_file

from engine.config_base import ConfigError
from engine.serving.listen import TcpAddress, UnixAddress, addresses, clear_stale_socket, parse_address
from tests.support.scripted_solver import ScriptedSolver
from tests.support.served import serving


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("unix:///run/x.sock", UnixAddress(Path("/run/x.sock"))),
        ("127.0.0.1:7", TcpAddress("127.0.0.1", 7)),
        ("[::1]:0", TcpAddress("::1", 0)),
        ("host.example:65535", TcpAddress("host.example", 65535)),
    ],
)
def test_addresses_are_read(text: str, address: object) -> None:
    assert parse_address(text, "serving.listen") == address


def test_addresses_are_written_as_grpc_takes_them() -> None:
    assert str(TcpAddress("::1", 7)) == "[::1]:7"
    assert str(UnixAddress(Path("/a"))) == "unix:/a"


@pytest.mark.parametrize("text", ["", "localhost", ":80", "host:", "host:x", "host:70000", "unix:/" + "x" * 107])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"serving\.listen"):
        parse_address(text, "serving.listen")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.1.2.3", "example.org", "[2001:db8::1]"])
def test_plain_text_beyond_loopback_needs_a_word(host: str) -> None:
    with pytest.raises(ConfigError, match="--insecure"):
        addresses((f"{host}:7",), insecure=False)
    assert len(addresses((f"{host}:7",), insecure=True)) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert len(addresses((f"{host}:7",), insecure=False)) == 1


async def test_metrics_beyond_loopback_need_the_word_too() -> None:
    with pytest.raises(ConfigError, match="metrics_listen"):
        async with serving(serving={"metrics_listen": "0.0.0.0:0"}):
            pass


async def test_the_socket_is_ours_alone_and_goes_with_the_server() -> None:
    before = os.umask(0)
    try:
        async with serving() as served:
            path = served.folder / "s"
            mode = path.stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
            assert os.umask(0) == 0
        assert not path.exists()
    finally:
        os.umask(before)


async def test_the_default_is_a_socket_in_the_runtime_folder() -> None:
    async with serving(serving={"listen": ()}) as served:
        folder = served.folder / "thresher"
        assert [str(address) for address in served.front.bound] == [f"unix:{folder}/thresher.sock"]
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        runtime = read_runtime_file()
        assert runtime is not None
        assert (runtime.address, runtime.pid) == (f"unix:{folder}/thresher.sock", os.getpid())
        assert runtime.token_file is None
        assert stat.S_IMODE((folder / "server.json").stat().st_mode) == 0o600
    assert not (folder / "server.json").exists()


async def test_a_living_server_keeps_its_socket() -> None:
    async with serving() as served:
        with pytest.raises(ConfigError, match="another server listens"):
            async with serving(ScriptedSolver(), serving={"listen": (f"unix:{served.folder}/s",)}):
                pass
        assert (served.folder / "s").exists()
        assert read_runtime_file() is not None


def test_a_stale_socket_is_removed(tmp_path: Path) -> None:
    path = Path(os.path.relpath(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    clear_stale_socket(path)
    assert not path.exists()
    clear_stale_socket(path)


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="no socket"):
        clear_stale_socket(path)
    assert path.read_text() == "precious"


def test_a_busy_listener_is_not_stale(tmp_path: Path) -> None:
    path = Path(os.path.relpath(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        accepting = threading.Event()
        with pytest.raises(ConfigError, match="another server"):
            clear_stale_socket(path)
        accepting.set()
    assert path.exists()


async def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ConfigError, match="does its folder exist"):
        async with serving(serving={"listen": ("unix:/nonexistent/folder/s",)}):
            pass


async def test_a_failed_start_leaves_nothing_behind() -> None:
    async with serving() as served:
        (served.folder / "file").write_text("x")
        first = f"unix:{served.folder}/second"
        with pytest.raises(ConfigError, match="no socket"):
            async with serving(serving={"listen": (first, f"unix:{served.folder}/file")}):
                pass
        assert not (served.folder / "second").exists()
