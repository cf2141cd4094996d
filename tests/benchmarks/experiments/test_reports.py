"""The scores and pages of each experiment, from outcomes that are known."""

import random
from typing import Any

import numpy as np
import pytest
from support.experiments import outcome, plan

from benchmarks.experiments.experiment import Arm, Draw, Experiment, Plan, find
from benchmarks.experiments.outcome import Outcome
from benchmarks.experiments.sweep import arm_name, recommended
from benchmarks.report.html import html
from benchmarks.report.markdown import markdown
from benchmarks.report.page import Curves, Figures, ProblemTable, Strips, Table

NAMES = ("humaneval", "mbpp", "curve", "sweep")


def drawn(samples: int, rates: list[float], seed: int, *, tokens: bool = False) -> list[Outcome]:
    draw = random.Random(seed)
    return [
        outcome(
            str(number),
            ["passed" if draw.random() < rate else "wrong_answer" for _ in range(samples)],
            tokens=[draw.randrange(20, 60) for _ in range(samples)] if tokens else (),
        )
        for number, rate in enumerate(rates, 1)
    ]


def result(
    experiment: Experiment, made: Plan, outcomes: dict[str, list[Outcome]], *, complete: bool = True
) -> dict[str, Any]:
    """As benchmarks.experiments.conduct makes it."""
    protocol = {**made.protocol({"kind": "script", "samples_from": "a script"}), "sources": {}}
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "complete": complete,
        "problems_done": 1,
        "problems_total": 2,
        "fingerprint": "0" * 64,
        "scores": experiment.scores(protocol, outcomes) if complete else {},
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


def example(name: str) -> tuple[Experiment, Plan, dict[str, list[Outcome]]]:
    rates = [0.02, 0.1, 0.3, 0.9, 0.0]
    settings: dict[str, Any] = {"prompt": "few-shot", "tests_shown": 3}
    if name == "sweep":
        made = plan(
            samples=10, problems=5, arms=("T = 0.2", "T = 0.8"), ks=[1, 10], temperatures=[0.2, 0.8], **settings
        )
        outcomes = {"T = 0.2": drawn(10, [0, 0, 1, 1, 0], 1), "T = 0.8": drawn(10, [0.2, 0.3, 0.5, 0.6, 0.1], 2)}
    else:
        made = plan(samples=20, problems=5, arms=("samples",), ks=[1, 10], **settings)
        outcomes = {"samples": drawn(20, rates, 3, tokens=name == "curve")}
    return find(name), made, outcomes


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_has_a_page_of_its_result(name: str) -> None:
    experiment, made, outcomes = example(name)
    found = experiment.page(result(experiment, made, outcomes))
    kinds = [type(block) for block in found.blocks]
    assert kinds[0] is Figures and Curves in kinds and Strips in kinds and kinds[-1] is ProblemTable
    assert found.warning == "" and found.protocol["experiment"] == "humaneval"
    assert "<svg" in html(found) and "95 % interval" in markdown(found)


@pytest.mark.parametrize("name", NAMES)
def test_an_incomplete_result_shows_no_number(name: str) -> None:
    experiment, made, outcomes = example(name)
    found = experiment.page(result(experiment, made, outcomes, complete=False))
    assert found.blocks == () and found.warning.startswith("Incomplete: 1 of 2 problems")


def test_the_two_scores_of_the_mbpp_paper() -> None:
    experiment, made, outcomes = example("mbpp")
    scores = experiment.scores(made.protocol({}), outcomes)["samples"]
    passed = [one.passed for one in outcomes["samples"]]
    assert scores["solved_by_any"]["value"] == pytest.approx(np.mean([count > 0 for count in passed]), abs=1e-12)
    assert scores["fraction_of_samples"]["value"] == pytest.approx(np.mean(passed) / 20, abs=1e-12)
    assert scores["pass_at_k"]["1"]["value"] == pytest.approx(scores["fraction_of_samples"]["value"], abs=1e-12)


def test_coverage_has_a_fit_and_tokens_where_they_are_known() -> None:
    experiment, made, outcomes = example("curve")
    scores = experiment.scores(made.protocol({}), outcomes)["samples"]
    assert [point["k"] for point in scores["curve"]] == list(range(1, 21))
    assert scores["fit"]["a"] < 0 < scores["fit"]["b"] and scores["fit"]["rms"] < 0.05
    by_tokens = scores["pass_at_tokens"]
    assert by_tokens[-1]["value"] == pytest.approx(scores["solved_by_any"]["value"])
    assert [point["tokens"] for point in by_tokens] == sorted({point["tokens"] for point in by_tokens})
    unknown = {"samples": drawn(20, [0.5] * 5, 1)}
    assert "pass_at_tokens" not in experiment.scores(made.protocol({}), unknown)["samples"]


