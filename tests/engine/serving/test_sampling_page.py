"""docs/sampling.md: its examples run over gRPC and print what stands below them, its commands are accepted."""

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.config import Settings
from engine.metric_words import BRANCH_OUTCOMES
from engine.metrics import Metrics
from engine.serving.solve_in import solve_in
from engine.solving.summary import Accounting
from executor.types import Program, SnippetTest
from executor.verdict import Report, TestReport, Verdict
from tests.support.fake_server import FakeServer
from tests.support.sampling_page import EXAMPLES, PAGE, ROOT, run_page
from tests.support.scripted_engine import FakeExecutor, Script, scripted_solver
from tests.support.served import serving

COMMANDS = re.findall(r"^thresher solve .*$", PAGE, re.MULTILINE)

BODIES = {"a + b": 50.0, "a - b": 20.0, " a + b": 10.0, "b + a": 10.0, "b - a": 5.0, "a * b": 4.0, "(a": 1.0}
TEXTS = {
    'def add(a, b):\n    """Return the sum of a and b."""\n': {f"    return {body}\n": w for body, w in BODIES.items()},
    "Write a Python function add(a, b) that returns their sum.\n\n": {
        f"```python\ndef add(a, b):\n    return {body}\n```": weight for body, weight in BODIES.items()
    },
}


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
        except SyntaxError:
            verdict = Verdict.COMPILE_ERROR
        return Report(verdict=verdict, tests=(TestReport(index=0, verdict=verdict),), tests_total=1)


def test_every_example_says_what_it_prints() -> None:
    assert PAGE.count("```python\n") == len(EXAMPLES) >= 7


async def test_the_examples_print_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    solver: Any = scripted_solver(Script(TEXTS), TrustingExecutor(), max_k=4096)
    await solver.start()
    try:
        async with serving(solver) as running:
            monkeypatch.setenv("THRESHER_ADDRESS", f"unix:{running.folder}/s")
            await asyncio.to_thread(run_page)
    finally:
        await solver.close()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_accepted(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with FakeServer(tmp_path / "s") as server:
        words = [*shlex.split(command)[1:], "--address", server.address, "-q"]
        result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    (asked,) = server.specs
    solve_in(asked, "spec", Settings())


def test_the_figures_are_those_of_the_accounting() -> None:
    table = PAGE.split("| figure | meaning |", 1)[1].split("\n\n", 1)[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert {name for name in named if not name.startswith("_")} - {
        "prune",
        "distinct",
        "beam",
        "distinct_programs",
    } <= {*Accounting.__dataclass_fields__}
    families = {family.name for family in Metrics().registry.collect()}
    for metric in re.findall(r"`thresher_(\w+)_total\{", PAGE):
        assert f"thresher_{metric}" in families
    assert "pruned" in BRANCH_OUTCOMES


def test_the_bounds_are_those_of_the_server() -> None:
    assert f"the server's `limits.max_k` ({Settings().limits.max_k:,})" in " ".join(PAGE.split())
