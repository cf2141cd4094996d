"""docs/cascades.md: its examples print over gRPC what stands below them, its commands and settings are accepted."""

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from thresher.client import solve_spec
from typer.testing import CliRunner

from engine.cli.main import app
from engine.config import Settings
from engine.config_cascade import TierSettings
from engine.loop.client import thread_starter
from engine.metric_words import ESCALATIONS
from engine.metrics import Metrics
from engine.serving.solve_in import solve_in
from engine.solving.cascade import CascadeSolver
from engine.solving.solver import Solver
from engine.solving.stage import Policy, Stage
from engine.solving.tiered import TieredSolver
from engine.solving.tiers import LocalTier, Terms
from executor.types import Program, SnippetTest
from executor.verdict import Report, TestReport, Verdict
from tests.support.fake_server import FakeServer
from tests.support.scripted_engine import FakeExecutor, Script, serve_script
from tests.support.served import Served, serving

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cascades.md").read_text()
EXAMPLES: list[tuple[str, str]] = re.findall(
    r"^```python\n(.*?)^```\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
)
SHELL = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
FRONT = ROOT / "docs" / "examples" / "front.py"

BODIES = {"small": {"a - b": 3.0, "a * b": 1.0}, "big": {"a + b": 3.0, "a - b": 1.0}}


class TrustingExecutor(FakeExecutor):
    """Runs the scripted programs here: they are the ones above."""

    async def run(self, program: Program, *, group: str = "", on_test: object = None) -> Report:
        (test,) = program.tests
        assert isinstance(test, SnippetTest)
        try:
            exec(f"{program.code}\n{test.code}", {})  # noqa: S102
            verdict = Verdict.PASSED
        except AssertionError:
            verdict = Verdict.WRONG_ANSWER
        return Report(verdict=verdict, tests=(TestReport(index=0, verdict=verdict),), tests_total=1)


def _problem() -> dict[str, Any]:
    """PROBLEM, as the page says it."""
    names: dict[str, Any] = {}
    document = EXAMPLES[0][0].partition("PROBLEM = ")[2].partition("\nclient")[0]
    exec(f"PROBLEM = {document}", names)  # noqa: S102
    return names["PROBLEM"]


def _script(model: str) -> Script:
    (message,) = solve_spec(_problem()).problem.chat.messages
    code = "```python\ndef add(a, b):\n    return {}\n```"
    return Script({f"{message.content}\n\n": {code.format(body): weight for body, weight in BODIES[model].items()}})


@asynccontextmanager
async def two_models() -> AsyncGenerator[Served]:
    """A server of two scripted models and a cascade of them."""
    metrics = Metrics()
    own = Solver(
        starters={name: thread_starter(serve_script(_script(name), shared=True)) for name in BODIES},
        executor=TrustingExecutor(),  # type: ignore[arg-type]
        metrics=metrics,
        max_k=64,
    )
    stages = [Stage(LocalTier(name, name, own), Terms()) for name in BODIES]
    cascade = CascadeSolver("cascade", stages, Policy(), most=64, waiting=16, metrics=metrics)
    metrics.serve_tiers(list(BODIES))
    solver: Any = TieredSolver(own, cascade, ())
    await solver.start()
    try:
        async with serving(solver) as running:
            yield running
    finally:
        await solver.close()


def _run_page() -> None:
    names: dict[str, Any] = {}
    for code, wanted in EXAMPLES:
        printed: list[str] = []
        names["print"] = _writer(printed)
        exec(compile(code, "cascades.md", "exec"), names)  # noqa: S102
        assert "".join(printed) == wanted, code
    names["client"].close()


def _writer(printed: list[str]) -> Callable[..., None]:
    return lambda *words: printed.append(" ".join(map(str, words)) + "\n")


async def test_the_examples_print_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PAGE.count("```python\n") == len(EXAMPLES) == 3
    async with two_models() as running:
        monkeypatch.setenv("THRESHER_ADDRESS", f"unix:{running.folder}/s")
        await asyncio.to_thread(_run_page)


