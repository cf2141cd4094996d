"""The kernels under what else can find fault with them on a device, as far as it is installed.

Their own tests need pytest and hypothesis; compute-sanitizer sees accesses outside of memory and barriers that not all
threads reach.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu.errors import require
from benchmarks.gpu.session import Session

_ROOT = Path(__file__).resolve().parents[2]
_TESTS = ["pytest", "hypothesis"]
_WORKERS = 8


def run(session: Session) -> None:
    """The tools, the quickest first; each has what is left of the command's time."""
    for tool in ("memcheck", "synccheck"):
        session.case("sanitizer", {"tool": tool}, partial(_sanitized, session, tool))
    for marks in ("not slow", "slow"):
        session.case("tests", {"tests": f"tests/kernels/gpu, {marks}"}, partial(_tested, session, marks))


def _sanitized(session: Session, tool: str) -> dict[str, Any]:
    program = shutil.which("compute-sanitizer")
    if session.dry or program is None:
        return {"left_out": "a dry run has no device" if session.dry else "compute-sanitizer is not installed"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                program, "--tool", tool, "--error-exitcode", "9", sys.executable, "-m", "benchmarks.gpu.check",
                "--smallest", "--results", folder,
            ],
            cwd=_ROOT,
            # So that each tensor is an allocation whose end is watched.
            env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1.0, session.left),
        )  # fmt: skip
    told = (done.stdout + done.stderr)[-800:]
    require(done.returncode == 0, f"{tool} ended with {done.returncode}: {told}")
    return {"told": _last(done.stdout, "ERROR SUMMARY")}


def _tested(session: Session, marks: str) -> dict[str, Any]:
    missing = [name for name in _TESTS if importlib.util.find_spec(name) is None]
    if session.dry or missing:
        return {"left_out": "a dry run has no device" if session.dry else f"not installed: {', '.join(missing)}"}
    # Most of the time is compiling, which processes do side by side.
    several = ["-n", str(_WORKERS)] if importlib.util.find_spec("xdist") is not None else []
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--confcutdir=tests/kernels", *several,
            "-m", marks, "tests/kernels/gpu",
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=max(1.0, session.left),
    )  # fmt: skip
    require(done.returncode == 0, f"pytest ended with {done.returncode}: {done.stdout[-800:]}")
    found = re.search(r"(\d+) passed", _last(done.stdout, " passed"))
    require(found is not None and int(found[1]) > 0, f"no test ran: {done.stdout[-800:]}")
    return {"told": _last(done.stdout, " passed")}


def _last(text: str, part: str) -> str:
    """The last line that has `part`, or none."""
    return next((line.strip() for line in reversed(text.splitlines()) if part in line), "")
