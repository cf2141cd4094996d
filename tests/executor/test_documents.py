"""docs/executor.md: every example runs and prints what stands below it, and its tables of defaults are the defaults."""

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from engine.config import ExecutorSettings
from executor import Executor, ExecutorConfig, Limits

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "executor.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
UNITS = {"s": 1.0, "KiB": 1 << 10, "MiB": 1 << 20}


def title(example: tuple[str, str]) -> str:
    return next((name for name in re.findall(r"\w+", example[0].split("import", 1)[1])), "")


def test_every_example_says_what_it_prints() -> None:
    assert PAGE.read_text().count("```python\n") == len(EXAMPLES)


@pytest.mark.sandbox
def test_the_first_example_is_a_program() -> None:
    code, printed = EXAMPLES[0]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == printed


@pytest.mark.sandbox
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("example", EXAMPLES[1:], ids=title)
async def test_an_example(
    executor: Executor, example: tuple[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, wanted = example
    if "MbppPlus" in code:
        monkeypatch.chdir(request.getfixturevalue("data_folder") / "mbppplus")
    printed: list[str] = []
    names: dict[str, Any] = {
        "executor": executor,
        "print": lambda *words: printed.append(" ".join(str(word) for word in words) + "\n"),
    }
    compiled = compile(code, PAGE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = FunctionType(compiled, names)()
    if inspect.iscoroutine(result):
        await result
    assert "".join(printed) == wanted
    await executor.settled()


def rows(kind: str) -> list[tuple[str, str]]:
    table = PAGE.read_text().split(f"| field of `{kind}` |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE)


@pytest.mark.parametrize("defaults", [Limits(), ExecutorConfig()], ids=lambda one: type(one).__name__)
def test_the_defaults_are_those_of_the_code(defaults: Limits | ExecutorConfig) -> None:
    found = rows(type(defaults).__name__)
    assert len(found) >= 5
    if isinstance(defaults, Limits):
        assert [name for name, _ in found] == list(Limits.__struct_fields__)
    for name, said in found:
        number, _, unit = said.partition(" ")
        value = getattr(defaults, name)
        assert (float(number) * UNITS[unit] == value) if unit else str(value) == said.strip("'"), name


def test_the_maxima_are_those_of_a_server() -> None:
    most = ExecutorSettings()
    said = f"{most.max_cpu_seconds:g} s of CPU time, {most.max_wall_seconds:g} s, {most.max_memory_bytes >> 30} GiB, "
    said += f"{most.max_output_bytes >> 20} MiB, {most.max_processes} processes"
    assert said in " ".join(PAGE.read_text().split())


def test_the_setting_for_packages_is_one() -> None:
    (line,) = [line for line in PAGE.read_text().splitlines() if line.startswith("THRESHER_")]
    assignment, command = line.split(" ", 1)
    name, value = assignment.split("=")
    assert command == "thresher serve"
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli.main", "serve", "--print-config"],
        cwd=ROOT,
        env=os.environ | {name: value},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert f'site_packages = "{value}"' in done.stdout