@pytest.mark.parametrize("command", [line for line in SHELL if line.startswith("thresher solve")])
def test_solves_are_accepted(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    with FakeServer(tmp_path / "s") as server:
        result = CliRunner().invoke(app, [*shlex.split(command)[1:], "--address", server.address, "-q"])
    assert result.exit_code == 0, result.stderr
    (asked,) = server.specs
    solve_in(asked, "spec", Settings())


@pytest.mark.parametrize("command", [line for line in SHELL if line.startswith(("thresher serve", "thresher route"))])
def test_tiers_of_the_commands_are_settings(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THRESHER_CONFIG", raising=False)
    result = CliRunner().invoke(app, [*shlex.split(command)[1:], "--print-config"])
    assert result.exit_code == 0, result.output
    found = Settings.model_validate(tomllib.loads(result.stdout))
    assert [tier.name for tier in found.cascade.tiers] == ["small", "big"]
    here = {tier.model for tier in found.cascade.tiers if not tier.addresses}
    assert here <= set(found.models.serve)


def test_the_tables_of_the_file_are_settings() -> None:
    text, shares = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    found = Settings.model_validate(tomllib.loads(text + shares))
    assert {share.model for share in found.engine.shares} <= set(found.models.serve)
    assert [(tier.name, tier.k) for tier in found.cascade.tiers] == [("small", 4), ("big", None)]
    assert {tier.model for tier in found.cascade.tiers} == set(found.models.serve)


def test_every_setting_and_every_reason_is_named() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {*TierSettings.model_fields} - named == set()
    assert {*ESCALATIONS} - {*named, "other"} == set()
    words = {"policy", "hedge_ms", "hedge_below", "give_up", "silence_seconds", "tls_ca", "tls_certificate", "tls_key"}
    assert [word for word in words if word not in PAGE] == []


# The front


@contextmanager
def other_server(*programs: str) -> Generator[tuple[str, list[dict[str, Any]]]]:
    """A server with OpenAI's chat completions that answers with these programs in turn; its requests."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = f"Here it is:\n```python\n{programs[len(asked)]}```\nGood luck!"
            asked.append({"path": self.path, **body})
            answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def front(address: str, problem: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(FRONT), str(problem), *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "THRESHER_ADDRESS": address},
    )


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({**_problem(), "model": "small", "sampling": {"k": 4, "seed": 1}}))
    return path


RIGHT, WRONG = (f"def add(a, b):\n    return {body}\n" for body in ("a + b", "a - b"))


async def test_the_front_asks_the_other_model_first_and_draws_nothing_where_it_is_right(problem: Path) -> None:
    async with two_models() as running:
        with other_server(WRONG, RIGHT) as (url, asked):
            words = ("--first", url, "--model", "theirs", "--tries", "2")
            done = await asyncio.to_thread(front, f"unix:{running.folder}/s", problem, *words)
    assert (done.returncode, done.stdout.strip()) == (0, RIGHT.strip()), done.stderr
    assert "solved by theirs, 0 tokens drawn by Thresher" in done.stderr
    assert [(one["path"], one["model"], one["temperature"]) for one in asked] == [
        ("/v1/chat/completions", "theirs", 0.0),
        ("/v1/chat/completions", "theirs", 0.8),
    ]
    assert "assert add(2, 3) == 5" in asked[0]["messages"][0]["content"]


def test_what_was_wrong_goes_along(problem: Path, tmp_path: Path) -> None:
    with FakeServer(tmp_path / "s") as server, other_server(WRONG, WRONG) as (url, _):
        done = front(server.address, problem, "--first", url, "--tries", "2")
    assert done.returncode == 0, done.stderr
    (spec,) = server.specs
    assert [attempt.code for attempt in spec.cascade.prior_attempts] == [WRONG], "each program once"
    assert (spec.cascade.attempts_in_prompt, spec.cascade.tier, spec.cascade.upstream_model) == (True, 1, "first")
    solve_in(spec, "spec", Settings())


async def test_without_the_other_server_thresher_is_asked_alone_and_says_whether_to_go_on(problem: Path) -> None:
    async with two_models() as running:
        words = ("--first", "http://127.0.0.1:9/v1")
        done = await asyncio.to_thread(front, f"unix:{running.folder}/s", problem, *words)
    assert done.returncode == 1, done.stderr
    assert "the first model cannot be asked" in done.stderr
    assert "a stronger model is worth asking: True (none of" in done.stderr


def test_the_command_of_the_page_is_that_of_the_front(tmp_path: Path) -> None:
    (command,) = [line for line in SHELL if line.startswith("python")]
    _, script, file, *words = shlex.split(command)
    assert ROOT / script == FRONT
    with FakeServer(tmp_path / "s") as server, other_server("def f(): pass\n", "def f(): 1\n") as (url, _):
        given = [url if word.startswith("http") else word for word in words]
        done = front(server.address, ROOT / file, *given)
    assert done.returncode == 0, done.stderr
    assert [spec.cascade.upstream_model for spec in server.specs] == ["their-model"]
