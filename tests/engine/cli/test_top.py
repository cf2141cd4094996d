"""`thresher top`: figures of scrapes, and the command against a server that solves."""

import asyncio
import json
import math
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from wsgiref.simple_server import WSGIServer

import pytest
from prometheus_client import generate_latest, start_http_server
from rich.console import Console
from thresher.client import Client, solve_spec
from typer.testing import CliRunner

from engine.cli._top import Figures, History, picture
from engine.cli.main import app
from engine.exposition import Book, grown, key, quantile, read
from engine.metrics import Metrics
from tests.support.certificates import Authority
from tests.support.load_server import load_server
from tests.support.scripted_engine import NAME
from tests.support.served import serving


@dataclass
class Terminal:
    """`thresher top` in a terminal of 24 lines of 100 columns. seen: all that it wrote."""

    process: subprocess.Popen[bytes]
    screen: int
    seen: bytes = b""

    def read_until(self, shows: Callable[[bytes], bool]) -> None:
        """AssertionError with what is there if it does not come within two minutes."""
        due = time.monotonic() + 120
        while not shows(self.seen):
            assert time.monotonic() < due, self.seen[-2000:]
            if select.select([self.screen], [], [], 0.2)[0]:
                self.seen += os.read(self.screen, 1 << 16)


@contextmanager
def terminal(*words: str) -> Generator[Terminal]:
    screen, inside = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "24"}
    command = [sys.executable, "-m", "engine.cli.main", "top", "--every", "0.2", *words]
    # In what a shell runs in the background SIGINT is ignored, and what it starts inherits that; a handler it does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command, stdin=inside, stdout=inside, stderr=inside, env=environment, start_new_session=True
    )
    signal.signal(signal.SIGINT, before)
    os.close(inside)
    try:
        yield Terminal(process, screen)
    finally:
        process.kill()
        process.wait()
        os.close(screen)


