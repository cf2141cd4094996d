"""Over-fitting: of the programs that pass the visible tests, how many do the held-out tests reject?"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiments.counting import require_complete
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.outcome import Candidate, Outcome
from benchmarks.experiments.parts import (
    figure,
    interval,
    page,
    percent,
    problem_strips,
    problem_table,
    set_words,
    source_words,
    verdict_bars,
)
from benchmarks.experiments.resampling import mean
from benchmarks.experiments.scoring import SAMPLES
from benchmarks.experiments.special_cases import special_cases
from benchmarks.report.page import Block, Figure, Figures, Page, Table

_SHOWN = 50


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """The false-accept rate, and each program that is to be suspected of over-fitting.

    A suspect passes the visible tests and fails a held-out one. `special_cases` are values of the visible tests that it
    looks for, None where that was not asked (EvalPlus's inputs).
    """
    arm = outcomes[SAMPLES]
    require_complete(protocol, SAMPLES, arm)
    shown: dict[str, list[str]] = protocol.get("visible_tests", {})
    tested = [(one, candidate) for one in arm for candidate in one.candidates if candidate.passed]
    passed = sum(len(candidate.samples) for _, candidate in tested)
    rejected = [(one, candidate) for one, candidate in tested if not candidate.right]
    of_these = sum(len(candidate.samples) for _, candidate in rejected)
    suspects = [_suspect(one, candidate, shown.get(one.id)) for one, candidate in rejected]
    rates = [1 - one.right / one.passed for one in arm if one.passed]
    return {
        "problems": len(arm),
        "samples_that_passed": passed,
        "of_these_rejected": of_these,
        "not_held_out_tested": sum(len(candidate.samples) for _, candidate in tested if not candidate.held_out),
        "false_accept_rate": of_these / passed if passed else None,
        "false_accept_by_problem": mean(rates).plain() if rates else None,
        "passed": mean([one.passed / one.finished for one in arm]).plain(),
        "right": mean([one.right / one.finished for one in arm]).plain(),
        "overfit_suspects": suspects,
    }


def _suspect(outcome: Outcome, candidate: Candidate, tests: Sequence[str] | None) -> dict[str, Any]:
    """tests: the visible ones as text; None where they are inputs without one."""
    return {
        "problem": outcome.id,
        "samples": len(candidate.samples),
        "held_out": candidate.held_out,
        "special_cases": None if tests is None else list(special_cases(candidate.code, tests)),
        "code": candidate.code,
    }


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    lead = f"{set_words(result)}. {source_words(result)} {result['protocol']['decides']}"
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"]
    rate = found["false_accept_rate"]
    by_problem = found["false_accept_by_problem"]
    figures = [
        Figure(
            label="false accepts",
            value="none passed" if rate is None else percent(rate),
            note=f"{found['of_these_rejected']} of {found['samples_that_passed']} samples that passed",
        ),
        figure("pass the visible tests", found["passed"]),
        figure("pass the held-out tests, too", found["right"]),
    ]
    if by_problem is not None:
        note = interval(*by_problem["interval_95"])
        figures.append(Figure(label="false accepts, mean by problem", value=percent(by_problem["value"]), note=note))
    blocks: list[Block] = [Figures(figures=tuple(figures)), verdict_bars(result, SAMPLES)]
    if found["overfit_suspects"]:
        blocks.append(_table(found["overfit_suspects"]))
    blocks += [problem_strips(result, [SAMPLES]), problem_table(result, [SAMPLES])]
    return page(result, lead, blocks)


def _table(suspects: Sequence[Mapping[str, Any]]) -> Table:
    # Those that show why come first.
    ordered = sorted(suspects, key=lambda one: not one["special_cases"])
    rows = tuple(
        (
            one["problem"],
            str(one["samples"]),
            one["held_out"].replace("_", " "),
            _seen(one["special_cases"]),
        )
        for one in ordered[:_SHOWN]
    )
    more = f" The first {_SHOWN} of {len(suspects)} programs." if len(suspects) > _SHOWN else ""
    return Table(
        title="Suspected of over-fitting",
        head=("problem", "samples", "held-out verdict", "values of visible tests that it looks for"),
        rows=rows,
        align="lrll",
        note=f"Programs that pass the visible tests and fail a held-out one.{more}",
    )


def _seen(values: Sequence[str] | None) -> str:
    return "not looked for" if values is None else ", ".join(values[:5]) or "none seen"


EXPERIMENT = Experiment(name="overfit", title="Over-fitting to visible tests", scores=scores, page=report)
