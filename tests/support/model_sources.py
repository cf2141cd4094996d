"""Small stand-ins for the places that models come from: a folder of wheels, and a hub."""

import hashlib
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from engine.models.entry import HubFile, ModelEntry, WheelPart

CONTENT = bytes(range(256)) * 5000


def entry(parts: int, *, hub: bool = False, content: bytes = CONTENT) -> ModelEntry:
    """A model of `content` in so many wheels, and perhaps on the hub."""
    return ModelEntry(
        name="tiny",
        file="tiny.gguf",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        licence="CC0-1.0",
        hub=HubFile("someone/tiny", "0" * 40, "tiny.gguf") if hub else None,
        parts=tuple(WheelPart(f"tiny-part{n}", "1.0", f"tiny_part{n}/data/{n}.bin") for n in range(1, parts + 1)),
    )


def write_wheels(folder: Path, parts: int, content: bytes = CONTENT) -> None:
    """Wheels as pip likes them. Importing one of them would fail the test."""
    folder.mkdir(exist_ok=True)
    size = -(-len(content) // parts)
    for n in range(1, parts + 1):
        info = f"tiny_part{n}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"tiny_part{n}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(f"tiny_part{n}/__init__.py", "raise SystemExit('code of a wheel was executed')")
            wheel.writestr(f"tiny_part{n}/data/{n}.bin", content[(n - 1) * size : n * size])
            metadata = f"Metadata-Version: 2.1\nName: tiny-part{n}\nVersion: 1.0\nRequires-Dist: not-there-at-all\n"
            wheel.writestr(f"{info}/METADATA", metadata)
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")


@contextmanager
def hub(content: bytes, *, status: int = 200, announced: int | None = None) -> Generator[tuple[str, list[str]]]:
    """A server with one file; its address and the paths it was asked for. `announced`: the length it promises."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) if announced is None else announced))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
