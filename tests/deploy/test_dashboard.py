"""The dashboard: every expression parses, and asks for what a live server shows or a rule records, by its labels."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.load.generator import Target
from benchmarks.load.loads import Rate
from benchmarks.load.mix import mix_of
from benchmarks.load.run import Served, run
from engine import metric_words
from engine.metrics import Metrics
from tests.support.load_server import LoadServer, load_server
from tests.support.prometheus import ROOT
from tests.support.promql import Selected, of_dashboard, of_rules, selected

DASHBOARD = ROOT / "deploy" / "grafana" / "thresher.json"
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
OF_PROMETHEUS = {"up", "ALERTS"}
NOT_HERE = {
    "thresher_executor_up",
    "thresher_executor_outstanding",
    "thresher_executor_programs_total",
    "thresher_cascade_escalations_total",
}
"""Series that only a server with several executors or tiers has; their families are in every scrape."""
WORDS = {
    ("thresher_solves_total", "outcome"): metric_words.OUTCOMES,
    ("thresher_solve_duration_seconds", "outcome"): metric_words.OUTCOMES,
    ("thresher_wasted_tokens_total", "reason"): metric_words.WASTE,
    ("thresher_verdicts_total", "verdict"): metric_words.VERDICTS,
    ("thresher_engine_idle_seconds_total", "cause"): metric_words.IDLE_CAUSES,
    ("thresher_executor_programs_total", "end"): metric_words.EXECUTOR_ENDS,
}
ADDED = {"instance", "job"}
"""Labels that a scrape adds."""


def expressions() -> list[tuple[str, str]]:
    panels = [(panel, one) for panel, listed in of_dashboard(DASHBOARD).items() for one in listed]
    return [*panels, *of_rules(RULES)]


def family(metric: str) -> str:
    """The metric's name as docs/metrics.md has it."""
    names = {known.name for known in Metrics().families}
    for suffix in ("", "_bucket", "_sum", "_count"):
        if metric.endswith(suffix) and metric.removesuffix(suffix) in names:
            return metric.removesuffix(suffix)
    return ""


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_expressions_parse_and_ask_for_what_there_is(where: str, expression: str) -> None:
    recorded = {name for name, _ in of_rules(RULES) if name.startswith("model:")}
    labels = {known.name: set(known.labels) for known in Metrics().families}
    found = selected(expression)
    assert found, f"{where}: asks for nothing"
    for one in found:
        if one.metric in OF_PROMETHEUS | recorded:
            continue
        name = family(one.metric)
        assert name, f"{where}: there is no metric {one.metric}"
        for label, operator, value in one.matchers:
            assert label in labels[name] | ADDED | {"le"}, f"{where}: {name} has no label {label}"
            if (name, label) in WORDS and operator in ("Equal", "NotEqual"):
                assert value in WORDS[name, label], f"{where}: {label} is never {value}"


def test_a_wrong_expression_would_be_found() -> None:
    with pytest.raises(ValueError, match="unclosed"):
        selected("sum(rate(thresher_solves_total[5m])")
    assert selected('x{a="b"} / y') == [Selected("x", (("a", "Equal", "b"),)), Selected("y", ())]
    assert family("thresher_solves") == "" and family("thresher_step_seconds_bucket") == "thresher_step_seconds"


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_buckets_that_can_be_chosen_are_there() -> None:
    variables = {one["name"]: one for one in json.loads(DASHBOARD.read_text())["templating"]["list"]}
    buckets = {f"{bound:g}" for bound in metric_words.SECONDS_LONG}
    assert {one["value"] for one in variables["slo"]["options"]} <= buckets


@pytest.fixture(scope="module")
def server() -> Iterator[LoadServer]:
    with load_server() as running:
        yield running


def test_every_metric_of_dashboard_and_rules_is_in_a_live_scrape(server: LoadServer) -> None:
    problems = [
        {"problem_id": name, "completion": name, "tests": ["assert visible"]} for name in ("easy", "race", "hopeless")
    ]
    mix = mix_of({"name": "a", "problems": problems, "sampling": {"k": 8, "top_p": 1.0}})
    served = Served(target=Target(address=server.address))
    asyncio.run(run(served, mix, Rate(rate=30, seconds=0.7), seed=1, patience=20, title="test", slo=1.0))
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    series = {sample.name for one in families for sample in one.samples}
    known = {name for one in families for name in (one.name, f"{one.name}_total")}
    wanted = {one.metric for _, expression in expressions() for one in selected(expression)}
    wanted = {name for name in wanted if name.startswith("thresher_")}
    assert len(wanted) > 30
    assert wanted & NOT_HERE <= known
    missing = {name for name in wanted - NOT_HERE if name not in series}
    assert not missing
    shown = {family(name) for name in wanted}
    assert {one.name for one in Metrics().families} - shown == set(), "a metric that nobody would see"
