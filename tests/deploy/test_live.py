"""A real Prometheus scrapes a real run: its query API tells the goodput that the load test tells."""

import asyncio
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.load.figures import Window, figures
from benchmarks.load.generator import Target
from benchmarks.load.loads import Load, Rate, Users
from benchmarks.load.mix import Mix, mix_of
from benchmarks.load.run import Served, run
from benchmarks.server import free_port, own_server
from tests.support.load_server import load_server
from tests.support.prometheus import ROOT, Prometheus, needs_prometheus, promtool, scraping

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
SOLVED = 'sum(thresher_solves_total{outcome="solved"})'
PATIENCE = 60.0


def until(holds: Callable[[], bool]) -> None:
    """Scrapes come once a second; wait for the one that has it."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)


def scraped(prometheus: Prometheus, expression: str) -> bool:
    return bool(prometheus.get("query", query=expression)["result"])


def goodput_of_both(served: Served, mix: Mix, load: Load, prometheus: Prometheus) -> tuple[float, float]:
    """Problems solved a second of the run: by the load test, and by Prometheus's own arithmetic over its samples."""
    until(lambda: scraped(prometheus, SOLVED))
    before = prometheus.value(SOLVED)
    ran = asyncio.run(run(served, mix, load, seed=1, patience=120, title="test", slo=1e9))
    assert ran.books is not None and ran.books.differences == ()
    solved = sum(answer.end == "solved" for answer in ran.answers)
    assert solved > 0
    until(lambda: prometheus.value(f"{SOLVED} - {before}") == solved)
    told = figures(ran.answers, Window(first=0.0, last=load.seconds), slo=1e9)
    assert told["ends"]["solved"] == solved
    return told["solved_per_second"], prometheus.value(f"({SOLVED} - {before}) / {load.seconds}")


@needs_prometheus
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prometheus_tells_the_goodput_of_a_run(tmp_path: Path) -> None:
    problems = [{"problem_id": name, "completion": name, "tests": ["assert visible"]} for name in ("easy", "hopeless")]
    mix = mix_of({"name": "a", "problems": problems, "sampling": {"k": 4, "top_p": 1.0}})
    with load_server() as server, scraping(server.metrics, tmp_path, rules=RULES) as prometheus:
        served = Served(target=Target(address=server.address), metrics=server.metrics, log=server.log)
        ours, theirs = goodput_of_both(served, mix, Rate(rate=15, seconds=4), prometheus)
        assert theirs == pytest.approx(ours, abs=1e-4)

        # The recording rule spreads what it has seen over five minutes.
        recorded = "model:thresher_goodput:rate5m"
        until(lambda: scraped(prometheus, f"{recorded} > 0"))
        spread = f"abs({recorded} * 300 - sum by (model) (thresher_solves_total{{outcome='solved'}}))"
        until(lambda: prometheus.value(spread) < 0.35 * ours * 4)
        assert prometheus.value("model:thresher_solved_ratio:rate5m") == pytest.approx(0.5, abs=0.35)
        assert prometheus.value("model:thresher_tokens_per_solved:rate5m") > 0
        groups = prometheus.get("rules")["groups"]
        broken = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
        assert not broken
        alerts = prometheus.get("alerts")["alerts"]
        firing = [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"]
        assert not firing, "nothing is wrong with this server"
        with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10) as answer:
            assert promtool("check", "metrics", given=answer.read()) == (0, "")


@needs_prometheus
@pytest.mark.slow
@pytest.mark.model
@pytest.mark.sandbox
@pytest.mark.timeout(900)
def test_prometheus_tells_the_goodput_of_a_real_model(tmp_path: Path) -> None:
    tests = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0"]
    problem = {"problem_id": "add", "prompt": "Write a function add(a, b) that adds.", "entry_point": "add"}
    mix = mix_of({"name": "a", "problems": [{**problem, "tests": tests}], "sampling": {"k": 4, "max_new_tokens": 128}})
    endpoint = f"127.0.0.1:{free_port()}"
    with own_server("--metrics", endpoint) as server, scraping(endpoint, tmp_path, rules=RULES) as prometheus:
        served = Served(target=Target(address=server.address), metrics=endpoint, log=server.log)
        ours, theirs = goodput_of_both(served, mix, Users(users=2, think=0.0, seconds=30), prometheus)
        assert theirs == pytest.approx(ours, abs=1e-4)
        assert prometheus.value("sum(thresher_time_to_first_token_seconds_count)") > 0
        assert prometheus.value("sum(thresher_inter_token_seconds_count)") > 0
        assert prometheus.value("sum(thresher_prefix_cache_hits_total)") > 0, "the same prompt again and again"