def test_coverage_that_cannot_be_fitted_has_a_page_without_a_fit() -> None:
    experiment, made, _ = example("curve")
    nothing = {"samples": drawn(20, [0.0] * 5, 1)}
    found = result(experiment, made, nothing)
    assert found["scores"]["samples"]["fit"] is None
    assert found["scores"]["samples"]["expected_draws_median_of_solved"] is None
    assert "fit" not in [figure.label for figure in experiment.page(found).blocks[0].figures]  # type: ignore[union-attr]


def test_a_sweep_recommends_a_temperature_for_each_k() -> None:
    experiment, made, outcomes = example("sweep")
    found = experiment.scores(made.protocol({}), outcomes)
    assert found["recommended"]["1"]["temperature"] == 0.2
    assert found["recommended"]["10"]["temperature"] == 0.8
    assert [one["temperature"] for one in found["by_temperature"]] == [0.2, 0.8]
    [table] = [
        block for block in experiment.page(result(experiment, made, outcomes)).blocks if isinstance(block, Table)
    ]
    assert [row[:2] for row in table.rows] == [("1", "0.2"), ("10", "0.8")]


def test_temperatures_that_cannot_be_told_apart_are_named() -> None:
    same = np.array([1.0, 0.0, 1.0, 0.0])
    worse = np.zeros(4)
    assert recommended({0.2: same, 0.8: same, 1.0: worse})["temperature"] == 0.2
    assert recommended({0.2: same, 0.8: same, 1.0: worse})["as_good"] == [0.8, 1.0]
    clear = np.ones(40)
    assert recommended({0.2: clear, 0.8: np.zeros(40)})["as_good"] == []
    assert arm_name(0.30000000000000004) == "T = 0.3"


def test_published_figures_stand_only_beside_a_model() -> None:
    experiment, made, outcomes = example("humaneval")
    scripted = result(experiment, made, outcomes)
    assert not any(isinstance(block, Table) for block in experiment.page(scripted).blocks)
    scripted["protocol"]["generator"] = {"kind": "server"}
    scripted["protocol"]["sources"] = {"": {"model": "m", "arithmetic": "int8"}}
    page = experiment.page(scripted)
    [table] = [block for block in page.blocks if isinstance(block, Table)]
    assert "Not measured here" in table.note and any("Codex" in row[0] for row in table.rows)
    assert "Samples by m in int8." in page.lead


def test_an_experiment_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="experiment 'nosuch'"):
        find("nosuch")
    with pytest.raises(ValueError, match="gives no EXPERIMENT"):
        find("estimators")


def test_a_plan_whose_arms_cannot_be_told_apart_is_refused() -> None:
    good = plan()
    with pytest.raises(ValueError, match="not all different"):
        Plan(experiment="x", data=(), arms=(good.arms[0], good.arms[0]), settings={})
    twice = Arm(name="a", tasks=(good.arms[0].tasks[0],) * 2, draw=Draw(samples=1))
    with pytest.raises(ValueError, match="different ids"):
        Plan(experiment="x", data=(), arms=(twice,), settings={})


def test_the_protocol_tells_prompts_and_tests_apart() -> None:
    def arm(**document: Any) -> dict[str, Any]:
        base = plan().arms[0].tasks[0]
        task = type(base)(record=base.record, document={"prompt": "x", "tests": ["assert 1"], **document})
        one = Arm(name="a", tasks=(task,), draw=Draw(samples=1))
        return Plan(experiment="x", data=(), arms=(one,), settings={}).protocol({})["arms"][0]

    base, other_prompt, other_tests = arm(), arm(prompt="y"), arm(tests=["assert 2"])
    named, limited = arm(problem_id="z"), arm(limits={"cpu_seconds": 1.0})
    assert base == named
    assert (
        base["prompts_sha256"] != other_prompt["prompts_sha256"]
        and base["tests_sha256"] == other_prompt["tests_sha256"]
    )
    assert base["tests_sha256"] != other_tests["tests_sha256"] != limited["tests_sha256"] != base["tests_sha256"]
