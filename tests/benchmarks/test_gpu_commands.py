"""The three commands for a GPU: what they do without one, and that none of their cases has rotted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.bare import refused

ROOT = Path(__file__).parents[2]

BARE = """
import json, os, runpy, sys

# So that find_spec says that there is none, as torch asks before it imports some.
sys.modules.update(dict.fromkeys(json.loads(os.environ["MISSING"])))
name = sys.argv.pop(1)
runpy.run_module(name, run_name="__main__", alter_sys=True)
"""
"""Runs a module where all else is missing, as on a machine with torch, triton, numpy and what they need."""


def command(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    missing = refused()
    assert {"msgspec", "numba", "grpc", "pytest", "hypothesis", "safetensors"} <= set(missing)
    environment["MISSING"] = json.dumps(missing)
    return subprocess.run(
        [sys.executable, "-c", BARE, f"benchmarks.gpu.{name}", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = command("check", "--results", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["gpu-check: no CUDA device here; --dry runs the smallest cases on the CPU"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "sections"),
    [
        ("check", {"rows", "sampling", "attention", "runner", "prefill"}),
        ("bench", {"rows", "sampling", "attention", "step", "prefill", "engine", "host", "dram"}),
        ("peers", {"race", "step race"}),
    ],
)
def test_a_dry_run_goes_through_every_case(name: str, sections: set[str], tmp_path: Path) -> None:
    done = command(name, "--dry", "--results", str(tmp_path), "--commit", "0123abc")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.iterdir()
    result: dict[str, Any] = json.loads(path.read_text())
    assert result["command"].startswith(f"gpu-{name} ") and result["dry"] and result["ended"] and result["failed"] == 0
    assert result["commit"] == "0123abc" and result["versions"]["triton"] and result["date"]
    assert {case["section"] for case in result["cases"]} == sections
    if name == "peers":
        ran = result["cases"][0]["peers"]
        assert {"SDPA per sample", "Hydragen in torch", "flex_attention"} <= set(ran)
        assert all(isinstance(peer, dict) for peer in ran.values()), ran


def test_a_case_that_fails_fails_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.gpu.session import Session

    def broken() -> dict[str, Any]:
        raise RuntimeError("a kernel fault")

    here = Session("gpu-check", tmp_path, True, "", interpreted=True)
    here.case("rows", {"kernel": "good"}, dict)
    assert here.finish() == 0
    here.case("rows", {"kernel": "bad"}, broken)
    here.seconds = 0.0
    here.case("rows", {"kernel": "late"}, dict)
    assert here.finish() == 1
    cases = json.loads((tmp_path / "gpu-check.json").read_text())["cases"]
    assert [case.get("failed", "") for case in cases] == [
        "", "RuntimeError: a kernel fault", "left out: the command's time was over",
    ]  # fmt: skip
    assert "a kernel fault" in capsys.readouterr().err


def test_the_page_shows_what_was_missed_and_what_failed() -> None:
    from benchmarks.gpu.table import tables

    told: dict[str, Any] = {"date": "2026-11-26T00:00:00", "gpu": {"name": "NVIDIA H200"}, "commit": "0123456789ab"}
    mix = {"model": "7b", "G": 1, "k": 64, "P": 2048, "S": 256}
    timed = {"us": 12.5, "floor_us": 10.0}
    attention = {"section": "attention", **mix, **timed, "page_size": 16, "strict": True, "teraflops": 3.25}
    step = {"section": "step", **mix, **timed, "tokens_per_second": 9.0}
    plain = attention | {"page_size": 64, "strict": False, "megabytes": 200.0, "bound": "memory", "reached": 0.85}
    narrow = {key: value for key, value in attention.items() if key not in ("strict", "page_size")}
    cases = [
        narrow | {"suffix_bits": 8, "megabytes": 20.0, "bound": "memory", "reached": 0.1},
        attention | {"megabytes": 200.0, "bound": "memory", "reached": 0.7},
        attention | {"megabytes": 20.0, "bound": "memory", "reached": 0.1},
        attention | {"megabytes": 20.0, "bound": "matrix", "reached": 0.6},
        step | {"reached": 0.75, "times_one_row": 1.7},
        {"section": "sampling", "filters": "greedy", "rows": 3, "numbers": 1, "failed": "RuntimeError: no"},
    ]
    race = {
        "section": "race", **mix, "ours_us": 12.5, "best_peer": "A", "times_faster_than_best": 0.9, "behind": ["A"],
        "peers": {"A": {"us": 11.25}, "C": "failed: no"},
    }  # fmt: skip
    whole = race | {"times_faster_than_best": 1.5, "behind": [], "peers": {"A": {"us": 18.75}, "D": {"us": 20.0}}}
    steps = {"section": "step race", **mix, "ours_us": 10.0}
    step_races = [
        steps | {"transformers_masked_us": 40.0, "transformers_unmasked_us": 30.0, "times_faster": 3.0},
        steps | {"transformers_masked": "failed: no", "transformers_unmasked_us": 30.0, "times_faster": 3.0},
        steps | {"transformers": "not installed"},
    ]
    dram = {"section": "dram", **mix, "read_megabytes": 204.5}
    text = tables(
        told | {"cases": [1, 2], "failed": 1},
        told | {"cases": [*cases, plain, dram]},
        told
        | {"cases": [race, whole, *step_races], "not_installed": ["B"], "failed_peers": {"C": "failed"}}
        | {"ended": False},
    )
    lines = text.splitlines()
    name = "7b: G 1, k 64, P 2048, S 256"
    assert (
        f"| {name}, pages of 16, strict | 200 MB | 12.5 | 10 | 70% of memory, bar 0.8: **missed** | 3.25 |  |" in lines
    )
    assert f"| {name}, pages of 16, strict | 20 MB | 12.5 | 10 | 10% of memory | 3.25 |  |" in lines
    assert f"| {name}, drawn tokens in 8 bits | 20 MB | 12.5 | 10 | 10% of memory | 3.25 |  |" in lines
    assert f"| {name}, pages of 16, strict | 20 MB | 12.5 | 10 | 60% of matrix, bar 0.55: met | 3.25 |  |" in lines
    assert f"| {name} | 12.5 | 10 | 75%, bar 0.7: met | 9 | 1.7, bar 1.6: **missed** |" in lines
    assert f"| {name} | 200 MB | 12.5 | 10 | 85% of memory, bar 0.8: met | 3.25 | 204.5 MB |" in lines
    assert "| microseconds | ours | A | C | D | times faster than the best | ahead of us |" in lines
    assert f"| {name} | 12.5 | 11.25 | failed: no |  | 0.9 | A |" in lines
    assert f"| {name} | 12.5 | 18.75 |  | 20 | 1.5 | nobody |" in lines
    assert f"| {name} | 10 | 40 | 30 | 3 |" in lines
    assert f"| {name} | 10 | failed: no | 30 | 3 |" in lines
    assert f"| {name} | 10 | not installed | not installed |  |" in lines
    assert "| greedy | **failed**: RuntimeError: no |  |  |  |" in lines
    assert "peers (2026-11-26, NVIDIA H200, commit 0123456789, **it did not come to its end**)" in lines[-1]
    assert "2 checks, 1 failed. Not in the race, because not installed or failed: B, C." in lines
