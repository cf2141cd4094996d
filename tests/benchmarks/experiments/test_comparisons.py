"""Experiments with several arms: conditions beside each other, ensembles, model sizes, ways to draw, APPS by level."""

from typing import Any

import numpy as np
import pytest
from support.experiments import outcome, plan

from benchmarks.experiments.ensemble import union_at
from benchmarks.experiments.errors import CannotRun, NotCountable
from benchmarks.experiments.estimators import pass_any
from benchmarks.experiments.experiment import Arm, Draw, Experiment, Plan, find
from benchmarks.experiments.outcome import Candidate, Outcome
from benchmarks.experiments.parts import interval, points
from benchmarks.experiments.sizes import models_of
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown
from benchmarks.report.page import Figures, ProblemTable


def counted(samples: int, passed: list[int]) -> list[Outcome]:
    """Problems 1, 2, ... with so many passes."""
    return [
        outcome(str(number), ["passed"] * count + ["wrong_answer"] * (samples - count))
        for number, count in enumerate(passed, 1)
    ]


def page_of(experiment: Experiment, made: Plan, outcomes: dict[str, list[Outcome]]) -> str:
    """The Markdown page of a complete result; its HTML page can be made, too."""
    protocol = {**made.protocol({"kind": "script", "samples_from": "a script"}), "sources": {}}
    result = {
        "experiment": experiment.name,
        "title": experiment.title,
        "complete": True,
        "problems_done": 1,
        "problems_total": 1,
        "fingerprint": "0" * 64,
        "scores": experiment.scores(protocol, outcomes),
        "problems": {
            arm: [
                {"id": one.id, "samples": one.finished, "passed": one.passed, "verdicts": one.verdicts()}
                for one in found
            ]
            for arm, found in outcomes.items()
        },
        "protocol": protocol,
        "provenance": {"date": "2026-11-27T00:00:00+00:00"},
    }
    page = experiment.page(result)
    assert isinstance(page.blocks[0], Figures) and isinstance(page.blocks[-1], ProblemTable)
    assert "<h1" in html(page)
    assert experiment.page({**result, "complete": False}).blocks == ()
    return markdown(page)


@pytest.mark.parametrize("name", ["edited", "prompt-tests"])
def test_conditions_are_compared_problem_by_problem(name: str) -> None:
    experiment = find(name)
    made = plan(samples=4, problems=3, arms=("one", "two"), prompt="few-shot", tests_shown=3)
    outcomes = {"one": counted(4, [0, 2, 4]), "two": counted(4, [1, 2, 4])}
    scores = experiment.scores(made.protocol({}), outcomes)
    assert [arm["arm"] for arm in scores["arms"]] == ["one", "two"]
    first, last = scores["differences"]
    assert (first["arm"], first["over"], first["k"]) == ("two", "one", 1)
    assert first["value"] == pytest.approx(0.25 / 3) and first["interval_95"][0] == 0
    assert last["k"] == 4 and last["value"] == pytest.approx(1 / 3)
    assert "| two | one | 1 | +8.3 |" in page_of(experiment, made, outcomes)


def test_conditions_about_other_problems_are_refused() -> None:
    made = plan(samples=4, problems=2, arms=("one", "two"))
    other = [outcome(name, ["passed"] * 4) for name in ("1", "9")]
    with pytest.raises(NotCountable, match="not about the same problems"):
        find("edited").scores(made.protocol({}), {"one": counted(4, [0, 2]), "two": other})


def test_an_ensemble_beside_its_best_prompt_at_equal_budget() -> None:
    made = plan(samples=4, problems=3, arms=("prompt 1", "prompt 2"), total_k=4)
    outcomes = {"prompt 1": counted(4, [4, 0, 0]), "prompt 2": counted(4, [2, 2, 0])}
    scores = find("ensemble").scores(made.protocol({}), outcomes)
    assert scores["best"] == "prompt 2" and scores["best_at_total_k"]["value"] == pytest.approx(2 / 3)
    assert scores["union"]["value"] == pytest.approx(2 / 3) and scores["samples_of_union"] == 8
    # Two samples of each: 1; 1 - C(2,2)/C(4,2) = 5/6; 0.
    assert scores["union_at_total_k"]["value"] == pytest.approx((1 + 5 / 6) / 3)
    assert "union, 2 samples of each prompt" in page_of(find("ensemble"), made, outcomes)


def test_a_difference_of_nothing_has_no_minus() -> None:
    assert [points(value) for value in (-1e-17, 0.0, -0.0004, 0.0123, -0.5)] == [
        "+0.0",
        "+0.0",
        "+0.0",
        "+1.2",
        "-50.0",
    ]
    assert interval(-1e-17, 1.0) == "95 % interval 0.0 to 100.0"


