"""The figures of a result file as a page's table, each beside its bar, met or missed.

    python -m benchmarks.executing.table [--results FILE.json] [--page FILE.md]

What stands between the two marks of the page is replaced.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
RESULTS = _ROOT / "benchmarks" / "results" / "cpu" / "executor.json"
PAGE = _ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- executor: begin -->", "<!-- executor: end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one mode; `met` is None where there is no bar."""

    what: str
    mode: str
    figure: str
    bar: str = ""
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """As the table shows it."""
        verdict = {None: "", True: "met", False: "**missed**"}[self.met]
        return self.what, self.mode, self.figure, f"{self.bar}: {verdict}" if self.bar else ""


def table(results: dict[str, Any]) -> str:
    """The table (Markdown) of a result file's content."""
    parts: dict[str, Any] = results["parts"]
    rows = [row for name, read in _READERS.items() if name in parts for row in read(parts[name])]
    lines = ["| | mode | measured | bar |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row.cells)} |" for row in rows]
    machines = {_machine(part["provenance"]) for part in parts.values()}
    starts = [start for part in parts.values() for start in part["python_start_cpu_ms_before_and_after"]]
    yardstick = f"Starting a bare Python took {min(starts):g} to {max(starts):g} ms of CPU meanwhile."
    return "\n".join([*lines, "", *(f"Measured on {machine}." for machine in sorted(machines)), yardstick])


def put(page: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with `text` between its marks. Raises ValueError if it has none."""
    if page.count(begin) != 1 or page.count(end) != 1:
        raise ValueError(f"the page needs the marks {begin} and {end}, once each")
    head, _, rest = page.partition(begin)
    return f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


def _modes(part: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((mode, part[mode]) for mode in ("jail", "fork-server") if mode in part)


def _at_most(what: str, mode: str, value: float, bar: float | None, unit: str, shown: str = "") -> Row:
    figure = shown or f"{value:g} {unit}"
    return Row(what, mode, figure) if bar is None else Row(what, mode, figure, f"<= {bar:g} {unit}", value <= bar)


def _at_least(what: str, mode: str, value: float, bar: float | None, unit: str, shown: str = "") -> Row:
    figure = shown or f"{value:g}{unit}"
    return Row(what, mode, figure) if bar is None else Row(what, mode, figure, f">= {bar:g}{unit}", value >= bar)


def _latency(part: dict[str, Any]) -> Iterator[Row]:
    for mode, kinds in _modes(part):
        for kind, spread in kinds.items():
            shown = f"p50 {spread['p50']} ms, p95 {spread['p95']}, p99 {spread['p99']}"
            yield _at_most(f"dispatch to verdict, warm slot, {kind}", mode, spread["p50"], 5, "ms", shown)


def _throughput(part: dict[str, Any]) -> Iterator[Row]:
    bars = {"jail": 45.0, "fork-server": 200.0}
    for mode, kinds in _modes(part):
        for kind, figures in kinds.items():
            what = "tests" if "tests_per_second_and_core_by_cpu" in figures else "candidates"
            by_cpu = figures[f"{what}_per_second_and_core_by_cpu"]
            by_wall = figures[f"{what}_per_second_and_core_by_wall"]
            cpu = figures["cpu_ms_per_candidate"]["total"]
            bar = 500.0 if what == "tests" else bars[mode]
            shown = f"{by_cpu:g} by CPU ({cpu:g} ms each), {by_wall:g} by wall"
            yield _at_least(f"{what} a second and core, {kind}", mode, by_cpu, bar, "", shown)


def _race(name: str, bars: dict[str, float]) -> Callable[[dict[str, Any]], Iterator[Row]]:
    def read(part: dict[str, Any]) -> Iterator[Row]:
        lanes: dict[str, Any] = part["lanes"]
        (peer, base), *ours = lanes.items()
        what = f"{name}, programs a second"
        yield Row(what, peer, f"{base['programs_per_second']:g} ({base['cpu_ms_per_program']:g} ms CPU each)")
        for mode, lane in ours:
            ratio = part["ratios"][f"{mode} / {peer}"]
            shown = f"{lane['programs_per_second']:g} ({lane['cpu_ms_per_program']:g} ms CPU each), {ratio:g}x {peer}"
            yield _at_least(what, mode, ratio, bars.get(mode), "x", shown)

    return read


def _kill(part: dict[str, Any]) -> Iterator[Row]:
    for mode, spread in _modes(part):
        shown = f"p50 {spread['p50']} ms, at most {spread['max']}"
        yield _at_most("end of a 32-process fork bomb", mode, spread["max"], 100, "ms", shown)


def _cancel(part: dict[str, Any]) -> Iterator[Row]:
    for mode, figures in _modes(part):
        for kind in ("sleeping", "spinning"):
            spread = figures[f"all_gone_{kind}"]
            shown = f"p50 {spread['p50']} ms, at most {spread['max']}"
            yield _at_most(f"31 of 32 cancelled ({kind}): all gone", mode, spread["max"], 250, "ms", shown)
        delay, without = figures["delay_of_the_first_result"], figures["first_result_without"]["p50"]
        shown = f"{delay:+g} ms on {without:g}"
        yield _at_most("delay of the first result by these cancels", mode, delay, 0.1 * without, "ms", shown)


def _endurance(part: dict[str, Any]) -> Iterator[Row]:
    for mode, figures in _modes(part):
        growth = figures["growth_since_warm"]
        what = f"growth over {part['runs']:,} runs"
        yield _at_most(f"{what}: resident memory", mode, growth["resident_mib"], 8, "MiB")
        counts = {name: growth[name] for name in ("descriptors", "threads", "groups")}
        counts["groups left"] = figures["groups_left_after_close"]
        shown = ", ".join(f"{name} {count:+g}" for name, count in counts.items())
        yield Row(f"{what}: of the rest", mode, shown, "0", not any(counts.values()))


def _machine(provenance: dict[str, Any]) -> str:
    machine = provenance["machine"]
    day = provenance["date"][:10]
    return f"{machine['cores']} cores of {machine['cpu']}, kernel {machine['kernel']}, {day}"


_READERS: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "latency": _latency,
    "throughput": _throughput,
    "humaneval": _race("HumanEval, 164 references", {"jail": 1.0, "fork-server": 2.0}),
    "evalplus": _race("HumanEval+ base inputs", {}),
    "kill": _kill,
    "cancel": _cancel,
    "endurance": _endurance,
}


def main() -> None:
    """Entry of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    results = json.loads(options.results.read_text())
    options.page.write_text(put(options.page.read_text(), table(results)))


if __name__ == "__main__":
    main()
