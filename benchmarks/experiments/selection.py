"""Selection: which program to hand in, when few or no tests are visible; oracle and random stand beside each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.experiments.counting import require_complete
from benchmarks.experiments.errors import NotCountable
from benchmarks.experiments.estimators import Floats, filtered_pass_at_k
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.outcome import PASSED, Candidate, Outcome
from benchmarks.experiments.parts import (
    bar,
    figure,
    page,
    percent,
    points,
    problem_strips,
    problem_table,
    set_words,
    source_words,
)
from benchmarks.experiments.resampling import Mean, mean
from benchmarks.experiments.scoring import SAMPLES
from benchmarks.experiments.selecting import (
    Sampled,
    any_of_clusters,
    at_random,
    by_agreement,
    by_generated_tests,
    by_logprob,
    by_majority,
    of_kept,
    score,
)
from benchmarks.report.page import Bars, Block, Figure, Figures, Page, Table, Text

BEHAVIOUR = "behaviour"
"""The arm in which the same samples are run on the inputs of visible and generated tests."""

OWN = "codet-own"
"""CodeT by the tests that are no example of the docstring, which a model that sees it may have copied."""

CLUSTERS = (3, 10)
"""How many programs are handed in where one of each of so many clusters is."""

_CHOICES: dict[str, Callable[[Sequence[Sampled]], Floats | None]] = {
    "random": at_random,
    "majority": by_majority,
    "mbr-exec": by_agreement,
    "codet": by_generated_tests,
    OWN: by_generated_tests,
    "logprob": by_logprob,
}


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """What each choice scores, with random and the oracle, and how far each is ahead of random.

    Raises NotCountable where the two arms do not hold the same samples.
    """
    for arm in (SAMPLES, BEHAVIOUR):
        require_complete(protocol, arm, outcomes[arm])
    visible: dict[str, int] = protocol["visible_used"]
    copied: dict[str, list[int]] = protocol["generated_tests_copied"]
    problems = [
        sampled(truth, behaviour, visible[truth.id])
        for truth, behaviour in zip(outcomes[SAMPLES], outcomes[BEHAVIOUR], strict=True)
    ]
    own = [_without(samples, copied[truth.id]) for samples, truth in zip(problems, outcomes[SAMPLES], strict=True)]
    n = len(problems[0])
    found: dict[str, Any] = {}
    random = np.array([score(of_kept(one), at_random(of_kept(one))) for one in problems])
    for name, choose in _CHOICES.items():
        values: list[float] = []
        for samples in own if name == OWN else problems:
            left = of_kept(samples)
            weights = choose(left)
            if weights is not None:
                values.append(score(left, weights))
        if len(values) == len(problems):
            ahead = mean(np.array(values) - random)
            found[name] = {**mean(values).plain(), "ahead_of_random": ahead.plain()}
    kept, right = ([sum(flags) for flags in columns] for columns in zip(*map(_kept_and_right, problems), strict=True))
    return {
        "problems": len(problems),
        "samples_per_problem": n,
        "visible_tests_filter_first": any(visible.values()),
        "choices": found,
        "any_of_clusters": {
            str(count): mean([any_of_clusters(of_kept(samples), count) for samples in problems]).plain()
            for count in CLUSTERS
        },
        "oracle": mean([float(any(one.right for one in samples)) for samples in problems]).plain(),
        "unfiltered_random": mean([float(np.mean([one.right for one in samples])) for samples in problems]).plain(),
        "filtered_pass_at_k": {
            str(k): mean(filtered_pass_at_k(n, kept, right, k)).plain() for k in protocol["ks"] if k <= n
        },
    }


def sampled(truth: Outcome, behaviour: Outcome, visible: int) -> list[Sampled]:
    """The samples of a problem by both arms, in their order. `visible` of the behaviour's tests are visible ones.

    Raises NotCountable where they are not the same samples.
    """
    sides = truth.by_sample(), behaviour.by_sample()
    if [one.code for one in sides[0]] != [one.code for one in sides[1]]:
        raise NotCountable(f"problem {truth.id}: the arms {SAMPLES!r} and {BEHAVIOUR!r} do not hold the same samples")
    measured = truth.measured_by_sample()
    logprobs = [logprob / max(tokens, 1) for tokens, logprob in measured] or [None] * len(sides[0])
    return [_sampled(right, ran, visible, logprob) for right, ran, logprob in zip(*sides, logprobs, strict=True)]


def _sampled(truth: Candidate, ran: Candidate, visible: int, logprob: float | None) -> Sampled:
    tests = tuple(test == PASSED for test in ran.tests)
    return Sampled(
        values=ran.values,
        returned=tuple(not value.startswith("!") for value in ran.values),
        tests=tests[visible:],
        kept=all(tests[:visible]) and len(tests) >= visible,
        right=truth.passed,
        logprob=logprob,
    )


def _without(samples: Sequence[Sampled], copied: Sequence[int]) -> list[Sampled]:
    return [
        replace(one, tests=tuple(passed for place, passed in enumerate(one.tests) if place not in copied))
        for one in samples
    ]


def _kept_and_right(samples: Sequence[Sampled]) -> tuple[list[bool], list[bool]]:
    return [one.kept for one in samples], [one.kept and one.right for one in samples]


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    lead = f"{set_words(result)}. {source_words(result)} {_tests_words(result['protocol'])}"
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"]
    choices = found["choices"]
    n = found["samples_per_problem"]
    best = max((name for name in choices if name != "random"), key=lambda name: choices[name]["value"])
    figures = [
        figure(f"best choice: {best}", choices[best]),
        figure("at random", choices["random"]),
        *(figure(f"one of each of {k} clusters", one) for k, one in found["any_of_clusters"].items()),
        figure(f"oracle, any of {n}", found["oracle"]),
        *(figure(f"filtered pass@{k}", one) for k, one in found["filtered_pass_at_k"].items()),
        Figure(label="problems", value=str(found["problems"])),
    ]
    sides = {**choices, f"oracle, any of {n}": found["oracle"]}
    words = (
        "Selected pass@1: one program is handed in for each problem, chosen by what the choice may see; the tests that "
        "decide are seen by the oracle alone. Where a choice leaves several equal, its score is the mean over them."
    )
    missing = [] if "logprob" in choices else ["Log-probabilities of these samples are not known: no choice by them."]
    first = "Visible tests filter first." if found["visible_tests_filter_first"] else "No visible test is used."
    blocks: list[Block] = [
        Figures(figures=tuple(figures)),
        Bars(
            title="Selected pass@1",
            says=", ".join(f"{name} {percent(one['value'])}" for name, one in sides.items()) + ".",
            bars=tuple(bar(name, Mean(one["value"], *one["interval_95"])) for name, one in sides.items()),
            note="Whiskers: 95 % bootstrap intervals over problems, 10,000 resamples.",
        ),
        _table(choices),
        Text(title="How to read it", paragraphs=(f"{words} {first}", *missing)),
        problem_strips(result, [SAMPLES]),
        problem_table(result, [SAMPLES]),
    ]
    return page(result, lead, blocks)


def _tests_words(protocol: Mapping[str, Any]) -> str:
    used = protocol["generated_tests_used"].values()
    count = f"{sum(used) / len(used):.1f} different generated tests a problem"
    if "generated_tests_by" not in protocol:
        return f"Tests: recorded ({protocol['generated_tests']}), {count}."
    by = protocol["generated_tests_by"]
    return f"Tests by {by['model']}, {by['texts_of_each_problem']} texts a problem: {count}."


def _table(choices: Mapping[str, Mapping[str, Any]]) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, one in choices.items():
        ahead = one["ahead_of_random"]
        away = points(ahead["value"]), " to ".join(map(points, ahead["interval_95"]))
        rows.append((name, percent(one["value"]), *(("", "") if name == "random" else away)))
    return Table(
        title="Ahead of a choice at random",
        head=("choice", "selected pass@1", "points ahead", "95 % interval"),
        rows=tuple(rows),
        align="lrrr",
        note="majority: the largest group that behaves alike. mbr-exec: the program that agrees most with all others. "
        "codet: dual agreement with generated tests; codet-own: with those that are no example of the docstring. "
        "logprob: the highest mean per token.",
    )


EXPERIMENT = Experiment(name="selection", title="Selection with few visible tests", scores=scores, page=report)
