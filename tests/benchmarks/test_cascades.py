"""The benchmark of cascades: its server's settings, its figures, and those of the page."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

from benchmarks.cascades import solved
from engine.config import Settings

ROOT = Path(__file__).parents[2]


def one(*, solved: bool, tokens: int, tiers: dict[str, str]) -> dict[str, Any]:
    told = {name: {"outcome": outcome, "generated_tokens": 1} for name, outcome in tiers.items()}
    return {"solved": solved, "seconds": 2.0, "generated_tokens": tokens, "tiers": told}


def test_both_models_together_draw_what_each_may_alone() -> None:
    found = Settings.model_validate(tomllib.loads(solved.config(4, 16)))
    assert [(tier.model, tier.k) for tier in found.cascade.tiers] == [(solved.SMALL, 4), (solved.BIG, 12)]
    assert found.models.serve == (solved.SMALL, solved.BIG)
    assert set(solved.ARMS.values()) == {solved.SMALL, solved.BIG, found.cascade.name}


def test_what_failed_counts_in_the_cost_of_what_was_solved() -> None:
    solves = [
        one(solved=True, tokens=100, tiers={"small": "solved"}),
        one(solved=True, tokens=300, tiers={"small": "exhausted", "big": "solved"}),
        one(solved=False, tokens=800, tiers={"small": "exhausted", "big": "exhausted"}),
    ]
    found = solved.report(solves)
    assert (found["solved"], found["tokens_per_solved"], found["seconds_per_solved"]) == (2, 600.0, 3.0)
    assert found["solved_by"] == {"small": 1, "big": 1}
    nothing = solved.report(solves[2:])
    assert (nothing["solved"], nothing["tokens_per_solved"]) == (0, None)


def test_the_figures_of_the_page_are_those_of_the_result() -> None:
    page = (ROOT / "docs" / "cascades.md").read_text()
    arms = json.loads((ROOT / "benchmarks" / "results" / "cpu" / "cascade.json").read_text())["arms"]
    rows = re.findall(r"^\| (small|big|cascade) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert [name for name, *_ in rows] == ["small", "big", "cascade"]
    for name, solves, tokens, seconds in rows:
        found = (arms[name]["solved"], arms[name]["tokens_per_solved"], arms[name]["seconds_per_solved"])
        assert (int(solves), float(tokens), float(seconds)) == found
    used = {
        tier: sum(solve["tiers"].get(tier, {}).get("generated_tokens", 0) for solve in arms["cascade"]["solves"])
        for tier in ("small", "big")
    }
    saved = arms["big"]["generated_tokens"] - used["big"]
    assert f"The small model solved {arms['cascade']['solved_by']['small']} of the 60" in page
    assert f"{used['small']:,} tokens; that saved {saved:,} tokens" in page
    assert f"less than {saved / used['small']:.2f} of one" in page
    assert f"{1000 * arms['attempt']['seconds_median']:.1f} ms at the median" in page
    assert (arms["attempt"]["solved"], arms["attempt"]["generated_tokens"]) == (60, 0)