@contextmanager
def own_port() -> Generator[int]:
    """A port of the loopback that nobody else is given. Calls to it are refused while no server of ours listens."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def end(server: WSGIServer, thread: Thread) -> None:
    """A metrics endpoint is gone."""
    server.shutdown()
    server.server_close()
    thread.join()


def scrape(metrics: Metrics) -> Book:
    return read(generate_latest(metrics.registry).decode())


def test_quantiles_are_as_prometheus_has_them() -> None:
    bounds = {1.0: 2.0, 2.0: 6.0, 4.0: 8.0, math.inf: 10.0}
    book = {key("h_bucket", le=str(bound), model="m"): count for bound, count in bounds.items()}
    assert quantile(book, 0.5, "h", model="m") == 1.75
    assert quantile(book, 0.1, "h") == 0.5
    assert quantile(book, 0.95, "h") == 4.0
    assert quantile(book, 0.5, "h", model="other") is None
    assert quantile(grown(book, book), 0.5, "h") is None


def test_rates_are_of_the_window_and_what_is_old_falls_out() -> None:
    metrics = Metrics()
    metrics.serve_models(["m"])
    metrics.build(version="1", torch="", triton="", device="cpu")
    history = History(10.0)
    first = history.add(scrape(metrics), now=100.0)
    assert (first.window, first.models[0].row_rate) == (0.0, 0.0)
    for _ in range(8):
        metrics.verdict("passed", "request")
    metrics.executors.pool(busy=3, idle=1, starting=0, queue_depth=7)
    metrics.branch_ended("m", "finished")
    found = history.add(scrape(metrics), now=104.0)
    assert (found.window, found.programs_rate, found.passed_rate) == (4.0, 2.0, 2.0)
    assert (found.slots, found.queue, found.branches) == ({"busy": 3, "idle": 1, "starting": 0}, 7, {"finished": 0.25})
    later = history.add(scrape(metrics), now=200.0)
    assert (later.window, later.programs_rate) == (96.0, 0.0), "between the last two at least"


def test_rates_of_a_server_that_was_started_again_are_of_its_new_life() -> None:
    old, new, history = Metrics(), Metrics(), History(10.0)
    for _ in range(8):
        old.verdict("passed", "request")
    new.verdict("passed", "request")
    history.add(scrape(old), now=1.0)
    found = history.add(scrape(new), now=5.0)
    assert (found.window, found.programs_rate) == (0.0, 0.0)
    new.verdict("passed", "request")
    found = history.add(scrape(new), now=7.0)
    assert (found.window, found.programs_rate) == (2.0, 0.5)


def drawn(found: Figures) -> str:
    console = Console(width=120, record=True)
    console.print(picture("127.0.0.1:9464", found))
    return console.export_text()


def test_a_server_that_has_done_nothing_is_shown() -> None:
    metrics = Metrics()
    metrics.serve_models(["quiet"])
    text = drawn(History(10.0).add(scrape(metrics), now=1.0))
    assert "quiet" in text
    assert "time to first pass, 50 %, 90 %" in text
    assert "–, –" in text


def test_the_command_shows_what_a_server_does() -> None:
    with load_server() as server, Client(server.address) as client, ThreadPoolExecutor(1) as beside:
        words = ["top", "--metrics", server.metrics, "--once", "--every", "1"]
        plain, shown = (beside.submit(CliRunner().invoke, app, [*words, *more]) for more in (["--json"], []))
        problem = {"completion": "easy", "tests": ["visible"], "sampling": {"k": 2}}
        while not shown.done():
            client.solve_once(solve_spec(problem), timeout=30)
    assert plain.result().exit_code == shown.result().exit_code == 0, plain.result().output
    document = json.loads(plain.result().stdout)
    assert document["calls_rate"] > 0 and document["programs_rate"] > 0
    (model,) = document["models"]
    assert model["model"] == NAME
    assert model["solved_rate"] > 0 and model["row_rate"] > 0 and model["tokens_per_row"] >= 1
    assert model["pass_median"] <= model["pass_90"]
    assert NAME in shown.result().stdout and "goodput" in shown.result().stdout


def test_in_a_terminal_it_is_drawn_again_until_ctrl_c() -> None:
    with load_server() as server, Client(server.address) as client, terminal("--metrics", server.metrics) as top:
        top.read_until(lambda seen: b"goodput" in seen)
        assert b"\x1b[?1049h" in top.seen, "the screen of before is put by"
        for _ in range(3):
            client.solve_once(
                solve_spec({"completion": "easy", "tests": ["visible"], "sampling": {"k": 2}}), timeout=30
            )
        top.read_until(lambda seen: seen.count(b"goodput") >= 4)
        top.process.send_signal(signal.SIGINT)
        top.read_until(lambda seen: b"\x1b[?1049l" in seen)
        assert top.process.wait(100) == 0


def test_it_waits_for_a_server_that_is_gone_for_a_while() -> None:
    metrics, lives = Metrics(), list[tuple[WSGIServer, Thread]]()
    with own_port() as port, ExitStack() as stack:
        lives.append(start_http_server(port, "127.0.0.1", metrics.registry))
        top = stack.enter_context(terminal("--metrics", f"127.0.0.1:{port}"))
        top.read_until(lambda seen: b"goodput" in seen)
        end(*lives.pop())
        top.read_until(lambda seen: b"no answer since" in seen)
        lives.append(start_http_server(port, "127.0.0.1", metrics.registry))
        place = len(top.seen)
        top.read_until(
            lambda seen: b"front" in (last := seen[place:].rpartition(b"calls/s")[2]) and b"no answer" not in last
        )
        top.process.send_signal(signal.SIGINT)
        assert top.process.wait(100) == 0
    end(*lives.pop())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--metrics", "127.0.0.1:1", "--once"], 3, "start the server with --metrics"),
        (["--json"], 2, "--json goes with --once"),
        (["--tls-certificate", "a.pem"], 2, "go together"),
        (["--tls-ca", "none.pem", "--once"], 2, "cannot be used"),
    ],
)
def test_wrong_use_and_no_server_are_told(words: list[str], code: int, said: str) -> None:
    done = CliRunner().invoke(app, ["top", *words])
    assert done.exit_code == code
    assert said in done.output


async def test_an_endpoint_with_tls_is_reached_by_its_issuer(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("127.0.0.1")
    settings = {"tls_certificate": files.certificate, "tls_key": files.key, "metrics_listen": "127.0.0.1:0"}
    async with serving(tcp=True, serving=settings) as served:
        words = ["top", "--metrics", f"127.0.0.1:{served.front.metrics_port}", "--once", "--every", "0.1"]
        plain = await asyncio.to_thread(CliRunner().invoke, app, words)
        believing = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--tls-ca", str(authority.ca)])
    assert plain.exit_code == 3
    assert believing.exit_code == 0 and "goodput" in believing.stdout
