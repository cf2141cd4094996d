"""Fills the tables of docs/comparison.md from benchmarks/results/cpu, or checks them (`--check`)."""

import argparse
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "comparison.md"
RESULTS = ROOT / "benchmarks" / "results" / "cpu"
_MODEL = "qwen2.5-coder-0.5b-instruct"
_MODES = {"alone": "one after the other", "together": "several at a time"}


def tables() -> dict[str, str]:
    """The text of each table by the name of its marks."""
    return {"first pass": _first_pass(_read("first-pass-race")), "tokens": _tokens(_read("peers")), **_natural()}


def filled(page: str) -> str:
    """The page with its tables as the results have them. Raises SystemExit for a mark that is missing."""
    for name, text in tables().items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise SystemExit(f"comparison_page: docs/comparison.md must have {begin} and {end} once")
        page = re.sub(f"{begin}.*?{end}", lambda _, new=f"{begin}\n{text}\n{end}": new, page, flags=re.DOTALL)
    return page


def _first_pass(result: dict[str, Any]) -> str:
    sooner = {(one["title"], one["mode"]): one for one in result["against"]}
    rows: list[tuple[str, ...]] = []
    for one in result["summary"]:
        other = sooner.get((one["title"], one["mode"]), {})
        rows.append(
            (
                _MODES[one["mode"]],
                one["title"],
                f"{one['solved']} of {one['problems']}",
                f"{one['first_pass_median_s']:g} / {one['first_pass_p90_s']:g} s",
                f"{one['solved_per_second']:.3f}",
                f"{other['times_sooner']:.2f}x" if other else "",
                f"{other['times_solved_per_second']:.2f}x" if "times_solved_per_second" in other else "",
            )
        )
    head = ("problems", "", "solved", "first pass, median / p90", "solved a second", "ours sooner", "ours solves more")
    return f"{_table(head, rows)}\n\n{_measured(result['provenance'])}"


def _tokens(result: dict[str, Any]) -> str:
    model = result["models"][_MODEL]
    counts = list(next(iter(model["lanes"].values()))["k"])
    rows = [
        (lane, of["sampler"], *(_rate(of["k"][k]) for k in counts), f"{of['start_s']:.0f} s")
        for lane, of in model["lanes"].items()
    ]
    head = ("", "sampler", *(f"k = {k}" for k in counts), "start")
    note = f"{_MODEL}, a prompt of {model['prompt_tokens']} tokens, {result['new_tokens']} new ones for each sample"
    return f"{_table(head, rows)}\n\n{note}. In brackets: after the prompt. {_measured(model['provenance'])}"


def _natural() -> dict[str, str]:
    result = _read("natural")
    ours = result["lanes"]["thresher"]["mean_seconds"]
    rows = [
        (
            name,
            f"{lane['mean_seconds']:.1f} s",
            "" if name.startswith("thresher") else f"{lane['mean_seconds'] / ours:.1f}x",
        )
        for name, lane in result["lanes"].items()
    ]
    return {"natural": f"{_table(('', 'all done after', 'ours sooner'), rows)}\n\n{_measured(result['provenance'])}"}


def _rate(figures: dict[str, Any]) -> str:
    text = f"{figures['tokens_per_second']:g}"
    if "decode_tokens_per_second" in figures:
        text += f" ({figures['decode_tokens_per_second']:g})"
    return text


def _measured(provenance: dict[str, Any]) -> str:
    machine = provenance["machine"]
    return f"Measured {provenance['date'][:10]} on {machine['cores']} cores of {machine['cpu']}."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows))


def _read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def main() -> int:
    """Fills the tables, or returns 1 where they are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a table is out of date")
    check: bool = parser.parse_args().check
    old = PAGE.read_text(encoding="utf-8")
    new = filled(old)
    if not check:
        PAGE.write_text(new, encoding="utf-8")
    elif new != old:
        print("docs/comparison.md is out of date: run scripts/comparison_page.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
