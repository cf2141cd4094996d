"""Giving up: what a rule that stops hopeless problems saves, and what it loses, over the samples of a set."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiments.counting import passes
from benchmarks.experiments.experiment import Experiment, Outcomes
from benchmarks.experiments.giving_up import Replayed, given_up_at, replay, until_pass
from benchmarks.experiments.parts import page, percent, problem_strips, problem_table, set_words, source_words
from benchmarks.experiments.scoring import SAMPLES
from benchmarks.report.page import Block, Figure, Figures, Page, Table, Text

_FLOORS = (0.02, 0.05, 0.1, 0.2)


def scores(protocol: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """The rule at the floor asked for and at others, and fixed numbers of samples that give up as early.

    Raises NotCountable where the samples are not independent and complete.
    """
    n, counts = passes(protocol, SAMPLES, outcomes[SAMPLES])
    c: list[int] = counts.tolist()
    every, first = float(n * len(c)), until_pass(n, c)
    orders, floor = protocol["orders"], protocol["floor"]

    def told(found: Replayed) -> dict[str, float]:
        return {
            "samples": found.samples,
            "saved_of_all": 1 - found.samples / every,
            "saved_of_until_pass": 1 - found.samples / first,
            "lost": found.lost,
            "lost_share": found.lost / len(c),
            "on_hopeless": found.on_hopeless,
        }

    fixed = [given_up_at(n, c, most) for most in range(1, n + 1)]
    floors = {one: told(replay(n, c, one, orders=orders)) for one in sorted({floor, *_FLOORS})}
    return {
        "problems": len(c),
        "samples_per_problem": n,
        "solved": sum(count > 0 for count in c),
        "hopeless": sum(count == 0 for count in c),
        "all": every,
        "until_pass": first,
        "until_pass_saved_of_all": 1 - first / every,
        "rule": floors[floor],
        "floors": [{"floor": one, **line} for one, line in floors.items()],
        "fixed_at_a_point": _fixed(fixed, len(c), told),
    }


def _fixed(fixed: Sequence[Replayed], problems: int, told: Any) -> dict[str, Any] | None:
    """The earliest fixed number of samples that loses no more than one problem in a hundred."""
    for most, found in enumerate(fixed, 1):
        if found.lost <= 0.01 * problems:
            return {"most": most, **told(found)}
    return None


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    protocol = result["protocol"]
    lead = (
        f"{set_words(result)}. {source_words(result)} Sampling until the first pass, given up where one of "
        f"the samples left passes with a chance below {protocol['floor']:g}."
    )
    if not result["complete"]:
        return page(result, lead, ())
    found = result["scores"]
    blocks: list[Block] = [
        _figures(found),
        _table(found, protocol["orders"]),
        Text(
            title="How to read it",
            paragraphs=(
                "Two savings, which must not be taken for each other. Of all samples: against drawing all of them for "
                "every problem, as harnesses do; most of that comes from stopping at the first pass. Of until-pass: "
                "what giving up saves on top, and only this is the rule's own merit.",
                "Failures alone tell problems that will pass late from problems that never will only by their number. "
                "So no rule that looks at nothing else can beat a fixed number of samples by much, and saving a large "
                "part of until-pass costs the problems that pass late.",
            ),
        ),
        problem_strips(result, [SAMPLES]),
        problem_table(result, [SAMPLES]),
    ]
    return page(result, lead, blocks)


def _figures(found: Mapping[str, Any]) -> Figures:
    rule = found["rule"]
    by_passes = percent(found["until_pass_saved_of_all"])
    return Figures(
        figures=(
            Figure(
                label="saved of all samples",
                value=percent(rule["saved_of_all"]),
                note=f"of {found['all']:,.0f}; stopping at the first pass alone {by_passes}",
            ),
            Figure(
                label="saved of until-pass",
                value=percent(rule["saved_of_until_pass"]),
                note=f"of {found['until_pass']:,.0f}",
            ),
            Figure(
                label="lost",
                value=f"{100 * rule['lost_share']:.2f} points",
                note=f"{rule['lost']:.2f} of {found['problems']} problems",
            ),
            Figure(
                label="samples on a hopeless problem",
                value=f"{rule['on_hopeless']:.1f}",
                note=f"of {found['samples_per_problem']}; {found['hopeless']} problems have no sample that passes",
            ),
        )
    )


def _table(found: Mapping[str, Any], orders: int) -> Table:
    def row(name: str, line: Mapping[str, float]) -> tuple[str, ...]:
        return (
            name,
            f"{line['samples']:,.0f}",
            percent(line["saved_of_all"]),
            percent(line["saved_of_until_pass"]),
            f"{100 * line['lost_share']:.2f}",
            f"{line['on_hopeless']:.1f}",
        )

    rows = [row(f"below {line['floor']:g}", line) for line in found["floors"]]
    if (fixed := found["fixed_at_a_point"]) is not None:
        rows.append(row(f"always after {fixed['most']}", fixed))
    return Table(
        title="Where the problem is given up",
        head=(
            "given up",
            "samples",
            "saved of all",
            "saved of until-pass",
            "lost, points",
            "samples on a hopeless problem",
        ),
        rows=tuple(rows),
        align="lrrrrr",
        note=f"Means over {orders} orders of problems and samples. The last line is exact, and chosen with the "
        "verdicts known: the earliest fixed number that loses at most one point.",
    )


EXPERIMENT = Experiment(name="give-up", title="When to give up", scores=scores, page=report)
