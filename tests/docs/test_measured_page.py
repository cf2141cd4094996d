"""What docs/experiments.md says was measured is what the committed results hold, beside what others published."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.experiments import outcome

from benchmarks.experiments.experiment import find
from benchmarks.experiments.outcome import Outcome
from benchmarks.experiments.repair_tokens import MEASURES
from benchmarks.experiments.repair_words import REPAIR, RESAMPLING
from scripts import measured_page

ROOT = Path(__file__).parents[2]
SAMPLING = {"max_new_tokens": 512, "temperature": 0.8, "top_p": 0.95}
SOURCE = {"model": "one", "arithmetic": "int8"}


def drawn(*passed: int, of: int = 2) -> list[Outcome]:
    """A problem for each number of passes."""
    names = (f"p{place}" for place in range(len(passed)))
    return [
        outcome(name, ["passed"] * count + ["wrong_answer"] * (of - count))
        for name, count in zip(names, passed, strict=False)
    ]


def result(experiment: str, arms: Mapping[str, Sequence[Outcome]], **settings: Any) -> dict[str, Any]:
    """A result document of these outcomes."""
    protocol = {
        "data": [
            {"problems": 2, "problems_of_split_here": 5, "chosen": "the first 2", "split": "test", "note": ""},
        ],
        "arms": [
            {
                "name": name,
                "problems": len(outcomes),
                "samples": outcomes[0].asked,
                "seed": 0,
                "sampling": SAMPLING if outcomes[0].asked > 1 else {"temperature": 0.0},
            }
            for name, outcomes in arms.items()
        ],
        "ks": [1, 2],
        "prompt": "chat",
        "tests_shown": 3,
        **settings,
    }
    scores = find(experiment).scores(protocol, arms)
    made = {"command": "thresher bench it", "date": "2026-01-02T03", "machine": {"cores": 2, "cpu": "a CPU"}}
    protocol["sources"] = {"the one asked for": SOURCE}
    return {"complete": True, "scores": scores, "protocol": protocol, "provenance": made}


def test_the_page_is_up_to_date() -> None:
    command = [sys.executable, "-m", "scripts.measured_page", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_scores_stand_beside_what_others_published() -> None:
    found = result("humaneval", {"samples": drawn(1, 2), "greedy": drawn(0, 1, of=1)})
    text = measured_page.humaneval(found)
    assert "| one, int8 | greedy pass@1 | 50.0 | 0.0 to 100.0 | chat, 3 tests shown |" in text
    assert "| one, int8 | pass@1 | 75.0 | 50.0 to 100.0 | chat, 3 tests shown; T = 0.8, top-p 0.95, n = 2 |" in text
    assert "| pass@2, any of 2 | 100.0 |" in text and text.endswith(" 61.6 lies inside the interval of ours.")
    assert "| *Qwen2.5-Coder-0.5B-Instruct* | *greedy pass@1* | *61.6* |" in text and "arXiv 2409.12186" in text
    edited = measured_page.mbpp(result("mbpp", {"samples": drawn(1, 2)}))
    assert "*52.4*" in edited and "*63, 79*" in edited and "*61.6*" not in edited


def test_conditions_beside_each_other() -> None:
    text = measured_page.tests_in_prompt(
        result("prompt-tests", {"0 tests": drawn(0, 1), "1 test": drawn(1, 2)}, tests_shown=[0, 1])
    )
    assert (
        "1 test over 0 tests: +50.0 points (+50.0 to +50.0) of pass@1." in text
        and "| *no test shown, 1 test shown* | *26.1, 51.5* |" in text
    )
    arms = {"T = 0.2": drawn(2, 0), "T = 0.8": drawn(1, 1)}
    hot = measured_page.sweep(result("sweep", arms, temperatures=[0.2, 0.8]))
    assert "| 0.8 | 50.0 (50.0 to 50.0) | 100.0 (100.0 to 100.0) |" in hot and "For k = 2 T = 0.8 is best" in hot
    models = {"a-1b": drawn(0, 0), "b-10b": drawn(1, 1)}
    size = measured_page.sizes(result("sizes", models, parameters={"a-1b": 1e9, "b-10b": 1e10}))
    assert "| b-10b | 10,000 M | 50.0 (50.0 to 50.0) |" in size and "+50.0 points of pass@1" in size


def test_choices_are_told_with_random_and_oracle() -> None:
    truth = drawn(1, 1)
    found = result(
        "selection",
        {"samples": truth, "behaviour": truth},
        visible_used={"p0": 0, "p1": 0},
        generated_tests_used={"p0": 3, "p1": 4},
        generated_tests_copied={"p0": [], "p1": [0]},
        generated_tests_by={"model": "writer", "texts_of_each_problem": 8},
        asserts_of_each_block=5,
    )
    text = measured_page.selection(found)
    assert "| random | 50.0 | 50.0 to 50.0 |  |" in text and "| oracle, any of 2 | 100.0 |" in text
    assert "tests by writer, 8 texts of at most 5 asserts, which gave 3.5 different ones a problem" in text


def test_rounds_stand_beside_plain_samples_for_the_same_tokens() -> None:
    half = {"value": 0.5, "interval_95": [0.0, 1.0]}
    both = {REPAIR: half, RESAMPLING: {"value": 0.0, "interval_95": [0.0, 0.0]}, "difference": half}
    tokens = {"each_as_its_conversation": both, "curve": [{"tokens": 1500, **both}]}
    scores = {
        "problems": 4,
        "failed_at_first": 2,
        "by_round": [{"round": 1, "solved": 1, "of_failed": half, "of_all": half}],
        "by_tokens": dict.fromkeys(MEASURES, tokens),
        "programs_drawn_before": {REPAIR: {"programs": 3, "drawn_before": 2}},
    }
    text = measured_page.repair({"scores": scores, "protocol": {"feedback": "human", "way": "refine"}})
    assert "| 1 | 1 | 50.0 (0.0 to 100.0) | 50.0 (0.0 to 100.0) |" in text
    assert "2 of the first 4 problems failed at first" in text and "a scripted human's sentence, by refine" in text
    line = "| all tokens | 1,500, shared out evenly | 50.0 (0.0 to 100.0) | 0.0 (0.0 to 0.0) | +50.0 points (+0.0 to"
    assert line in text and f"{REPAIR} 2 of 3" in text


def test_a_result_says_how_it_was_made_and_one_that_is_not_there_is_not_spoken_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_page, "RESULTS", tmp_path)
    assert measured_page.page_text() == ""
    found = result("humaneval", {"samples": drawn(1, 2)})
    (tmp_path / "humaneval-chat.json").write_text(json.dumps(found))
    text = measured_page.page_text()
    assert text.startswith("### HumanEval: 2 problems\n") and text.count("###") == 1
    assert "`thresher bench it`, 2026-01-02, 2 cores of a CPU; the first 2 of 5 problems of the test split." in text
    (tmp_path / "humaneval-chat.json").write_text(json.dumps({**found, "complete": False}))
    with pytest.raises(SystemExit, match="not complete"):
        measured_page.page_text()
