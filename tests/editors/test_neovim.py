"""The plugin in a real Neovim: a file is opened, a function solved, the buffer changes; a keystroke cancels."""

from collections.abc import Generator
from pathlib import Path

import pytest
from support.editor import played, report
from support.fake_server import FakeServer
from support.neovim import neovim
from thresher.v1 import verdict_pb2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STUB = ["def double(n):", '    """', "    >>> double(2)", "    4", '    """', "    ...", "", "", "x = 1"]


@pytest.fixture
def server(tmp_path: Path) -> Generator[FakeServer]:
    with FakeServer(tmp_path / "s.sock") as fake:
        fake.events = lambda: played(("def double(n):\n    return n * 2\n", report(1, 1)))
        yield fake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "double.py"
    path.write_text("\n".join(STUB) + "\n")
    return path


def test_a_function_is_solved_and_the_buffer_changes(tmp_path: Path, server: FakeServer, file: Path) -> None:
    with neovim(tmp_path, file, server.address, "{ k = 3 }") as vim:
        vim.keys("3G:ThresherSolve<CR>")
        vim.until(lambda: vim.lines == [*STUB[:5], "    return n * 2", *STUB[6:]])
        vim.until(lambda: "Thresher: double solved by program 0" in vim.messages)
        assert vim.virtual_text == ""
        assert vim.lua("require('thresher').status()") == ""
        vim.keys("u")
        vim.until(lambda: vim.lines == STUB)
    assert server.specs[0].sampling.k == 3


def test_a_command_waits_for_a_language_server_that_is_starting(tmp_path: Path, server: FakeServer, file: Path) -> None:
    with neovim(tmp_path, file, server.address, held=True) as vim:
        vim.until(lambda: vim.lines == STUB)
        vim.keys("1G:ThresherSolve<CR>9G")
        vim.until(lambda: "its language server is starting" in vim.messages)
        vim.begin()
        vim.until(lambda: "    return n * 2" in vim.lines)
        assert "does not run here" not in vim.messages


def test_a_keystroke_in_the_function_cancels(tmp_path: Path, server: FakeServer, file: Path) -> None:
    server.hang = True
    with neovim(tmp_path, file, server.address) as vim:
        vim.keys("1G:ThresherSolve<CR>")
        vim.until(lambda: "drawing from fake" in vim.virtual_text)
        assert vim.lua("require('thresher').status()") == "Thresher: 1 running"
        vim.keys("9Gox = 2<Esc>")
        vim.until(lambda: "x = 2" in vim.lines)
        assert not server.cancelled.wait(1.0)
        vim.keys("6GA  # mine<Esc>")
        assert server.cancelled.wait(60)
        vim.until(lambda: vim.virtual_text == "")
        vim.until(lambda: "Thresher: double stopped: the function was edited" in vim.messages)
        assert vim.lua("require('thresher').status()") == ""
        assert vim.lines[5] == "    ...  # mine"
        assert "ERROR" not in vim.messages.upper()


@pytest.mark.parametrize("start", [":ThresherSolve<CR>", ":lua vim.lsp.buf.code_action({ apply = true })<CR>"])
def test_a_command_cancels(tmp_path: Path, server: FakeServer, file: Path, start: str) -> None:
    server.hang = True
    with neovim(tmp_path, file, server.address) as vim:
        vim.keys(f"1G{start}")
        vim.until(lambda: "drawing from fake" in vim.virtual_text)
        assert vim.lua("require('thresher').status()") == "Thresher: 1 running"
        vim.keys(":ThresherCancel<CR>")
        assert server.cancelled.wait(60)
        vim.until(lambda: "Thresher: double stopped" in vim.messages)
        vim.until(lambda: vim.lua("require('thresher').status()") == "")
        assert vim.virtual_text == ""
        vim.keys(":ThresherCancel<CR>")
        vim.until(lambda: "Thresher: nothing is running" in vim.messages)
        assert vim.messages.count("double stopped") == 1


def test_what_waits_for_the_language_server_is_cancelled_too(tmp_path: Path, server: FakeServer, file: Path) -> None:
    with neovim(tmp_path, file, server.address, held=True) as vim:
        vim.until(lambda: vim.lines == STUB)
        vim.keys("1G:ThresherSolve<CR>")
        vim.until(lambda: vim.lua("require('thresher').status()") == "Thresher: 1 running")
        vim.keys(":ThresherCancel<CR>")
        vim.until(lambda: "Thresher: stopped before it began" in vim.messages)
        assert vim.lua("require('thresher').status()") == ""
        vim.begin()
        vim.until(lambda: vim.lua("#vim.lsp.get_clients({name = 'thresher'})") == 1)
        vim.keys("1G:ThresherSolve<CR>")
        vim.until(lambda: "    return n * 2" in vim.lines)
    assert len(server.specs) == 1


def test_a_language_server_that_ends_leaves_nothing_running(tmp_path: Path, server: FakeServer, file: Path) -> None:
    server.hang = True
    with neovim(tmp_path, file, server.address) as vim:
        vim.keys("1G:ThresherSolve<CR>")
        vim.until(lambda: "drawing from fake" in vim.virtual_text)
        vim.keys(":lua vim.lsp.get_clients({ name = 'thresher' })[1].rpc.terminate()<CR>")
        vim.until(lambda: "Thresher: its language server ended" in vim.messages)
        assert vim.lua("require('thresher').status()") == ""
        assert vim.virtual_text == ""


def test_what_failed_is_shown_and_told_in_the_next_round(tmp_path: Path, server: FakeServer, file: Path) -> None:
    failed = "not so: _thresher_examples('double(2)\\n') == '4\\n' (got '2\\n')"
    server.events = lambda: played(("def double(n):\n    return n\n", report(0, 1, failed)))
    server.report = report(0, 1, failed)
    with neovim(tmp_path, file, server.address) as vim:
        vim.keys("1G:lua vim.lsp.buf.code_action({ apply = true })<CR>")
        vim.until(lambda: vim.lua("#vim.diagnostic.get(0)") == 1)
        found = vim.lua("vim.diagnostic.get(0)[1]")
        assert found["message"].startswith("double(2) gives 2, expected 4")
        assert (found["lnum"], found["source"]) == (2, "thresher")
        server.events = lambda: played(("def double(n):\n    return n + n\n", report(1, 1)))
        server.report = verdict_pb2.ExecutionReport(verdict="VERDICT_PASSED", tests_passed=1, tests_total=1)
        vim.keys("1G:ThresherRefine Add it to itself.<CR>")
        vim.until(lambda: "    return n + n" in vim.lines)
        vim.until(lambda: vim.lua("#vim.diagnostic.get(0)") == 0)
    said = server.specs[-1].problem.chat.messages[-1].content
    assert "Add it to itself." in said


def test_without_a_server_the_command_that_starts_one_is_named(tmp_path: Path, file: Path) -> None:
    with neovim(tmp_path, file, None) as vim:
        vim.keys("1G:ThresherSolve<CR>")
        vim.until(lambda: "Start one in a terminal: thresher serve" in vim.messages)
        assert vim.virtual_text == ""
        assert vim.lines == STUB
