"""Answers that are known: references pass, recorded verdicts come again, scores are those of the formula."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.command import app
from benchmarks.data import load
from benchmarks.experiments.estimators import pass_at_k

pytestmark = [pytest.mark.sandbox, pytest.mark.slow]


def bench(folder: Path, data: Path, *words: str) -> dict[str, Any]:
    """The result of a run."""
    out = folder / "result.json"
    run = CliRunner().invoke(app, [*words, "--data", str(data), "--out", str(out)])
    assert run.exit_code == 0, run.output
    return json.loads(out.read_text())


def passed(result: dict[str, Any]) -> dict[str, int]:
    """Samples that passed, by problem."""
    return {line["id"]: line["passed"] for line in result["problems"]["samples"]}


def test_every_reference_of_mbpp_passes(tmp_path: Path, data_folder: Path) -> None:
    result = bench(tmp_path, data_folder, "mbpp", "--generator", "reference", "--split", "all")
    assert result["scores"]["samples"]["solved"] == result["problems_total"] == 724
    splits = Counter(record.split for record in load("mbpp", data=data_folder).records)
    assert splits == {"prompt": 10, "test": 250, "validation": 90, "train": 374}
    # The challenge tests of six problems accept their references, too.
    assert result["scores"]["samples"]["held_out"] == {
        "problems": 6,
        "samples_that_passed": 6,
        "of_these_rejected": 0,
    }


def test_the_scores_of_the_mbpp_paper_are_pass_at_80_and_pass_at_1(tmp_path: Path, data_folder: Path) -> None:
    words = ("mbpp", "--k", "80", "--generator", "synthetic", "--p", "0.05", "--seed", "1")
    result = bench(tmp_path, data_folder, *words)
    scores, counts = result["scores"]["samples"], list(passed(result).values())
    assert len(counts) == 250 and sum(counts) == pytest.approx(1000, abs=5 * (20_000 * 0.05 * 0.95) ** 0.5)
    assert scores["solved_by_any"]["value"] == pytest.approx(np.mean(pass_at_k(80, counts, 80)), abs=1e-12)
    assert scores["fraction_of_samples"]["value"] == pytest.approx(np.mean(pass_at_k(80, counts, 1)), abs=1e-12)
    assert scores["pass_at_k"]["80"]["value"] == pytest.approx(scores["solved_by_any"]["value"], abs=1e-12)
    page = (tmp_path / "result.md").read_text()
    assert "solved by any of 80 (oracle)" in page and "samples that solve their task" in page
    # 80 samples are two programs: the reference and the one that fails.
    assert result["cost"]["samples"]["programs_run"] <= 2 * 250 + 3


def test_every_reference_of_humaneval_passes(tmp_path: Path, data_folder: Path) -> None:
    result = bench(tmp_path, data_folder, "humaneval", "--generator", "reference")
    assert result["scores"]["samples"]["solved"] == result["problems_total"] == 164


@pytest.mark.parametrize(("model", "solved"), [("1.5b", 42), ("7b", 52)])
def test_recorded_verdicts_of_humaneval_come_again(tmp_path: Path, data_folder: Path, model: str, solved: int) -> None:
    recording = data_folder / "replay-evalplus-qwen25coder-base" / f"humaneval-{model}.jsonl.gz"
    words = ("humaneval", "--generator", "replay", "--recorded", str(recording), "--only-recorded")
    result = bench(tmp_path, data_folder, *words)
    with gzip.open(recording, "rt") as lines:
        recorded = {row["task_id"]: row["base_status"] == "pass" for row in map(json.loads, lines)}
    ours = {name: count == 1 for name, count in passed(result).items()}
    assert len(ours) == 82 and ours == recorded
    assert result["scores"]["samples"]["solved"] == solved
