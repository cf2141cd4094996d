"""The record of a race until the first pass: what is still to be measured, and what the lines say."""

import statistics
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Mode = Literal["alone", "together"]
MODES: tuple[Mode, Mode] = ("alone", "together")
"""One problem after the other, or several at a time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A contestant at a width (0: its own choice) in a mode, in the first `problems` of the race."""

    name: str
    width: int
    mode: Mode
    problems: int

    @property
    def title(self) -> str:
        """How it is called in tables."""
        return f"{self.name}, {self.width} at once" if self.width else self.name


def turns(entries: list[Entry], segment: int, done: list[dict[str, Any]]) -> list[tuple[Entry, range]]:
    """Segments of problems, each through all entries before the next, without the turns that are done."""
    had = {(turn["title"], turn["mode"], turn["first"]) for turn in done}
    most = max(entry.problems for entry in entries)
    return [
        (entry, range(first, min(first + segment, entry.problems)))
        for first in range(0, most, segment)
        for entry in entries
        if first < entry.problems and (entry.title, entry.mode, first) not in had
    ]


def whole(entries: list[Entry], segment: int, taken: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns of those segments that all entries have been through, so that a run may be ended at any time."""
    missing = {part.start for _, part in turns(entries, segment, taken)}
    return [turn for turn in taken if turn["first"] not in missing]


def best(trials: list[dict[str, Any]], names: list[str], mode: Mode) -> dict[str, Any] | None:
    """The trial of a peer that took the least time for a solved problem; None without a trial that solved any."""
    mine = [trial for trial in trials if trial["name"] in names and trial["mode"] == mode and trial["solved"]]
    return min(mine, key=lambda trial: trial["wall_s"] / trial["solved"], default=None)


def summaries(taken: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By entry: solved, wall seconds, solved a second, and the times to the first pass.

    Times are compared over the problems that every entry of a mode solved that was asked all of them; other entries
    (with fewer problems) stand by themselves, over those that all solved among theirs.
    """
    found: list[dict[str, Any]] = []
    for mode in MODES:
        lines = _lines(taken, mode)
        for title, mine in lines.items():
            wall = sum(turn["wall_s"] for turn in taken if (turn["title"], turn["mode"]) == (title, mode))
            common = commonly_solved(lines, list(mine))
            times = [mine[problem]["seconds"] for problem in common]
            solved = sum(line["solved"] for line in mine.values())
            found.append(
                {
                    "title": title,
                    "mode": mode,
                    "problems": len(mine),
                    "solved": solved,
                    "wall_s": round(wall, 1),
                    "solved_per_second": round(solved / wall, 4),
                    "commonly_solved": len(times),
                    "first_pass_median_s": round(statistics.median(times), 2) if times else None,
                    "first_pass_p90_s": round(float(np.percentile(times, 90)), 2) if times else None,
                    "samples_finished": sum(line["finished"] for line in mine.values()),
                }
            )
    return found


def against(taken: list[dict[str, Any]], ours: str) -> list[dict[str, Any]]:
    """Ours beside each other entry of its mode: median time to the first pass over what both solved, and, where both
    were asked the same problems, solved problems a second. Ratios above 1 are in our favour."""
    found: list[dict[str, Any]] = []
    totals = {(line["title"], line["mode"]): line for line in summaries(taken)}
    for mode in MODES:
        lines = _lines(taken, mode)
        for title, theirs in lines.items():
            if title == ours or ours not in lines:
                continue
            both = commonly_solved({ours: lines[ours], title: theirs}, list(theirs.keys() & lines[ours]))
            if not both:
                continue
            medians = [statistics.median(side[name]["seconds"] for name in both) for side in (lines[ours], theirs)]
            entry: dict[str, Any] = {
                "title": title,
                "mode": mode,
                "both_solved": len(both),
                "median_ours_s": round(medians[0], 2),
                "median_theirs_s": round(medians[1], 2),
                "times_sooner": round(medians[1] / medians[0], 2),
            }
            if set(theirs) == set(lines[ours]):
                mine, other = totals[ours, mode], totals[title, mode]
                entry["times_solved_per_second"] = round(mine["solved_per_second"] / other["solved_per_second"], 2)
            found.append(entry)
    return found


def _lines(taken: list[dict[str, Any]], mode: Mode) -> dict[str, dict[str, Any]]:
    """Entry -> problem -> line."""
    lines: dict[str, dict[str, Any]] = {}
    for turn in taken:
        if turn["mode"] == mode:
            lines.setdefault(turn["title"], {}).update({line["problem"]: line for line in turn["lines"]})
    return lines


def commonly_solved(lines: dict[str, dict[str, Any]], problems: list[str]) -> list[str]:
    """Of these problems, those that every entry solved which was asked all of them."""
    askers = [mine for mine in lines.values() if set(problems) <= set(mine)]
    return [problem for problem in problems if all(mine[problem]["solved"] for mine in askers)]


def by_problem(taken: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mode -> problem -> entry -> seconds to the first pass; None where none of its samples passed."""
    table: dict[str, dict[str, Any]] = {mode: {} for mode in MODES}
    for turn in taken:
        for line in turn["lines"]:
            cell = line["seconds"] if line["solved"] else None
            table[turn["mode"]].setdefault(line["problem"], {})[turn["title"]] = cell
    return table
