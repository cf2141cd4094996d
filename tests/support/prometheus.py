"""A real Prometheus for tests: where its programs are, and a server of it that scrapes one target."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.server import free_port

ROOT = Path(__file__).parents[2]
_UNPACKED = ROOT / ".venv" / "prometheus"
_START_SECONDS = 60.0


def program(name: str) -> str | None:
    """The path of `prometheus` or `promtool`; None where it is not there."""
    unpacked = _UNPACKED / name
    return shutil.which(name) or (str(unpacked) if unpacked.exists() else None)


needs_prometheus = pytest.mark.skipif(
    program("prometheus") is None or program("promtool") is None,
    reason="Prometheus is not here; `make prometheus` unpacks Debian's package",
)


def promtool(*arguments: str | Path, given: bytes = b"") -> tuple[int, str]:
    """Run promtool; its exit status and what it said."""
    path = program("promtool")
    assert path is not None
    done = subprocess.run(
        [path, *map(str, arguments)], input=given, capture_output=True, timeout=120, check=False, cwd=ROOT
    )
    return done.returncode, (done.stdout + done.stderr).decode()


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one; `url` is its address."""

    url: str

    def get(self, path: str, **asked: str) -> Any:
        """The data of an answer of the HTTP API."""
        query = f"?{urllib.parse.urlencode(asked)}" if asked else ""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}{query}", timeout=30) as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def value(self, expression: str, **asked: str) -> float:
        """The one value of an instant query, once there is one: a scrape that came too late leaves a gap."""
        until = time.monotonic() + _START_SECONDS
        while not (found := self.get("query", query=expression, **asked)["result"]) and time.monotonic() < until:
            time.sleep(0.2)
        (one,) = found
        return float(one["value"][1])


@contextmanager
def scraping(
    target: str, folder: Path, *, every: str = "1s", rules: Path | None = None, features: str = ""
) -> Iterator[Prometheus]:
    """A Prometheus on loopback that scrapes `target` (host:port) and evaluates `rules`, with its data in `folder`.
    `features`: those that it has to be asked for, with commas between."""
    config = folder / "prometheus.yml"
    files = "" if rules is None else f"rule_files: ['{rules}']\n"
    config.write_text(
        f"global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}\n{files}"
        f"scrape_configs:\n  - job_name: thresher\n    static_configs: [{{targets: ['{target}']}}]\n"
    )
    options = (f"--enable-feature={features}",) if features else ()
    with started(f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", *options, folder=folder) as one:
        yield one


@contextmanager
def started(*options: str, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus with these options on a free port of loopback, whose log goes to `folder`."""
    address = f"127.0.0.1:{free_port()}"
    path = program("prometheus")
    assert path is not None
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [path, *options, f"--web.listen-address={address}"], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_ready(f"http://{address}/-/ready", process, log)
        yield Prometheus(f"http://{address}")
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"Prometheus is not ready after {_START_SECONDS:g} s:\n{log.read_text()}")
