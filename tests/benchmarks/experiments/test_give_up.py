"""Giving up: what the rule saves and loses on counts of recorded samples, and that the books of both are exact."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.experiments import outcome, task

from benchmarks.data import Record
from benchmarks.experiments.experiment import Arm, Draw, Plan, find
from benchmarks.experiments.give_up import EXPERIMENT, scores
from benchmarks.experiments.giving_up import give_up_after, given_up_at, replay, until_pass
from benchmarks.report.markdown import headline, markdown
from engine.core.passrate import Verdicts
from engine.solving.experience import Experience

CODEGEN = (
    [0] * 17 + [1] * 5 + [2] * 5 + [3] * 5 + [5, 5, 6, 6, 6, 7, 7, 7, 7, 9, 9, 9, 9, 9, 11, 11, 11, 12, 14, 17, 19]
)
CODEGEN += [22, 23, 23, 23, 33, 38, 40, 42, 45, 46, 50, 56, 56, 57, 60, 62, 65, 65, 69, 69, 72, 73, 82, 83, 83, 89, 90]
CODEGEN += [90, 91]
"""Of 100 recorded samples of CodeGen-16B for each of 82 problems of HumanEval, so many pass (`known`: codegen-16b)."""


def practised(failed: int = 30, passed: int = 1) -> Experience:
    experience = Experience()
    for _ in range(8):
        experience.learn(Verdicts(failed=failed), 1.0)
        experience.learn(Verdicts(failed=1, passed=passed), 1.0)
    return experience


def test_the_counts_are_those_of_the_recording() -> None:
    assert (len(CODEGEN), sum(count > 0 for count in CODEGEN), sum(CODEGEN)) == (82, 65, 1923)


def test_the_recording_falls_by_more_than_30_percent_at_less_than_a_point() -> None:
    found = replay(100, CODEGEN, 0.05, orders=25)
    assert found.samples <= 0.7 * 8200 and found.lost / 82 <= 0.01
    # A problem of which no sample passes is given up before all its samples are drawn.
    assert found.on_hopeless < 95
    # What sampling until the first pass saves by itself is not the rule's: on top it saves a few per cent.
    assert 0.02 < 1 - found.samples / until_pass(100, CODEGEN) < 0.15


def test_without_a_floor_nothing_is_given_up() -> None:
    found = replay(100, CODEGEN, 0.0, orders=40)
    assert found.lost == 0 and found.on_hopeless == 100
    assert found.samples == pytest.approx(until_pass(100, CODEGEN), rel=0.02)


def test_a_higher_floor_gives_up_earlier() -> None:
    experience = practised()
    at = [give_up_after(experience, 100, floor) for floor in (0.0, 0.02, 0.1, 0.3, 1.0)]
    assert at == sorted(at, reverse=True) and at[0] == 100 and at[-1] == 1 and len(set(at)) > 3


def test_nothing_is_held_back_without_experience() -> None:
    assert give_up_after(Experience(), 100, 1.0) == 100


@given(st.integers(1, 60), st.floats(0.001, 0.999))
def test_it_gives_up_where_the_chance_falls_below_the_floor(n: int, floor: float) -> None:
    experience = practised()
    at = give_up_after(experience, n, floor)
    assert at == n or experience.still_solves(at, n - at) < floor
    assert at == 1 or experience.still_solves(at - 1, n - at + 1) >= floor


@given(st.integers(1, 6), st.data())
def test_a_fixed_number_of_samples_is_exact(n: int, data: st.DataObject) -> None:
    c = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=4))
    most = data.draw(st.integers(1, n))
    samples = lost = 0.0
    for count in c:
        orders = list(itertools.combinations(range(n), count))  # where the passes are
        firsts = [min(places) + 1 if places else n + 1 for places in orders]
        samples += float(np.mean([min(first, most) for first in firsts]))
        lost += float(np.mean([count > 0 and first > most for first in firsts]))
    found = given_up_at(n, c, most)
    assert found.samples == pytest.approx(samples) and found.lost == pytest.approx(lost)
    if most == n:
        assert found.samples == pytest.approx(until_pass(n, c)) and found.lost == 0


def example(rates: list[int], n: int = 20) -> tuple[Plan, dict[str, Any]]:
    records = [Record(id=str(number), text="x", visible=("assert True",)) for number in range(len(rates))]
    arm = Arm(name="samples", tasks=tuple(map(task, records)), draw=Draw(samples=n))
    data = {"set": "own", "title": "Own", "split": "all", "problems": len(rates), "chosen": "all that are here"}
    plan = Plan(experiment="give-up", data=(data,), arms=(arm,), settings={"floor": 0.05, "orders": 3})
    outcomes = [
        outcome(str(number), ["passed"] * count + ["wrong_answer"] * (n - count)) for number, count in enumerate(rates)
    ]
    return plan, {"samples": outcomes}


def test_the_scores_and_their_page() -> None:
    plan, outcomes = example([0, 0, 1, 5, 20] * 4)
    protocol = plan.protocol({"kind": "script"})
    found = json.loads(json.dumps(scores(protocol, outcomes)))
    assert (found["problems"], found["solved"], found["hopeless"], found["all"]) == (20, 12, 8, 400)
    assert found["rule"] in [{k: v for k, v in line.items() if k != "floor"} for line in found["floors"]]
    lost = [line["lost"] for line in found["floors"]]
    assert found["fixed_at_a_point"]["lost_share"] <= 0.01 and lost[0] <= lost[-1]
    lines = [
        {"id": one.id, "samples": 20, "passed": one.passed, "verdicts": one.verdicts()} for one in outcomes["samples"]
    ]
    result = {
        "title": EXPERIMENT.title,
        "complete": True,
        "problems_done": 20,
        "problems_total": 20,
        "scores": found,
        "problems": {"samples": lines},
        "protocol": {**protocol, "sources": {}},
        "provenance": {},
        "fingerprint": "f",
    }
    words = markdown(EXPERIMENT.page(result))
    assert "saved of until-pass" in words and "which must not be taken for each other" in words
    assert "lost" in headline(EXPERIMENT.page(result))
    assert "Incomplete" in headline(EXPERIMENT.page({**result, "complete": False, "scores": {}}))


def test_it_is_found_by_its_name() -> None:
    assert find("give-up") is EXPERIMENT and find("repair").name == "repair"