def test_the_union_of_all_samples_is_what_any_of_them_solves() -> None:
    draw = np.random.default_rng(1)
    counts = {str(arm): (6, draw.integers(0, 3, 20)) for arm in range(3)}
    any_of = np.max(np.stack([pass_any(n, c) for n, c in counts.values()]), axis=0)
    assert union_at(counts, 6) == pytest.approx(any_of, abs=1e-12)
    assert (union_at(counts, 2) <= any_of + 1e-12).all()


def test_models_and_their_sizes() -> None:
    assert models_of("smollm2-135m-instruct,qwen2.5-coder-0.5b-instruct") == {
        "smollm2-135m-instruct": 135e6,
        "qwen2.5-coder-0.5b-instruct": 0.5e9,
    }
    assert models_of("a=1.5B,folder-7b/b=300m") == {"a": 1.5e9, "folder-7b/b": 300e6}
    for bad in ("a,b", "a=1B", "a=1B,a=2B", "a=1B,b=1B", "a=large,b=1B"):
        with pytest.raises(CannotRun, match="--models"):
            models_of(bad)


def test_a_line_goes_through_the_models() -> None:
    parameters = {"large": 1e9, "small": 1e8}
    made = plan(samples=2, problems=2, arms=("large", "small"), parameters=parameters)
    outcomes = {"large": counted(2, [2, 2]), "small": counted(2, [1, 0])}
    scores = find("sizes").scores(made.protocol({}), outcomes)
    assert [model["model"] for model in scores["models"]] == ["small", "large"]
    assert scores["log_linear"]["1"]["slope"] == pytest.approx(0.75)
    assert scores["log_linear"]["2"]["slope"] == pytest.approx(0.5)
    assert "two points always lie on a line" in page_of(find("sizes"), made, outcomes)


def budgeted(problems: int) -> Plan:
    """Two ways with 100 rows a problem."""
    made = plan(samples=8, problems=problems, arms=("independent", "distinct"), budget_rows=100)
    arms = tuple(Arm(name=arm.name, tasks=arm.tasks, draw=Draw(samples=8, rows=100)) for arm in made.arms)
    return Plan(experiment="ways", data=made.data, arms=arms, settings=made.settings)


def test_ways_to_draw_are_measured_by_problems_solved() -> None:
    made = budgeted(2)
    # The budget has ended them, so neither has all eight samples.
    outcomes = {"independent": counted(3, [1, 0]), "distinct": counted(5, [1, 1])}
    scores = find("ways").scores(made.protocol({}), outcomes)
    assert [way["problems_solved"] for way in scores["ways"]] == [1, 2]
    assert scores["differences"][0]["value"] == pytest.approx(0.5)
    assert "pass@" not in page_of(find("ways"), made, outcomes)


def test_what_a_budget_may_end_is_no_pass_at_k() -> None:
    assert not Draw(samples=8, rows=100).independent and Draw(samples=8).independent
    [arm, _] = budgeted(2).protocol({})["arms"]
    assert arm["budget_rows"] == 100


def judged(name: str, candidates: list[dict[str, Any]]) -> Outcome:
    made = tuple(
        Candidate(code=str(place), samples=(place,), tests_total=4, **one) for place, one in enumerate(candidates)
    )
    return Outcome(id=name, asked=len(made), finished=len(made), candidates=made)


def test_the_measures_of_apps() -> None:
    made = plan(samples=2, problems=2, arms=("introductory",), compat="none")
    passed, failed = "passed", "wrong_answer"
    outcomes = {
        "introductory": [
            judged("1", [{"verdict": passed, "tests": (passed,) * 4}, {"verdict": "compile_error"}]),
            judged("2", [{"verdict": failed, "tests": (passed, failed, passed, passed)}, {"verdict": failed}]),
        ]
    }
    found = find("apps").scores(made.protocol({}), outcomes)["levels"]["introductory"]
    assert found["strict"]["value"] == pytest.approx(0.25)
    assert found["test_case_average"]["value"] == pytest.approx((1 / 2 + 0.75 / 2) / 2)
    assert found["syntax_errors"]["value"] == pytest.approx(0.25)
    assert found["best_of_all"]["value"] == pytest.approx(0.5) and "first" not in found
    assert "| introductory | 2 | 25.0 % |" in page_of(find("apps"), made, outcomes)


def test_the_likeliest_beam_is_chosen_where_log_probabilities_are_known() -> None:
    made = plan(samples=2, problems=1, arms=("interview",))
    beams = [
        {"verdict": "wrong_answer", "logprobs": (-4.0,), "tokens": (4,)},
        {"verdict": "passed", "logprobs": (-6.0,), "tokens": (12,)},
    ]
    found = find("apps").scores(made.protocol({}), {"interview": [judged("1", beams)]})
    assert found["levels"]["interview"]["first"]["value"] == 1
