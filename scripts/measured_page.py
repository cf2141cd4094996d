"""Fills "What it measured" in docs/experiments.md from benchmarks/results/cpu, or checks it (`--check`).

Run as `python -m scripts.measured_page`. A result that is not there has no part of the page.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.experiments import edited, prompt_tests, published
from benchmarks.experiments.published import Published
from benchmarks.experiments.repair_tokens import ALL, COMPUTED
from benchmarks.experiments.repair_words import REPAIR, RESAMPLING
from benchmarks.experiments.scoring import GREEDY, SAMPLES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "experiments.md"
RESULTS = ROOT / "benchmarks" / "results" / "cpu"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

Result = Mapping[str, Any]

_QWEN_DIFFERS = (
    "Three things differ from Qwen's figure. Its weights have 16 bits; ours have 4 (the publisher's q4_k_m) and are "
    "computed in int8. EvalPlus's prompt begins the answer for the model; ours does not. EvalPlus checks by its base "
    "inputs, ours is HumanEval's own check. int8 alone costs about one problem in 40 "
    "([models.md](models.md#what-an-arithmetic-loses)); the 4 bits and the prompt were not told apart. A greedy text "
    "and samples at a temperature are two measures: only the greedy one stands beside Qwen's."
)
_MBPP_DIFFERS = (
    "EvalPlus's MBPP is another choice of these problems with tests of its own, and shows one assert; ours shows "
    "three. The paper's figures are of a model of 137B, few-shot, by 80 samples."
)


def page_text() -> str:
    """What stands between the marks."""
    parts: list[str] = []
    for name, write in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            result: Result = json.loads(path.read_text(encoding="utf-8"))
            if not result["complete"]:
                raise SystemExit(f"measured_page: {path.name} is not complete: nothing can be said of it")
            parts.append(f"### {write(result)}\n\n{_made(name, result)}")
    return "\n\n".join(parts)


def filled(page: str) -> str:
    """The page with its results as they are. Raises SystemExit where the marks are missing."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise SystemExit(f"measured_page: docs/experiments.md must have {BEGIN} and {END} once")
    text = f"{BEGIN}\n{page_text()}\n{END}"
    return re.sub(f"{BEGIN}.*?{END}", lambda _: text, page, flags=re.DOTALL)


def humaneval(result: Result) -> str:
    """HumanEval beside what others published of it."""
    neighbours = [one for one in published.HUMANEVAL if not one.who.startswith(("GPT-Neo", "Qwen2.5-Coder-1.5B"))]
    text = f"{_title('HumanEval', result)}\n\n{_beside(result, neighbours)}\n\n{_QWEN_DIFFERS}"
    return text + _inside(result, next(one for one in neighbours if "0.5B" in one.who))


def mbpp(result: Result) -> str:
    """MBPP's edited problems beside what others published."""
    neighbours = [
        *(one for one in published.MBPP if "0.5B" in one.who),
        *edited.NEIGHBOURS,
    ]
    return f"{_title('MBPP, edited', result)}\n\n{_beside(result, neighbours)}\n\n{_MBPP_DIFFERS}"


def tests_in_prompt(result: Result) -> str:
    """How much a test in the prompt brings."""
    found = result["scores"]
    measured = [
        (_model(result), f"{arm['arm']} shown, pass@{k}", *_value(score), _how(result, arm["arm"]))
        for arm in found["arms"]
        for k, score in arm["pass_at_k"].items()
    ]
    said = " ".join(
        f"{one['arm'].capitalize()} over {one['over']}: {_points(one)} of pass@{one['k']}."
        for one in found["differences"]
    )
    table = _table(_HEAD, [*measured, *_published(prompt_tests.NEIGHBOURS)], "llrrl")
    return (
        f"{_title('Tests in the prompt', result)}\n\n{table}\n\n{said} With no test nothing tells what the function is "
        "called, which the paper's figures share."
    )


def sweep(result: Result) -> str:
    """Temperature against k."""
    ks = list(result["scores"]["recommended"])
    rows = [
        (f"{one['temperature']:g}", *(_cell(one["pass_at_k"][k]) for k in ks))
        for one in result["scores"]["by_temperature"]
    ]
    advice = " ".join(
        f"For k = {k} T = {best['temperature']:g} is best; not to be told from it: "
        f"{', '.join(f'{one:g}' for one in best['as_good']) or 'none'}."
        for k, best in result["scores"]["recommended"].items()
    )
    head = ("T", *(f"pass@{k}, 95 % interval" for k in ks))
    return f"{_title('Temperature against k', result)}\n\n{_table(head, rows, 'r' * len(head))}\n\n{advice}"


