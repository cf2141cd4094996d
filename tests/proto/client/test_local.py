"""`local_server`: the one that runs is found, else one is started, and stopped again."""

import os
import sys
from pathlib import Path

import psutil
import pytest
from support.fake_server import FakeServer
from thresher.client import ThresherError, execute, local_server, solve
from thresher.client.runtime import RuntimeInfo, read_runtime_file, write_runtime_file


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("THRESHER_ADDRESS", raising=False)
    return tmp_path


def test_the_server_that_runs_is_found_and_left_running(folder: Path) -> None:
    with FakeServer(folder / "s.sock") as fake:
        write_runtime_file(RuntimeInfo(fake.address, os.getpid()))
        with local_server() as server:
            assert (server.started, server.log) == (False, None)
            with server.client() as client:
                assert client.health() == "SERVING"
        with server.client() as client:
            assert client.health() == "SERVING"
        with pytest.raises(ValueError, match="--model small cannot be given to the server that runs at"):
            local_server("--model", "small")


def test_one_that_cannot_start_says_why() -> None:
    with pytest.raises(ThresherError, match="No such option") as caught:
        local_server("--no-such-flag", timeout=200)
    assert caught.value.reason == "NOT_STARTED"
    assert "thresher doctor" in str(caught.value)


def test_without_the_command_it_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(ThresherError, match=r"pip install 'thresher\[server\]'"):
        local_server()


@pytest.mark.sandbox
def test_one_is_started_serves_and_ends() -> None:
    with local_server("--executor-only", timeout=250) as server:
        assert server.started
        running = read_runtime_file()
        assert running is not None
        assert running.alive
        with server.client() as client:
            report = execute("def f(n):\n    return n + 1\n", ["assert f(1) == 2"], client=client)
        assert (report.tests_passed, report.tests_total) == (1, 1)
    assert read_runtime_file() is None
    assert not running.alive
    server.close()


@pytest.mark.model
@pytest.mark.sandbox
@pytest.mark.timeout(900)
def test_one_with_a_model_solves_and_leaves_no_process() -> None:
    with local_server("--model", "smollm2-135m-instruct", timeout=600) as server:
        running = read_runtime_file()
        assert running is not None
        front = psutil.Process(running.pid)
        family = [front, *front.children(recursive=True)]
        assert len(family) >= 3, "the front, an engine, an executor"
        with server.client() as client:
            tests = ["assert add(2, 3) == 5", "assert add(-1, 1) == 0"]
            # An easy one for a small model: 57 of 64 of its samples passed.
            result = solve("Write a function add(a, b) that adds two numbers.", tests, k=32, client=client)
            family += [one for one in front.children(recursive=True) if one not in family]
        assert result.solved, result
        assert (result.code or "").count("def add") >= 1
    # Those that the front has not waited for are on their way out.
    _, alive = psutil.wait_procs(family, 60)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    assert read_runtime_file() is None
