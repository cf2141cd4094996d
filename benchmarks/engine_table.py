"""The figures of the sampling tree and of scheduling as a page's tables, each beside its bar, met or missed.

    python -m benchmarks.engine_table [--results FOLDER] [--page FILE.md]

What stands between the marks of the page is replaced. A result file that is not there leaves its lines out.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.executing.table import PAGE, RESULTS, put

Line = tuple[str, str, str]
"""What was measured, what it gave, and the bar."""


def _bar(text: str, met: bool) -> str:
    return f"{text}: {'met' if met else '**missed**'}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _rows(result: dict[str, Any]) -> Iterator[Line]:
    temperatures: dict[str, Any] = result["temperatures"]
    for temperature, found in temperatures.items():
        figure = f"{_percent(found['share_saved'])} of the rows saved, {found['tokens_per_row']:g} tokens a row"
        yield f"{found['problems']} HumanEval problems, k = {result['k']}, T = {temperature}", figure, ""


def _natural(result: dict[str, Any]) -> Iterator[Line]:
    ours = result["lanes"]["thresher"]["mean_seconds"]
    for name, lane in result["lanes"].items():
        rates = ", ".join(f"{one['tokens_per_second']:,.0f}" for one in lane["problems"])
        yield f"tokens a second as the client sees them, {name}, each problem", rates, ""
    for name, lane in result["lanes"].items():
        if not name.startswith("thresher"):
            ratio = result["ratios"][name]
            figure = f"{ours:g} s, {name} {lane['mean_seconds']:g} s: {ratio:g}x sooner"
            what = f"{result['k']} samples to their natural ends, mean of {len(lane['problems'])} problems"
            yield what, figure, _bar(">= 8x", ratio >= 8)


def _solved(result: dict[str, Any]) -> Iterator[Line]:
    for rows, found in result["compared"].items():
        ways = [name for name in ("distinct", "independent", "separate") if name in found]
        told = ", ".join(
            f"{name} {found[name]['solved']} (T = {found[name]['temperature']:g}, {found[name]['programs']} programs)"
            for name in ways
        )
        seeds = found[ways[0]].get("seeds", 1)  # the first results had one and did not say so
        mean = f", mean of {seeds} seeds" if seeds > 1 else ""
        what = f"solved of {found[ways[0]]['problems']} HumanEval problems with {rows} rows each{mean}"
        yield what, told, ""
        for name, ahead in found.items():
            mine, _, other = name.partition("_over_")
            if not other:
                continue
            low, high = (100 * value for value in ahead["interval_95"])
            figure = f"{100 * ahead['more_solved']:+.1f} % solved (95 %: {low:+.1f} to {high:+.1f})"
            fewer = mine.removeprefix("distinct").removeprefix("_with_")
            if fewer:
                bar = _bar("as many", ahead["more_solved"] >= 0)
                yield f"distinct draws with {fewer} rows against {other} ones with {rows}", figure, bar
            else:
                bar = _bar(">= +5 %", ahead["more_solved"] >= 0.05)
                yield f"distinct draws against {other} ones, {rows} rows each", figure, bar


def _drafting(result: dict[str, Any]) -> Iterator[Line]:
    for name, found in result["results"].items():
        figure = f"{found['speed_up']:g}x the tokens a second, {_percent(found['acceptance'])} of the drafts accepted"
        same = "same texts" if found["same_texts"] else "**other texts**"
        yield f"drafting, {name}", f"{figure}, {same}", ""


def _pruning(result: dict[str, Any]) -> Iterator[Line]:
    for form, found in result["prompts"].items():
        figure = (
            f"{_percent(found['tokens_saved_share'])} of the tokens saved, {found['lost_problems']} of "
            f"{found['solved']} solved problems lost"
        )
        bar = _bar("none lost", found["lost_problems"] == 0)
        what = f"prune=syntax, {found['problems']} problems, {form}, k = {result['k']}, T = {result['temperature']:g}"
        yield what, figure, bar


def _schedules(result: dict[str, Any]) -> Iterator[Line]:
    figure = (
        f"{result['forks']:,} forks, {result['branch_ends']:,} ends, {result['cancels']:,} solves ended from outside, "
        f"{result['evictions']:,} evictions: every invariant held after each of {result['steps']:,} steps"
    )
    yield f"{result['schedules']:,} random schedules", figure, ""


def _memory(result: dict[str, Any]) -> Iterator[Line]:
    for solve in result["solves"]:
        value = solve["slots_per_distinct_token"]
        figure = (
            f"{solve['slots_at_most']:,} slots at most for {solve['distinct_tokens']:,} tokens that differ "
            f"({value:g}x), of all samples {solve['tokens_of_all_samples']:,}; {solve['slots_per_token_in_them']:g} "
            "slots for each token that was in them then"
        )
        what = f"memory of {solve['problem']}, k = {result['k']:,}, pages of {solve['page_tokens']}"
        yield what, figure, _bar("<= 1.1", value <= 1.1)


def _widths(result: dict[str, Any]) -> Iterator[Line]:
    for kind, found in result["table"].items():
        widths = found["widths"]
        fixed = ", ".join(f"{name}: {line['mean_seconds']:g}" for name, line in widths.items() if name != "chosen")
        chosen, ratio = widths["chosen"], found["chosen_over_best_fixed"]
        figure = f"{chosen['mean_seconds']:g} s; fixed {fixed}; {ratio:g}x the best"
        bar = _bar("<= 1.1x", ratio <= 1.1) if kind != "all" else _bar("<= 1x", ratio <= 1)
        yield f"mean seconds to the first pass, {kind}, {chosen['problems']} problems", figure, bar


def _shares(result: dict[str, Any]) -> Iterator[Line]:
    for name, found in result["results"].items():
        fair, other, ratio = found["eight modest"], found["seven modest, one greedy"], found["ratio"]
        figure = (
            f"p50 {fair['p50']:g} to {other['p50']:g} s ({ratio['p50']:g}x), "
            f"p99 {fair['p99']:g} to {other['p99']:g} s ({ratio['p99']:g}x)"
        )
        met = max(ratio["p50"], ratio["p99"]) <= 1.3
        own = found["greedy_over_eight_times_alone"]
        figure += f"; p50 {own:g}x of eight times a client's that is alone"
        yield f"seven clients of {name} beside one of {result['greedy_samples']}", figure, _bar("<= 1.3x", met)


def _priorities(result: dict[str, Any]) -> Iterator[Line]:
    for name, found in result["results"].items():
        whole, first = found["seconds"], found["first_pass"]
        figure = f"p50 {whole['p50']:g} s, p99 {whole['p99']:g} s; first pass p99 {first['p99']:g} s"
        yield f"{whole['count']} interactive solves: {name}", figure, ""


def _overhead(result: dict[str, Any]) -> Iterator[Line]:
    loop, waiting = result["loop"], result["waiting"]
    share = loop["loop_and_layout_share"]
    figure = f"{loop['loop_ms'] + loop['layout_ms']:.2f} of {loop['step_ms']:g} ms ({_percent(share)})"
    yield "loop and layout beside a step of 64 rows", figure, _bar("<= 8 %", share <= 0.08)
    whole = loop["all_but_the_model_share"]
    yield "the same and drawing the tokens", f"{_percent(whole)} of a step", _bar("<= 8 %", whole <= 0.08)
    figure = f"{waiting['scheduler_ms']['5']:g} and {waiting['scheduler_ms']['5000']:g} ms, {waiting['ratio']:g}x"
    yield "the scheduler's step with 5 and with 5,000 waiting", figure, _bar("<= 1.2x", waiting["ratio"] <= 1.2)


def _two_models(result: dict[str, Any]) -> Iterator[Line]:
    busy = " (the machine did other work meanwhile)" if result["load_before"] > 0.5 else ""
    for name, found in result["arms"].items():
        told = [f"{model} {one['tokens_per_second']:g} tokens/s" for model, one in found["models"].items()]
        if name.startswith("turns"):
            parts = (f"{model} {_percent(one['device_share'])}" for model, one in found["models"].items())
            told.append(f"of the device {' and '.join(parts)}, {found['between_steps_ms']:g} ms between two steps")
        if "worth" in found:
            told.append(f"together worth {found['worth']:g} of one alone")
        yield f"two models{busy}: {name}", "; ".join(told), ""


Reader = Callable[[dict[str, Any]], Iterator[Line]]
_SECTIONS: dict[str, dict[str, Reader]] = {
    "tree": {
        "tree-rows": _rows,
        "natural": _natural,
        "tree-solved": _solved,
        "drafting": _drafting,
        "pruning": _pruning,
        "schedules": _schedules,
        "tree-memory": _memory,
    },
    "scheduling": {
        "widths": _widths,
        "shares": _shares,
        "priorities": _priorities,
        "overhead": _overhead,
        "two-models": _two_models,
    },
}


def table(folder: Path, readers: dict[str, Reader]) -> str:
    """The table (Markdown) of the result files in a folder."""
    lines = ["| | measured | bar |", "| --- | --- | --- |"]
    origins: list[str] = []
    for name, read in readers.items():
        file = folder / f"{name}.json"
        if not file.exists():
            continue
        result: dict[str, Any] = json.loads(file.read_text())
        lines += [f"| {' | '.join(line)} |" for line in read(result)]
        origin = result["provenance"]
        machine = origin["machine"]
        origins.append(f"{name} ({origin['date'][:10]}, {machine['cores']} cores of {machine['cpu']})")
    return "\n".join([*lines, "", f"Measured: {'; '.join(origins)}."])


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS.parent)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    page = options.page.read_text()
    for section, readers in _SECTIONS.items():
        page = put(page, table(options.results, readers), f"<!-- {section}: begin -->", f"<!-- {section}: end -->")
    options.page.write_text(page)


if __name__ == "__main__":
    main()