def sizes(result: Result) -> str:
    """The models of the catalogue by size."""
    found = result["scores"]
    ks = list(found["log_linear"])
    rows = [
        (one["model"], f"{one['parameters'] / 1e6:,.0f} M", *(_cell(one["pass_at_k"][k]) for k in ks))
        for one in found["models"]
    ]
    slopes = ", ".join(f"{100 * line['slope']:+.1f} points of pass@{k}" for k, line in found["log_linear"].items())
    head = ("model", "parameters", *(f"pass@{k}, 95 % interval" for k in ks))
    return (
        f"{_title('Models by size', result)}\n\n{_table(head, rows, 'l' + 'r' * (len(head) - 1))}\n\n"
        f"Ten times the parameters: {slopes}, by a line through {len(rows)} models. Two points always lie on a line, "
        "and these two differ in family and training as well."
    )


def selection(result: Result) -> str:
    """Which program to hand in without the tests that decide."""
    found, protocol = result["scores"], result["protocol"]
    rows = [
        (name, *_value(one), "" if name == "random" else _points(one["ahead_of_random"]))
        for name, one in found["choices"].items()
    ]
    rows += [
        (f"one of each of {count} clusters handed in", *_value(one), "")
        for count, one in found["any_of_clusters"].items()
    ]
    rows.append((f"oracle, any of {found['samples_per_problem']}", *_value(found["oracle"]), ""))
    filtered = ", ".join(f"pass@{k} {_percent(one['value'])}" for k, one in found["filtered_pass_at_k"].items())
    used = list(protocol["generated_tests_used"].values())
    copied = sum(map(len, protocol["generated_tests_copied"].values()))
    by = protocol["generated_tests_by"]
    filters = found["visible_tests_filter_first"]
    words = "one example visible" if filters else "no test visible"
    first = "The docstring's first example filters first. " if filters else ""
    head = ("choice", "selected pass@1, %", "95 % interval", "ahead of random")
    return (
        f"{_title(f'Selection, {words}', result)}\n\n{_table(head, rows, 'lrrr')}\n\n"
        f"{found['samples_per_problem']} recorded samples a problem; tests by {by['model']}, "
        f"{by['texts_of_each_problem']} texts of at most {protocol['asserts_of_each_block']} asserts, which gave "
        f"{sum(used) / len(used):.1f} different ones a problem. {first}Filtered: {filtered}. The model that writes the "
        f"tests sees the docstring's examples, which CodeT's does not: {copied} of {sum(used)} tests repeat one, and "
        "`codet-own` leaves these out. CodeT itself (code-davinci-002, all of HumanEval): 47.0 % at random, 65.8 % "
        "chosen (arXiv 2207.10397). Samples and tests are kept in "
        "[recordings](../benchmarks/results/cpu/recordings)."
    )


def repair(result: Result) -> str:
    """Rounds of repair, and plain samples for the same tokens."""
    found = result["scores"]
    rows = [
        (str(one["round"]), str(one["solved"]), _cell(one["of_failed"]), _cell(one["of_all"]))
        for one in found["by_round"]
    ]
    head = ("rounds", "solved", "% of those that failed at first", "% of all")
    equal = [
        (_TOKENS[measure], tokens, *(_cell(both[side]) for side in (REPAIR, RESAMPLING)), _points(both["difference"]))
        for measure, one in found["by_tokens"].items()
        for tokens, both in (
            ("as many as its conversation", one["each_as_its_conversation"]),
            (f"{one['curve'][-1]['tokens']:,}, shared out evenly", one["curve"][-1]),
        )
    ]
    sides = ("counted", "tokens of a problem", f"{REPAIR}, %", f"{RESAMPLING}, %", "difference")
    repeats = "; ".join(
        f"{name} {one['drawn_before']} of {one['programs']}" for name, one in found["programs_drawn_before"].items()
    )
    protocol = result["protocol"]
    told = "the failing test and a scripted human's sentence" if protocol["feedback"] == "human" else "the failing test"
    who = " with a scripted human" if protocol["feedback"] == "human" else ""
    return (
        f"Rounds of repair{who}: {found['failed_at_first']} problems that failed at first\n\n"
        f"{_table(head, rows, 'rrrr')}\n\n"
        f"{found['failed_at_first']} of the first {found['problems']} problems failed at first. Each round is told of "
        f"{told}, by {protocol['way']}. Against plain samples for the same tokens ([how](#repair)):\n\n"
        f"{_table(sides, equal, 'llrrr')}\n\n"
        f"Programs that had been drawn before for the same problem: {repeats}."
    )


