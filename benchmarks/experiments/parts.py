"""The parts that the pages of several experiments share."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiments.resampling import Mean
from benchmarks.report.page import Bar, Bars, Block, Figure, Page, ProblemRow, ProblemTable, Strips

_ORDER = (
    "passed",
    "wrong_answer",
    "runtime_error",
    "compile_error",
    "time_limit",
    "memory_limit",
    "output_limit",
    "sandbox_violation",
)


def page(result: Mapping[str, Any], lead: str, blocks: Sequence[Block]) -> Page:
    """The page of a result. One that is not complete has no blocks: nothing is shown for less than it claims."""
    done, total = result["problems_done"], result["problems_total"]
    return Page(
        title=result["title"],
        lead=lead,
        blocks=tuple(blocks) if result["complete"] else (),
        warning=""
        if result["complete"]
        else f"Incomplete: {done} of {total} problems are done. Scores are computed when all of them are; run the same "
        "command again to go on.",
        protocol=result["protocol"],
        provenance=result["provenance"],
        fingerprint=result["fingerprint"],
    )


def set_words(result: Mapping[str, Any]) -> str:
    """`MBPP, test split, 250 problems`, for the lead."""
    words: list[str] = []
    for data in result["protocol"]["data"]:
        split = "" if data["split"] == "all" else f", {data['split']} split"
        words.append(f"{data['title']}{split}, {data['problems']} problems ({data['chosen']})")
    return "; ".join(words)


def source_words(result: Mapping[str, Any]) -> str:
    """Where the samples came from, for the lead."""
    protocol = result["protocol"]
    models = [source["model"] for source in protocol["sources"].values() if "model" in source]
    if models:
        arithmetic = ", ".join(dict.fromkeys(source["arithmetic"] for source in protocol["sources"].values()))
        return f"Samples by {', '.join(models)} in {arithmetic}."
    said = protocol["generator"]
    if "recording" in said:
        return f"Samples: recorded ({said['recording']}), judged anew."
    return f"Samples: {said['samples_from']}." if "samples_from" in said else ""


def percent(value: float) -> str:
    """A share in per cent, with one digit behind the point."""
    return f"{100 * value:.1f} %"


def interval(low: float, high: float) -> str:
    """The ends of an interval in per cent."""
    return f"95 % interval {_tenths(low):.1f} to {_tenths(high):.1f}"


def points(value: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{_tenths(value):+.1f}"


def _tenths(share: float) -> float:
    """In per cent, to one digit behind the point; never the -0.0 that sums of floats come to."""
    return round(100 * share, 1) + 0.0


def figure(label: str, score: Mapping[str, Any]) -> Figure:
    """A mean with its interval, as `Mean.plain` has it."""
    return Figure(label=label, value=percent(score["value"]), note=interval(*score["interval_95"]))


def bar(name: str, mean: Mean) -> Bar:
    """A mean as a bar."""
    return Bar(name=name, share=mean.value, low=mean.low, high=mean.high, text=percent(mean.value))


def verdict_bars(result: Mapping[str, Any], arm: str) -> Bars:
    """What became of all samples of an arm."""
    counts: dict[str, int] = {}
    for line in result["problems"][arm]:
        for verdict, count in line["verdicts"].items():
            counts[verdict] = counts.get(verdict, 0) + count
    total = sum(counts.values())
    found = sorted(counts, key=lambda verdict: (_ORDER.index(verdict) if verdict in _ORDER else len(_ORDER), verdict))
    bars = tuple(
        Bar(name=verdict.replace("_", " "), share=counts[verdict] / total, text=f"{counts[verdict]:,}", verdict=verdict)
        for verdict in found
    )
    passed = counts.get("passed", 0)
    return Bars(
        title="What became of the samples",
        says=f"Of {total:,} samples {passed:,} passed; the others by the verdict of their first failing test.",
        bars=bars,
    )


def problem_strips(result: Mapping[str, Any], arms: Sequence[str]) -> Strips:
    """How many samples of each problem passed: a strip for each arm, problems in the order of all arms' passes."""
    shares: dict[str, dict[str, float]] = {
        arm: {line["id"]: line["passed"] / max(line["samples"], 1) for line in result["problems"][arm]} for arm in arms
    }
    ids = list(dict.fromkeys(line["id"] for arm in arms for line in result["problems"][arm]))
    ids.sort(key=lambda name: -sum(shares[arm].get(name, 0.0) for arm in arms))
    never = sum(all(shares[arm].get(name, 0.0) == 0 for arm in arms) for name in ids)
    return Strips(
        title="Problem by problem",
        says=f"The share of samples that pass, for each of {len(ids)} problems, easiest first; {never} never solved.",
        rows=tuple((arm, tuple(shares[arm].get(name) for name in ids)) for arm in arms),
        columns=tuple(ids),
    )


def problem_table(result: Mapping[str, Any], arms: Sequence[str]) -> ProblemTable:
    """Every problem with the verdicts of its samples."""
    by_arm = {arm: {line["id"]: line["verdicts"] for line in result["problems"][arm]} for arm in arms}
    ids = dict.fromkeys(line["id"] for arm in arms for line in result["problems"][arm])
    return ProblemTable(
        title="All problems",
        arms=tuple(arms),
        rows=tuple(ProblemRow(id=name, verdicts=tuple(by_arm[arm].get(name, {}) for arm in arms)) for name in ids),
    )
