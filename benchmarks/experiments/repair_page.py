"""The page of the experiment `repair`."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.experiments.parts import (
    figure,
    interval,
    page,
    percent,
    points,
    problem_strips,
    problem_table,
    set_words,
    source_words,
)
from benchmarks.experiments.repair_tokens import ALL, COMPUTED
from benchmarks.experiments.repair_words import FIRST, REPAIR, RESAMPLING
from benchmarks.report.page import Block, Curve, Curves, Figure, Figures, Page, Table, Text

_MEASURES = {
    COMPUTED: "tokens of the prompt that were computed, and generated ones",
    ALL: "all tokens of the prompt, cached or not, and generated ones",
}
_ARMS = [FIRST, REPAIR, RESAMPLING]


def report(result: Mapping[str, Any]) -> Page:
    """The page of a result."""
    protocol = result["protocol"]
    told = "what a scripted human says" if protocol["feedback"] == "human" else "the failing test"
    lead = (
        f"{set_words(result)}. {source_words(result)} Up to {protocol['rounds']} rounds, each told of {told} "
        f"(by {protocol['way']}), against plain sampling, on problems whose first draws failed."
    )
    if not result["complete"]:
        return page(result, lead, ())
    scores = result["scores"]
    lead += f" The first {scores['problems']} were looked at, and {scores['failed_at_first']} failed at first."
    if not scores["failed_at_first"]:
        return page(result, f"{lead} There is nothing to repair.", [problem_table(result, [FIRST])])
    blocks: list[Block] = [
        _figures(scores),
        *(_curves(scores["by_tokens"][measure]["curve"], words) for measure, words in _MEASURES.items()),
        _equal_tokens(scores["by_tokens"]),
        _rounds(scores),
        _words(scores, protocol),
        problem_strips(result, [REPAIR, RESAMPLING]),
        problem_table(result, _ARMS),
    ]
    return page(result, lead, blocks)


def _figures(scores: Mapping[str, Any]) -> Figures:
    failed, problems = scores["failed_at_first"], scores["problems"]
    by_round = scores["by_round"]
    figures = [
        Figure(
            label=f"solved by round {line['round']}" if line["round"] else "solved by the first draws",
            value=percent(line["of_all"]["value"]),
            note=f"of all {problems}; of the {failed} that failed at first: {line['solved']}",
        )
        for line in by_round
    ]
    for measure, words in _MEASURES.items():
        last = scores["by_tokens"][measure]["curve"][-1]
        figures += [
            figure(f"repair, of the {failed} within {last['tokens']:,} tokens each", last[REPAIR]),
            figure("plain samples, for as many", last[RESAMPLING]),
            _points("difference", last["difference"], f"; counted: {words}"),
        ]
    return Figures(figures=tuple(figures))


def _points(label: str, found: Mapping[str, Any], more: str) -> Figure:
    low, high = found["interval_95"]
    return Figure(label=label, value=f"{points(found['value'])} points", note=interval(low, high) + more)


def _curves(points: Sequence[Mapping[str, Any]], words: str) -> Curves:
    x = tuple(float(point["tokens"]) for point in points)
    curves = tuple(
        Curve(
            name=name,
            x=x,
            y=tuple(point[name]["value"] for point in points),
            low=tuple(point[name]["interval_95"][0] for point in points),
            high=tuple(point[name]["interval_95"][1] for point in points),
        )
        for name in (REPAIR, RESAMPLING)
    )
    last = {curve.name: curve.y[-1] for curve in curves}
    return Curves(
        title=f"Solved by tokens: {words}",
        says=f"Of the problems that failed at first, those solved within so many tokens each: with {x[-1]:,.0f} tokens "
        f"{percent(last[REPAIR])} by repair and {percent(last[RESAMPLING])} by plain samples.",
        x_label="tokens a problem, after the first draws",
        y_label="problems solved",
        curves=curves,
        log_x=True,
        at=(*x[:-1:4], x[-1]),
        note="Bands: 95 % bootstrap intervals over problems, 10,000 resamples. A conversation whose rounds are used up "
        "stays where it is.",
    )


def _equal_tokens(by_tokens: Mapping[str, Any]) -> Table:
    rows: list[tuple[str, ...]] = []
    for measure in _MEASURES:
        found = by_tokens[measure]
        each, last = found["each_as_its_conversation"], found["curve"][-1]
        tokens = f"{each['tokens'][REPAIR]:,} and {each['tokens'][RESAMPLING]:,} in all"
        rows += [
            (measure, f"as many as its conversation: {tokens}", *_three(each)),
            (measure, f"{last['tokens']:,} for each: those of all conversations, shared out evenly", *_three(last)),
        ]
    return Table(
        title="At equal tokens",
        head=("counted", "tokens of a problem", REPAIR, RESAMPLING, "difference, points", "95 % interval"),
        rows=tuple(rows),
        align="llrrrr",
        note="In the first way plain sampling stops with the conversation, early where a round passed: that favours "
        "repair. In the second one a longer conversation is cut off there, and a shorter one leaves tokens unspent: "
        "that favours plain samples. An interval on both sides of 0 tells no difference.",
    )


def _three(found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return (
        percent(found[REPAIR]["value"]),
        percent(found[RESAMPLING]["value"]),
        points(found["difference"]["value"]),
        " to ".join(map(points, found["difference"]["interval_95"])),
    )


def _rounds(scores: Mapping[str, Any]) -> Table:
    def tokens(line: Mapping[str, Any], kind: str) -> str:
        mean = line["tokens_in_the_mean"][kind]
        return "" if mean is None else f"{mean:.0f}"

    return Table(
        title="By rounds",
        head=(
            "round",
            "conversations",
            "solved so far",
            "of those that failed",
            "of all",
            "prompt",
            "of it cached",
            "generated",
        ),
        rows=tuple(
            (
                str(line["round"]),
                str(line["conversations"]) if line["round"] else "",
                str(line["solved"]),
                percent(line["of_failed"]["value"]),
                percent(line["of_all"]["value"]),
                *(tokens(line, kind) for kind in ("prompt", "cached", "generated")),
            )
            for line in scores["by_round"]
        ),
        align="lrrrrrrr",
        note="Tokens: means over the conversations of a round.",
    )


def _words(scores: Mapping[str, Any], protocol: Mapping[str, Any]) -> Text:
    repeats = scores["programs_drawn_before"]
    told = "; ".join(
        f"{name}: {repeats[name]['drawn_before']} of {repeats[name]['programs']}" for name in (REPAIR, RESAMPLING)
    )
    fewer = scores["failed_at_first"] < protocol["failing_wanted"]
    paragraphs = [
        f"Of {scores['problems']} problems the first draws of {scores['failed_at_first']} failed"
        + (f", fewer than the {protocol['failing_wanted']} that were wanted." if fewer else ", as many as were wanted.")
        + " They cost neither side: both go on from there.",
        "Tokens are counted in two ways. computed: those of each prompt that were not found in the prefix cache, and "
        "all generated ones. all: every token of each prompt, and all generated ones. A round and a plain sample are a "
        "call each, with a prompt of their own.",
        f"Programs that had been drawn before for the same problem, but for comments and layout: {told}.",
    ]
    short = scores["by_tokens"][ALL]["samples_did_not_last"] + scores["by_tokens"][COMPUTED]["samples_did_not_last"]
    if short:
        paragraphs.append(
            f"Plain sampling was ended at {protocol['most_calls']} calls a problem before its tokens were spent (in "
            f"{short} cases, over both counts): there it might have solved more."
        )
    return Text(title="What is counted", paragraphs=tuple(paragraphs))
