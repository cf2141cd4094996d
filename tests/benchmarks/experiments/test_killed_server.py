"""A server that is killed half way: the same command goes on, grades no problem twice, and comes to the same scores."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(900)]

THRESHER = [sys.executable, "-m", "engine.cli.main"]
PATIENCE = 120.0


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def serving(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A server that runs programs and nothing else, ready to be asked."""
    log = folder / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        words = [*THRESHER, "serve", "--executor-only", "--listen", f"unix:{folder}/s.sock"]
        process = subprocess.Popen(words, env=environment, stdout=file, stderr=file)
    until(lambda: b"listening" in log.read_bytes(), process)
    return process


def graded(ledger: Path) -> list[str]:
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return [json.loads(line)["outcome"]["id"] for line in lines if line.endswith("}") and '"outcome"' in line]


def recording(folder: Path, data: Path) -> Path:
    """82 programs of a model. The last two never end, where those of the model fail: so a run is not over by chance
    before its server is killed."""
    with gzip.open(data / "replay-evalplus-qwen25coder-base" / "humaneval-7b.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    for row in rows[-2:]:
        assert row["base_status"] == "fail"
        row["evaluated_solution"] = "while True:\n    pass\n"
    path = folder / "recording.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_rerun_finishes_what_is_left(tmp_path: Path, data_folder: Path) -> None:
    environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "THRESHER_DATA": str(data_folder.resolve())}
    recorded = str(recording(tmp_path, data_folder))
    bench = [*THRESHER, "bench", "humaneval", "--generator", "replay", "--recorded", recorded, "--only-recorded"]
    words = [*bench, "--server", f"unix:{tmp_path}/s.sock", "--out", str(tmp_path / "r.json")]

    first = serving(tmp_path, environment)
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        until(lambda: len(graded(tmp_path / "r.jsonl")) >= 41, run)
        first.send_signal(signal.SIGKILL)
        assert run.wait(PATIENCE) == 3  # the server failed
    first.wait()
    broken: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    assert not broken["complete"] and broken["scores"] == {} and 41 <= broken["problems_done"] < 82
    done = graded(tmp_path / "r.jsonl")

    second = serving(tmp_path, environment)
    try:
        subprocess.run(words, env=environment, check=True, timeout=PATIENCE, capture_output=True)
    finally:
        second.terminate()
        second.wait(PATIENCE)
    result = json.loads((tmp_path / "r.json").read_text())
    everything = graded(tmp_path / "r.jsonl")
    assert everything[: len(done)] == done and len(everything) == len(set(everything)) == 82
    assert result["complete"] and result["scores"]["samples"]["solved"] == 52 and len(result["earlier_sessions"]) == 1
