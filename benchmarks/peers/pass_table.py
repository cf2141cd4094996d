"""The figures of the race until the first pass as a page's table, and our bars, met or missed.

    python -m benchmarks.peers.pass_table [--results FILE.json] [--page FILE.md]

What stands between the two marks of the page is replaced.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.executing.table import put
from benchmarks.peers.lanes import OURS
from benchmarks.peers.pass_record import MODES

_ROOT = Path(__file__).resolve().parents[2]
RESULTS = _ROOT / "benchmarks" / "results" / "cpu" / "first-pass-race.json"
PAGE = _ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- first pass: begin -->", "<!-- first pass: end -->"
_FASTER, _SOONER = 3.0, 6.0


def table(result: dict[str, Any]) -> str:
    """Markdown of a result file's content."""
    parts: list[str] = []
    names = {"alone": "One after the other", "together": f"{result['protocol']['problems together']} at a time"}
    for mode in MODES:
        if rows := list(_rows(result, mode)):
            heads = [names[mode], "solved", "first pass, median / p90", "all", "solved a second", "thresher is"]
            parts.append("\n".join([f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}", *rows]))
    if bars := list(_bars(result)):
        parts.append("\n".join(["| thresher over | measured | bar |", "| --- | --- | --- |", *bars]))
    absent = [f"- {name} is missing: {why}" for name, why in result["missing"].items()]
    absent += [f"- {name} failed: {why}" for name, why in result["failed"].items()]
    absent += [f"- {name} was left out" for name in result["skipped"]]
    if absent:
        parts.append("\n".join(absent))
    machine, date = result["provenance"]["machine"], result["provenance"]["date"][:10]
    commits = ", ".join(dict.fromkeys(turn["commit"] for turn in result["turns"]))
    packages = ", ".join(made["package"] for made in result["peers"].values())
    parts.append(
        f"Measured on {machine['cores']} cores of {machine['cpu']}, kernel {machine['kernel']}, {date}, at commit "
        f"{commits}. Peers: {packages}."
    )
    return "\n\n".join(parts)


def _rows(result: dict[str, Any], mode: str) -> Iterator[str]:
    beside = {line["title"]: line for line in result["against"] if line["mode"] == mode}
    for line in result["summary"]:
        if line["mode"] != mode:
            continue
        times = "-"
        if line["commonly_solved"]:
            median, p90 = line["first_pass_median_s"], line["first_pass_p90_s"]
            times = f"{median:g} / {p90:g} s ({line['commonly_solved']})"
        words: list[str] = []
        if (other := beside.get(line["title"])) is not None:
            words.append(f"{other['times_sooner']:.2f}x sooner ({other['both_solved']})")
            if "times_solved_per_second" in other:
                words.append(f"{other['times_solved_per_second']:.2f}x solved a second")
        cells = [line["title"], f"{line['solved']} of {line['problems']}", times, f"{line['wall_s']:g} s"]
        yield f"| {' | '.join([*cells, format(line['solved_per_second'], 'g'), ', '.join(words)])} |"


def _bars(result: dict[str, Any]) -> Iterator[str]:
    whole = [line for line in result["against"] if "times_solved_per_second" in line]
    for mode, what in (("together", "several problems at a time"), ("alone", "one after the other")):
        if mine := [line for line in whole if line["mode"] == mode]:
            least = min(mine, key=lambda line: line["times_solved_per_second"])
            ratio = least["times_solved_per_second"]
            yield f"| the best peer, {what} | {_verdict(ratio, _FASTER, 'solved a second', least['title'])} |"
    for line in result["against"]:
        if line["mode"] == "alone" and line["title"].endswith(f", {result['protocol']['samples']} at once"):
            yield f"| {line['title']}, its problems | {_verdict(line['times_sooner'], _SOONER, 'sooner', OURS)} |"


def _verdict(ratio: float, bar: float, unit: str, of: str) -> str:
    verdict = "met" if ratio >= bar else "**missed**"
    return f"{ratio:.2f}x {unit}{'' if of == OURS else f' ({of})'} | >= {bar:g}x: {verdict}"


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    text = table(json.loads(options.results.read_text()))
    options.page.write_text(put(options.page.read_text(), text, BEGIN, END))


if __name__ == "__main__":
    main()
