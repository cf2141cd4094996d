"""What pass@k may be computed from, and the scores that are computed."""

from typing import Any

import pytest
from support.experiments import outcome, plan

from benchmarks.experiments.counting import passes
from benchmarks.experiments.errors import NotCountable
from benchmarks.experiments.experiment import Draw
from benchmarks.experiments.outcome import Candidate, Outcome
from benchmarks.experiments.scoring import curve_points, sampled, samples_and_greedy

OUTCOMES = [
    outcome("1", ["wrong_answer", "passed", "passed", "wrong_answer"]),
    outcome("2", ["passed"] * 4),
    outcome("3", ["time_limit"] * 4),
]


def protocol(**sampling: Any) -> dict[str, Any]:
    found = plan(samples=4).protocol({"kind": "script"})
    found["arms"][0]["sampling"] = sampling
    return found


def test_counts_of_independent_complete_draws() -> None:
    n, c = passes(protocol(temperature=0.8), "samples", OUTCOMES)
    assert n == 4 and c.tolist() == [2, 4, 0]


@pytest.mark.parametrize(
    "sampling",
    [
        {"mode": "distinct"},
        {"mode": "beam"},
        {"prune": "syntax"},
        {"greedy_first": True},
        {"temperatures": [0.2, 0.8]},
        {"distinct_programs": True},
    ],
)
def test_other_draws_are_refused(sampling: dict[str, Any]) -> None:
    assert not Draw(samples=4, sampling=sampling).independent
    with pytest.raises(NotCountable, match="independent"):
        passes(protocol(**sampling), "samples", OUTCOMES)


def test_a_missing_problem_and_a_missing_sample_are_refused() -> None:
    with pytest.raises(NotCountable, match="2 of 3 problems"):
        passes(protocol(), "samples", OUTCOMES[:2])
    short = outcome("3", ["passed"] * 3)
    with pytest.raises(NotCountable, match="problem 3: 3 of 4 samples"):
        passes(protocol(), "samples", [*OUTCOMES[:2], short])
    with pytest.raises(NotCountable, match="'other' is not in the protocol"):
        passes(protocol(), "other", OUTCOMES)


def test_a_problem_has_seeds_of_its_own_which_arms_share() -> None:
    draw, other = Draw(samples=4, seed=1), Draw(samples=9, seed=1, sampling={"temperature": 1.0})
    assert draw.seed_of("a") == other.seed_of("a") != draw.seed_of("b")
    assert Draw(samples=4, seed=2).seed_of("a") != draw.seed_of("a")
    assert 0 <= draw.seed_of("a") < 2**63


def test_scores_of_an_arm() -> None:
    found = sampled(protocol(), "samples", OUTCOMES, [1, 2, 4])
    assert [found["pass_at_k"][k]["value"] for k in ("1", "2", "4")] == pytest.approx([0.5, (5 / 6 + 1) / 3, 2 / 3])
    assert found["solved_by_any"]["value"] == pytest.approx(2 / 3)
    assert found["fraction_of_samples"]["value"] == pytest.approx(0.5)
    assert (found["solved"], found["problems"], found["samples_per_problem"]) == (2, 3, 4)
    assert found["expected_draws_median_of_solved"] == pytest.approx((5 / 3 + 1) / 2)
    assert [point["k"] for point in found["curve"]] == [1, 2, 3, 4]
    assert "held_out" not in found
    with pytest.raises(ValueError, match="pass@5 is not defined"):
        sampled(protocol(), "samples", OUTCOMES, [5])


def test_held_out_tests_are_told_apart_and_do_not_decide() -> None:
    held = ["passed", "wrong_answer", "", ""]
    mixed = outcome("1", ["passed", "passed", "wrong_answer", "wrong_answer"], held_out=held)
    found = sampled(protocol(), "samples", [mixed, *OUTCOMES[1:]], [1])
    assert found["held_out"] == {"problems": 1, "samples_that_passed": 2, "of_these_rejected": 1}
    assert found["pass_at_k"]["1"]["value"] == pytest.approx(0.5)
    assert (mixed.passed, mixed.right, mixed.solved) == (2, 1, True)


def test_the_greedy_arm_has_one_text() -> None:
    both = plan(samples=4, arms=("samples", "greedy")).protocol({"kind": "script"})
    both["arms"][1]["samples"] = 1
    greedy = [outcome("1", ["passed"]), outcome("2", ["passed"]), outcome("3", ["wrong_answer"])]
    found = samples_and_greedy(both, {"samples": OUTCOMES, "greedy": greedy})
    assert found["greedy"]["pass_at_k"] == {"1": found["greedy"]["fraction_of_samples"]}
    assert found["greedy"]["pass_at_k"]["1"]["value"] == pytest.approx(2 / 3)


def test_points_of_a_curve() -> None:
    assert curve_points(5) == [1, 2, 3, 4, 5]
    many = curve_points(10_000, [80])
    assert many[0] == 1 and many[-1] == 10_000 and 80 in many and len(many) <= 49


def test_an_outcome_by_sample() -> None:
    shared = Candidate(code="a", samples=(0, 3), verdict="passed", tokens=(5, 6))
    other = Candidate(code="b", samples=(1, 2), verdict="wrong_answer", tokens=(9, 8))
    found = Outcome(id="x", asked=4, finished=4, candidates=(shared, other))
    assert [one.code for one in found.by_sample()] == ["a", "b", "b", "a"]
    assert found.tokens_by_sample() == [5, 9, 8, 6]
    assert found.verdicts() == {"passed": 2, "wrong_answer": 2}
    assert Outcome.read(found.plain()) == found
    unknown = Outcome(id="x", asked=2, finished=2, candidates=(Candidate(code="a", samples=(0, 1), verdict="passed"),))
    assert unknown.tokens_by_sample() == []
