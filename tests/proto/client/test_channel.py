"""Which server a client calls, and with what."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from thresher.client import Client, ThresherError
from thresher.client.channel import Endpoint, find_server, parse_address
from thresher.client.runtime import RuntimeInfo, ensure_runtime_dir, runtime_file, write_runtime_file


@pytest.fixture(autouse=True)
def own_runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("THRESHER_ADDRESS", "THRESHER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_argument_wins_over_environment_over_runtime_file() -> None:
    write_runtime_file(RuntimeInfo("unix:/run/local.sock", os.getpid()))
    environ = {"THRESHER_ADDRESS": "localhost:1", "THRESHER_TOKEN": "secret"}
    assert find_server("localhost:2", "mine", environ=environ) == Endpoint("localhost:2", "mine")
    assert find_server(environ=environ) == Endpoint("localhost:1", "secret")
    assert find_server(environ={}) == Endpoint("unix:/run/local.sock", None)


def test_token_file_is_used_for_the_local_server_only(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc\n")
    write_runtime_file(RuntimeInfo("127.0.0.1:50051", os.getpid(), str(token)))
    assert find_server(environ={}).token == "abc"
    assert find_server(environ={"THRESHER_TOKEN": "other"}).token == "other"
    assert find_server("elsewhere:50051", environ={}).token is None
    assert dict(find_server("elsewhere:50051", "t").metadata)["authorization"] == "Bearer t"


def test_a_client_is_named_by_its_process_or_as_it_is_told() -> None:
    with Client("localhost:1") as one, Client("localhost:1") as other, Client("localhost:1", name="ada") as ada:
        assert dict(one.endpoint.metadata) == dict(other.endpoint.metadata)
        assert str(os.getpid()) in dict(one.endpoint.metadata)["thresher-client"]
        assert dict(ada.endpoint.metadata)["thresher-client"] == "ada"


@pytest.mark.parametrize("name", ["", "Zo\u00eb", "two\nlines"])
def test_a_name_that_cannot_be_sent_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match=r"name: .* is not plain ASCII text"):
        Client("localhost:1", name=name)


def test_no_server_says_how_to_get_one() -> None:
    with pytest.raises(ThresherError, match="thresher serve") as caught:
        find_server(environ={})
    assert caught.value.reason == "NO_SERVER"


def test_server_that_is_gone_is_named() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    write_runtime_file(RuntimeInfo("unix:/run/x.sock", child.pid))
    with pytest.raises(ThresherError, match=rf"process {child.pid}\) is gone"):
        find_server(environ={})


def test_unreadable_token_file_and_broken_runtime_file_are_named() -> None:
    write_runtime_file(RuntimeInfo("unix:/run/x.sock", os.getpid(), "/does/not/exist"))
    with pytest.raises(ThresherError, match="cannot read the local server's token file"):
        find_server(environ={})
    ensure_runtime_dir()
    runtime_file().write_text("junk")
    with pytest.raises(ThresherError, match="not a runtime file"):
        find_server(environ={})


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("/run/x.sock", "unix:/run/x.sock"),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("unix:///run/x.sock", "unix:///run/x.sock"),
        ("localhost:50051", "localhost:50051"),
        ("[::1]:50051", "[::1]:50051"),
        ("dns:///pool.example:50051", "dns:///pool.example:50051"),
        ("ipv4:10.0.0.1:1,10.0.0.2:1", "ipv4:10.0.0.1:1,10.0.0.2:1"),
    ],
)
def test_addresses(given: str, target: str) -> None:
    assert parse_address(given) == target


@pytest.mark.parametrize("given", ["localhost", "localhost:", "localhost:http", "host:0", "host:70000", "unix:"])
def test_bad_addresses_are_refused(given: str) -> None:
    with pytest.raises(ThresherError, match="host:port") as caught:
        parse_address(given)
    assert repr(given) in str(caught.value)


@pytest.mark.parametrize("given", ["https://host:1", "http://host:1", "grpc://host:1"])
def test_schemes_of_other_protocols_are_refused(given: str) -> None:
    with pytest.raises(ThresherError, match="not supported"):
        parse_address(given)


def test_service_config_retries_all_but_solve() -> None:
    config = Endpoint("localhost:1").service_config
    (method,) = config["methodConfig"]  # type: ignore[misc]
    assert method["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    names = {(name["service"], name.get("method")) for name in method["name"]}
    assert ("thresher.v1.SynthesisService", "SolveOnce") in names
    assert ("thresher.v1.SynthesisService", "Solve") not in names
    assert ("thresher.v1.SynthesisService", None) not in names


def test_only_targets_that_may_be_several_servers_are_health_checked() -> None:
    assert "healthCheckConfig" in Endpoint("dns:///pool:1").service_config
    assert "healthCheckConfig" not in Endpoint("unix:/run/x.sock").service_config
    options = dict(Endpoint("localhost:1").options)
    assert options["grpc.max_receive_message_length"] == options["grpc.max_send_message_length"] == 16 << 20
    json.loads(str(options["grpc.service_config"]))


def test_fork_support_is_off_before_grpc_is_imported() -> None:
    code = "import thresher.client.channel, os; print(os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    environ = {name: value for name, value in os.environ.items() if name != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == "0"
    kept = environ | {"GRPC_ENABLE_FORK_SUPPORT": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=kept)
    assert done.stdout.strip() == "1"
