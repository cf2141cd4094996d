"""Rounds of repair against plain sampling at equal tokens, on problems whose first draws failed.

A conversation goes on from the program that failed until a round passes; plain sampling draws from the problem alone.
What is compared is the share of problems solved within so many tokens after the first draws, which both have in common
and which cost neither (Olausson et al. 2023, arXiv 2306.09896; Chen et al. 2023, arXiv 2304.05128).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.experiments.experiment import Experiment, Outcomes, Task
from benchmarks.experiments.outcome import Outcome
from benchmarks.experiments.repair_page import report
from benchmarks.experiments.repair_tokens import (
    MEASURES,
    Spent,
    Tried,
    even_share,
    first_pass,
    solved_within,
    total,
    used,
)
from benchmarks.experiments.repair_words import FIRST, REPAIR, RESAMPLING
from benchmarks.experiments.resampling import mean, means
from engine.text.normalise import program_key

_POINTS = 24


def tries_of(outcome: Outcome) -> list[Tried]:
    """The calls of a problem's outcome, in their order."""
    return [Tried(spent=Spent(**turn["spent"]), passed=turn["failure"] is None) for turn in outcome.facts["turns"]]


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """What rounds solve, what plain samples solve for the same tokens, and the difference, problem by problem."""
    first = outcomes[FIRST]
    failed = sum(not outcome.solved for outcome in first)
    found: dict[str, Any] = {
        "problems": len(first),
        "failed_at_first": failed,
        "first_draws": mean([float(outcome.solved) for outcome in first]).plain(),
    }
    if not failed:
        return found
    rounds, samples = ([tries_of(outcome) for outcome in outcomes[name]] for name in (REPAIR, RESAMPLING))
    return found | {
        "by_round": _by_round(protocol["rounds"], len(first), rounds),
        "by_tokens": {measure: _by_tokens(rounds, samples, measure) for measure in MEASURES},
        "programs_drawn_before": {name: _repeats(first, outcomes[name]) for name in (REPAIR, RESAMPLING)},
    }


def _by_round(rounds: int, problems: int, conversations: Sequence[Sequence[Tried]]) -> list[dict[str, Any]]:
    """Solved by so many rounds: of the problems that failed at first, and of all that were looked at."""
    found: list[dict[str, Any]] = []
    for number in range(rounds + 1):
        solved = np.array([float(any(one.passed for one in tries[:number])) for tries in conversations])
        there = [tries[number - 1].spent for tries in conversations if 0 < number <= len(tries)]
        first = np.ones(problems - len(conversations))
        found.append(
            {
                "round": number,
                "solved": int(solved.sum()),
                "of_failed": mean(solved).plain(),
                "of_all": mean(np.concatenate([first, solved])).plain(),
                "conversations": len(there),
                "tokens_in_the_mean": {
                    kind: round(sum(getattr(one, kind) for one in there) / len(there), 1) if there else None
                    for kind in ("prompt", "cached", "generated")
                },
            }
        )
    return found


def _by_tokens(rounds: Sequence[Sequence[Tried]], samples: Sequence[Sequence[Tried]], measure: str) -> dict[str, Any]:
    spent = [total(tries, measure) for tries in rounds]
    even = even_share(rounds, measure)
    least = min(tries[0].spent.by(measure) for tries in (*rounds, *samples))
    budgets = sorted({*np.geomspace(max(1, min(least, even)), even, _POINTS).round().astype(int).tolist(), even})
    by_arm = {
        name: np.array([[float(solved_within(one, budget, measure)) for budget in budgets] for one in tries])
        for name, tries in ((REPAIR, rounds), (RESAMPLING, samples))
    }
    apart = means(by_arm[REPAIR] - by_arm[RESAMPLING])
    curves = {name: means(values) for name, values in by_arm.items()}
    within = [float(solved_within(one, budget, measure)) for one, budget in zip(samples, spent, strict=True)]
    passed = [float(first_pass(one, measure) is not None) for one in rounds]
    return {
        "tokens_of_a_conversation": {
            "mean": float(np.mean(spent)),
            "median": float(np.median(spent)),
            "most": max(spent),
        },
        "samples_did_not_last": sum(
            total(one, measure) < max(budget, even) and first_pass(one, measure) is None
            for one, budget in zip(samples, spent, strict=True)
        ),
        "each_as_its_conversation": {
            "tokens": {
                REPAIR: sum(spent),
                RESAMPLING: sum(used(one, budget, measure) for one, budget in zip(samples, spent, strict=True)),
            },
            "solved": {REPAIR: int(sum(passed)), RESAMPLING: int(sum(within))},
            REPAIR: mean(passed).plain(),
            RESAMPLING: mean(within).plain(),
            "difference": mean(np.array(passed) - np.array(within)).plain(),
        },
        "curve": [
            {
                "tokens": budget,
                **{name: points[place].plain() for name, points in curves.items()},
                "difference": apart[place].plain(),
            }
            for place, budget in enumerate(budgets)
        ],
    }


def _repeats(first: Sequence[Outcome], later: Sequence[Outcome]) -> dict[str, int]:
    """Of the programs that came after the first draws, how many were there already but for comments and layout."""
    known = {outcome.id: {program_key(one.code) for one in outcome.candidates} for outcome in first}
    again = programs = 0
    for outcome in later:
        seen = set(known[outcome.id])
        for one in outcome.candidates:
            key = program_key(one.code)
            programs += 1
            again += key in seen
            seen.add(key)
    return {"programs": programs, "drawn_before": again}


def transcripts(tasks: Sequence[Task], outcomes: Mapping[tuple[str, str], Outcome]) -> list[dict[str, Any]]:
    """The conversations as JSON values: the task, then by turns the programs with what came of them, and what was said.

    `outcomes` are those of a ledger, by arm and problem. An automatic round says no words of its own: the failure of
    the turn before is what it is told.
    """
    return [_transcript(task, outcomes[FIRST, task.id], outcomes[REPAIR, task.id]) for task in tasks]


def _transcript(task: Task, first: Outcome, later: Outcome) -> dict[str, Any]:
    turns: list[dict[str, Any]] = []
    for outcome in (first, later):
        programs = iter(outcome.candidates)
        for turn in outcome.facts["turns"]:
            drawn = [next(programs) for _ in range(turn["programs"])]
            turns.append(
                {
                    "said": turn["said"],
                    "programs": [{"code": one.code, "verdict": one.verdict} for one in drawn],
                    "failure": turn["failure"],
                    "tokens": turn["spent"],
                }
            )
    chat = task.document.get("chat") or [{"role": "user", "content": task.document["prompt"]}]
    solved = next((number for number, turn in enumerate(turns) if turn["failure"] is None), None)
    return {"problem": task.id, "asked": list(chat), "solved_in_round": solved, "turns": turns}


EXPERIMENT = Experiment(name="repair", title="Rounds of repair", scores=scores, page=report)
