"""A small stand-in for the data sets of the Hugging Face hub."""

import hashlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import pytest


@contextmanager
def dataset_hub(
    monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], *, delivered: dict[str, bytes] | None = None
) -> Generator[list[str]]:
    """A hub whose files are known by the ends of their paths; gives the paths of files that were asked for.

    `files` are what it announces, with the hash that a hub gives files in git; `delivered` are other bytes for some.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_content=False)

        def do_GET(self) -> None:
            self._answer(with_content=True)

        def _answer(self, *, with_content: bool) -> None:
            if "/resolve/" in self.path:  # the library has other questions, too
                asked.append(self.path)
            name = next((name for name in files if self.path.endswith(name)), None)
            if name is None:
                self.send_error(404)
                return
            content = files[name]
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
            self.send_response(200)
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if with_content:
                self.wfile.write((delivered or {}).get(name, content))

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        use_hub(monkeypatch, f"http://127.0.0.1:{listening.server_port}")
        try:
            yield asked
        finally:
            listening.shutdown()


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Let the library take this address for the hub's."""
    constants = huggingface_hub.constants
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
