"""`thresher exec` and the examples of the pages, against a server that runs programs in real jails and has no model."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from thresher.client import Client

from benchmarks.server import free_port

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PREFIX = """
def common_prefix(words):
    shortest = min(words, key=len, default="")
    while any(not word.startswith(shortest) for word in words):
        shortest = shortest[:-1]
    return shortest
"""
COUNT = {
    "a.py": "import sys\nfrom collections import Counter\n"
    "for word, n in sorted(Counter(sys.stdin.read().lower().split()).items()): print(word, n)\n",
    "b.cpp": "#include <iostream>\n#include <map>\n#include <string>\nint main() {\n"
    "  std::map<std::string, int> counts;\n  for (std::string w; std::cin >> w;) {\n"
    "    for (auto &c : w) c = tolower(c);\n    counts[w]++;\n  }\n"
    '  for (auto &[w, n] : counts) std::cout << w << " " << n << "\\n";\n}\n',
    "c.js": 'import { readFileSync } from "node:fs";\nconst counts = {};\n'
    'for (const w of readFileSync("/dev/stdin", "utf8").toLowerCase().split(/\\s+/))\n'
    "  if (w) counts[w] = (counts[w] ?? 0) + 1;\n"
    "for (const w of Object.keys(counts).sort()) console.log(w, counts[w]);\n",
}


@contextmanager
def serving(folder: Path, *options: str) -> Generator[str]:
    """An executor-only server; its address."""
    command = [sys.executable, "-m", "engine.cli.main", "serve", "--executor-only", *options]
    server = subprocess.Popen(command, env=os.environ | {"XDG_RUNTIME_DIR": str(folder)}, cwd=ROOT)
    address = options[options.index("--listen") + 1]
    try:
        with Client(address) as client:
            client.wait_ready(180)
        yield address
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="thr") as folder,
        serving(Path(folder), "--listen", f"unix:{folder}/s") as one,
    ):
        yield one


def thresher(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("THRESHER_")}
    command = [sys.executable, "-m", "engine.cli.main", *words]
    return subprocess.run(command, env=clean | environment, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_documented_problem_with_a_hidden_test(server: str, tmp_path: Path) -> None:
    solution = tmp_path / "solution.py"
    solution.write_text(PREFIX)
    words = ("exec", str(solution), "--tests", str(DOCS / "examples" / "common_prefix.yaml"), "--address", server)
    done = thresher(*words)
    assert (done.returncode, "passed: 4 of 4 tests passed" in done.stdout) == (0, True), done.stdout + done.stderr
    solution.write_text(PREFIX.replace("return shortest", 'return shortest if words != ["same", "same"] else ""'))
    done = thresher(*words)
    assert (done.returncode, "3 of 4 tests passed" in done.stdout) == (1, True), "the hidden test counts"


@pytest.mark.skipif(not (shutil.which("g++") and shutil.which("node")), reason="this machine has no g++ or no node")
def test_programs_of_three_languages_by_their_endings(server: str, tmp_path: Path) -> None:
    for name, code in COUNT.items():
        (tmp_path / name).write_text(code)
    sources = [str(tmp_path / name) for name in COUNT]
    problem = str(DOCS / "examples" / "word_count.yaml")
    done = thresher("exec", *sources, "--tests", problem, "--address", server, "--json")
    assert done.returncode == 0, done.stdout
    rows: list[dict[str, Any]] = json.loads(done.stdout)["programs"]
    assert [(row["source"], row["report"]["verdict"]) for row in rows] == [(name, "passed") for name in sources]


def test_a_limit_beyond_the_servers_is_told(server: str, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("tests: [f()]\nlimits: {cpu_seconds: 9999}\n")
    (tmp_path / "a.py").write_text("def f(): pass\n")
    done = thresher("exec", str(tmp_path / "a.py"), "--tests", str(tmp_path / "p.yaml"), "--address", server)
    assert done.returncode == 0
    assert "this server allows no more than: cpu_time 60 instead of 9999" in done.stdout


def test_a_token_for_tcp(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-sixteen-or-more\n")
    token.chmod(0o600)
    (tmp_path / "a.py").write_text("def f(): pass\n")
    with serving(tmp_path, "--listen", f"127.0.0.1:{free_port()}", "--token-file", str(token)) as address:
        words = ("exec", str(tmp_path / "a.py"), "--test", "f()", "--address", address)
        without = thresher(*words)
        assert without.returncode == 3
        assert "TOKEN_MISSING" in without.stderr and "--token-file" in without.stderr
        assert thresher(*words, "--token-file", str(token)).returncode == 0
        assert thresher(*words, THRESHER_TOKEN="a-token-of-sixteen-or-more").returncode == 0
        assert thresher(*words, THRESHER_TOKEN="another-of-sixteen-letters").returncode == 3


def test_a_call_that_takes_too_long(server: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f():\n    while True: pass\n")
    started = time.monotonic()
    done = thresher("exec", str(tmp_path / "a.py"), "--test", "f()", "--address", server, "--timeout", "0.5")
    assert (done.returncode, "allow more time" in done.stderr) == (3, True), done.stderr
    assert time.monotonic() - started < 60


def test_the_programs_of_the_page_on_scale_out(server: str) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / "scale-out.md").read_text(), re.MULTILINE | re.DOTALL)
    assert "unix:/run/thresher/executor.sock" in code
    code = code.replace("unix:/run/thresher/executor.sock", server)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert sorted(done.stdout.splitlines()) == ["0 report 1", "1 report 1", "2 report 0"]


def test_the_commands_of_the_page_on_problem_files(server: str, tmp_path: Path) -> None:
    """As they stand, but for the address: `--address` and `--token-file` are another test's."""
    section = (DOCS / "problem-files.md").read_text().split("## Programs of your own", 1)[1]
    (block,) = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "docs").symlink_to(DOCS)
    (tmp_path / "solution.py").write_text(PREFIX + "f = lambda x: 2 * x\n")
    for name, code in COUNT.items():
        (tmp_path / name).write_text(code)
    for line in block.splitlines():
        words = shlex.split(line)
        words = words[: words.index("--address")] if "--address" in words else words
        if any(name.endswith((".cpp", ".js")) for name in words) and not (shutil.which("g++") and shutil.which("node")):
            continue
        done = subprocess.run(
            [sys.executable, "-m", "engine.cli.main", *words[1:], "--address", server],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, line + done.stdout + done.stderr