_TOKENS = {COMPUTED: "tokens that the model computes", ALL: "all tokens"}

SECTIONS: dict[str, Callable[[Result], str]] = {
    "humaneval-chat": humaneval,
    "mbpp-edited": mbpp,
    "prompt-tests": tests_in_prompt,
    "sweep": sweep,
    "sizes": sizes,
    "selection": selection,
    "selection-visible": selection,
    "repair": repair,
    "repair-human": repair,
}
"""By the name of the result's file, in the order of the page."""

_HEAD = ("model", "measure", "%", "95 % interval", "how")


def _beside(result: Result, neighbours: Iterable[Published]) -> str:
    """Greedy and pass@k of ours, then the neighbours'."""
    ours: list[tuple[str, ...]] = []
    if GREEDY in result["scores"]:
        score = result["scores"][GREEDY]["pass_at_k"]["1"]
        ours.append((_model(result), "greedy pass@1", *_value(score), _how(result, GREEDY)))
    n = result["scores"][SAMPLES]["samples_per_problem"]
    for k, score in result["scores"][SAMPLES]["pass_at_k"].items():
        measure = f"pass@{k}, any of {n}" if int(k) == n else f"pass@{k}"
        ours.append((_model(result), measure, *_value(score), _how(result, SAMPLES)))
    return _table(_HEAD, [*ours, *_published(neighbours)], "llrrl")


def _inside(result: Result, figure: Published) -> str:
    """Whether a published greedy score lies in the interval of ours; nothing where there is no greedy text."""
    if GREEDY not in result["scores"]:
        return ""
    low, high = result["scores"][GREEDY]["pass_at_k"]["1"]["interval_95"]
    inside = 100 * low <= figure.value <= 100 * high
    return f" {figure.value:g} lies {'inside' if inside else 'outside'} the interval of ours."


def _published(figures: Iterable[Published]) -> list[tuple[str, ...]]:
    return [
        (f"*{who}*", f"*{measures}*", f"*{values}*", "", f"*{how}*")
        for who, measures, values, how in published.rows(figures)
    ]


def _title(words: str, result: Result) -> str:
    [data] = result["protocol"]["data"]
    return f"{words}: {data['problems']} problems"


def _model(result: Result) -> str:
    [source] = result["protocol"]["sources"].values()
    return f"{source['model']}, {source['arithmetic']}"


def _how(result: Result, arm: str) -> str:
    [said] = [one for one in result["protocol"]["arms"] if one["name"] == arm]
    sampling = said["sampling"]
    shown = result["protocol"]["tests_shown"]
    prompt = result["protocol"]["prompt"] + (f", {shown} tests shown" if isinstance(shown, int) else "")
    if sampling["temperature"] == 0:
        return prompt
    return f"{prompt}; T = {sampling['temperature']:g}, top-p {sampling['top_p']:g}, n = {said['samples']}"


def _value(score: Mapping[str, Any]) -> tuple[str, str]:
    low, high = score["interval_95"]
    return f"{100 * score['value']:.1f}", f"{100 * low:.1f} to {100 * high:.1f}"


def _cell(score: Mapping[str, Any]) -> str:
    value, interval = _value(score)
    return f"{value} ({interval})"


def _points(score: Mapping[str, Any]) -> str:
    low, high = score["interval_95"]
    return f"{100 * score['value']:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _made(name: str, result: Result) -> str:
    """Which command made it, when and on what, and what was not there."""
    made, [data] = result["provenance"], result["protocol"]["data"]
    machine = made["machine"]
    here = data["problems_of_split_here"]
    split = "" if data["split"] == "all" else f" of the {data['split']} split"
    chosen = f"all {here} problems" if data["problems"] == here else f"{data['chosen']} of {here} problems{split}"
    if "failing_wanted" in result["protocol"]:  # of which only as many are looked at as it takes
        chosen = f"the first {result['scores']['problems']} of {here} problems{split}"
    note = f" {data['note']}" if data["note"] else ""
    return (
        f"`{made['command']}`, {made['date'][:10]}, {machine['cores']} cores of {machine['cpu']}; {chosen}.{note} "
        f"[{name}.json](../benchmarks/results/cpu/{name}.json)"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], align: str) -> str:
    rule = tuple("---:" if one == "r" else "---" for one in align)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *rows))


def main() -> int:
    """Fills the page, or returns 1 where it is out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where the page is out of date")
    check: bool = parser.parse_args().check
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old)
    if not check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != old:
        print("docs/experiments.md is out of date: run python -m scripts.measured_page", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
