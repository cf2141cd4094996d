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
        parts=tuple(
            WheelPart(f"tiny-part{n}", "1.0", f"tiny_part{n}/data/{n}.bin", len(piece))
            for n, piece in enumerate(_pieces(content, parts), start=1)
        ),
    )


def _pieces(content: bytes, parts: int) -> list[bytes]:
    size = -(-len(content) // parts) if parts else 0
    return [content[n * size : (n + 1) * size] for n in range(parts)]


def write_wheels(folder: Path, parts: int, content: bytes = CONTENT) -> None:
    """Wheels as pip likes them. Importing one of them would fail the test."""
    folder.mkdir(exist_ok=True)
    for n, piece in enumerate(_pieces(content, parts), start=1):
        info = f"tiny_part{n}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"tiny_part{n}-1.0-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED) as wheel:
            wheel.writestr(f"tiny_part{n}/__init__.py", "raise SystemExit('code of a wheel was executed')")
            wheel.writestr(f"tiny_part{n}/data/{n}.bin", piece)
            metadata = f"Metadata-Version: 2.1\nName: tiny-part{n}\nVersion: 1.0\nRequires-Dist: not-there-at-all\n"
            wheel.writestr(f"{info}/METADATA", metadata)
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")


@contextmanager
def hub(
    content: bytes,
    *,
    status: int = 200,
    announced: int | None = None,
    ranges: bool = False,
    breaks: tuple[int, ...] = (),
) -> Generator[tuple[str, list[str]]]:
    """A server with one file; its address and the paths it was asked for, with `@N` for a range from N on.

    `announced`: the length it promises; `breaks`: after how many bytes the first answers end.
    """
    with server({"": content}, status=status, announced=announced, ranges=ranges, breaks=breaks) as found:
        yield found


@contextmanager
def server(
    files: dict[str, bytes],
    *,
    status: int = 200,
    announced: int | None = None,
    ranges: bool = True,
    breaks: tuple[int, ...] = (),
    for_pip_only: bool = False,
) -> Generator[tuple[str, list[str]]]:
    """A server of files by the ends of their paths. pip's own requests are not listed, nor broken, nor refused."""
    asked: list[str] = []
    left = list(breaks)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = next((name for name in files if self.path.endswith(name)), None)
            if name is None:
                self.send_error(404)
                return
            content, by_pip = files[name], self.headers.get("User-Agent", "").startswith("pip/")
            wanted = self.headers.get("Range") if ranges else None
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and not by_pip else 0
            if not by_pip:
                asked.append(self.path + (f"@{start}" if start else ""))
                if for_pip_only:
                    self.send_error(403)
                    return
            if start >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if start else status)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Type", "text/html" if name.endswith("/") else "application/octet-stream")
            self.send_header("Content-Length", str(len(content) - start if announced is None else announced))
            self.end_headers()
            end = len(content) if by_pip or not left else start + left.pop(0)
            self.wfile.write(content[start:end])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", asked
        finally:
            listening.shutdown()


def index_files(wheels: Path) -> dict[str, bytes]:
    """The files of a package index that holds these wheels, for `server`."""
    files: dict[str, bytes] = {}
    for wheel in sorted(wheels.glob("*.whl")):
        content = wheel.read_bytes()
        link = f"/files/{wheel.name}#sha256={hashlib.sha256(content).hexdigest()}"
        project = wheel.name.split("-")[0].replace("_", "-")
        files[f"/files/{wheel.name}"] = content
        files[f"/simple/{project}/"] = f'<a href="{link}">{wheel.name}</a>'.encode()
    return files
