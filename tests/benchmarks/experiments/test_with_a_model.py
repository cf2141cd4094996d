"""A run with the default model: a server of its own, ended by SIGTERM half way, and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.experiments.outcome import Outcome

pytestmark = [pytest.mark.model, pytest.mark.sandbox, pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE = 600.0
"""Seconds for a run, each of which loads a model."""

BENCH = [sys.executable, "-m", "engine.cli.main", "bench", "humaneval", "--problems", "3", "--k", "1,4", "--greedy"]


def outcomes(ledger: Path) -> dict[tuple[str, str], Outcome]:
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    kept = [line for line in lines if "outcome" in line]
    found = {(line["arm"], line["outcome"]["id"]): Outcome.read(line["outcome"]) for line in kept}
    assert len(found) == len(kept)  # nothing was drawn twice
    return found


def texts(ledger: Path) -> dict[tuple[str, str], Any]:
    """What does not depend on how long it took."""
    return {key: (one.candidates, one.generated_tokens) for key, one in outcomes(ledger).items()}


def test_a_run_with_a_model_is_ended_and_goes_on(tmp_path: Path, data_folder: Path) -> None:
    environment = os.environ | {"THRESHER_DATA": str(data_folder)}
    words = [*BENCH, "--max-new-tokens", "120"]
    ledger = tmp_path / "broken.jsonl"
    with subprocess.Popen([*words, "--out", str(tmp_path / "broken.json")], env=environment) as first:
        until = time.monotonic() + PATIENCE
        while not (ledger.exists() and b'"outcome"' in ledger.read_bytes()):
            assert first.poll() is None and time.monotonic() < until
            time.sleep(0.1)
        first.send_signal(signal.SIGTERM)
        first.wait(PATIENCE)
    broken = json.loads((tmp_path / "broken.json").read_text())
    assert not broken["complete"] and broken["scores"] == {} and 0 < broken["problems_done"] < 6

    for name in ("broken", "whole"):
        subprocess.run([*words, "--out", str(tmp_path / f"{name}.json")], env=environment, check=True, timeout=PATIENCE)
    resumed, whole = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("broken", "whole"))
    assert resumed["complete"] and len(resumed["earlier_sessions"]) == 1
    assert resumed["fingerprint"] == whole["fingerprint"]
    [source] = whole["protocol"]["sources"].values()
    assert source["model"] == "qwen2.5-coder-0.5b-instruct"
    if source["deterministic"]:
        assert texts(ledger) == texts(tmp_path / "whole.jsonl") and resumed["scores"] == whole["scores"]
    for outcome in outcomes(ledger).values():
        assert sum(outcome.tokens_by_sample()) == outcome.generated_tokens > 0
        assert len(outcome.by_sample()) == outcome.finished == outcome.asked
    assert {arm["name"]: arm["samples"] for arm in whole["protocol"]["arms"]} == {"samples": 4, "greedy": 1}


def test_experiments_about_models(tmp_path: Path, data_folder: Path) -> None:
    environment = os.environ | {"THRESHER_DATA": str(data_folder)}
    bench = [*BENCH[:4], "ways", "--problems", "1", "--rows", "300", "--max-new-tokens", "80"]
    subprocess.run([*bench, "--out", str(tmp_path / "ways.json")], env=environment, check=True, timeout=PATIENCE)
    ways = json.loads((tmp_path / "ways.json").read_text())["scores"]["ways"]
    assert [way["arm"] for way in ways] == ["independent", "distinct", "beam"]
    # A step has at most two rows of a solve, or the beam's five.
    assert all(0 < way["rows"] <= 310 for way in ways)
    assert ways[1]["programs"] > 0

    bench = [*BENCH[:4], "sizes", "--problems", "1", "--k", "1", "--max-new-tokens", "40", "--prompt", "chat"]
    subprocess.run([*bench, "--out", str(tmp_path / "sizes.json")], env=environment, check=True, timeout=PATIENCE)
    result = json.loads((tmp_path / "sizes.json").read_text())
    assert [model["parameters"] for model in result["scores"]["models"]] == [135e6, 0.5e9]
    assert {source["model"] for source in result["protocol"]["sources"].values()} == set(
        result["protocol"]["parameters"]
    )


@pytest.mark.parametrize("words", [["--human"], ["--way", "prior-attempts"]])
def test_rounds_of_repair(tmp_path: Path, data_folder: Path, words: list[str]) -> None:
    environment = os.environ | {"THRESHER_DATA": str(data_folder)}
    asked = ["--failing", "1", "--rounds", "2", "--max-new-tokens", "80", *words]
    out = tmp_path / "repair.json"
    subprocess.run([*BENCH[:4], "repair", *asked, "--out", str(out)], env=environment, check=True, timeout=PATIENCE)
    result = json.loads(out.read_text())
    by_round = [line["of_all"]["value"] for line in result["scores"]["by_round"]]
    assert result["complete"] and by_round == sorted(by_round) and len(by_round) == 3
    [found] = json.loads((tmp_path / "repair.transcripts.json").read_text())["transcripts"]
    first, *later = found["turns"]
    assert first["failure"] is not None and 1 <= len(later) <= 2
    assert all(bool(turn["said"]) == ("--human" in words) for turn in later)
    # The prompt of a round holds that of the first draws, which are in the prefix cache.
    assert all(turn["tokens"]["prompt"] > first["tokens"]["prompt"] for turn in later)
    assert later[0]["tokens"]["cached"] > first["tokens"]["prompt"] // 2


def test_a_model_writes_tests_for_a_selection(tmp_path: Path, data_folder: Path) -> None:
    environment = os.environ | {"THRESHER_DATA": str(data_folder)}
    bench = [*BENCH[:4], "selection", "--generator", "reference", "--generate-tests", "4", "--problems", "2"]
    words = [*bench, "--max-new-tokens", "120", "--out", str(tmp_path / "chosen.json")]
    subprocess.run(words, env=environment, check=True, timeout=PATIENCE)
    result = json.loads((tmp_path / "chosen.json").read_text())
    assert result["protocol"]["generated_tests_by"]["model"] == "qwen2.5-coder-0.5b-instruct"
    assert all(count > 0 for count in result["protocol"]["generated_tests_used"].values())
    assert result["scores"]["choices"]["codet"]["value"] == result["scores"]["oracle"]["value"] == 1
    drawn = outcomes(tmp_path / "chosen-tests.jsonl")
    assert {len(outcome.by_sample()) for outcome in drawn.values()} == {4}
