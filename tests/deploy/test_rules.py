"""Rules and scrape configuration of Prometheus: accepted by its own checker, and each alert fires when it should."""

import re
from typing import Any

import yaml

from tests.support.prometheus import ROOT, needs_prometheus, promtool

FOLDER = ROOT / "deploy" / "prometheus"


@needs_prometheus
def test_the_rules_do_what_their_tests_say() -> None:
    status, said = promtool("test", "rules", FOLDER / "rules_test.yml")
    assert status == 0, said


@needs_prometheus
def test_the_rules_and_the_configuration_are_sound() -> None:
    for kind, file in (("rules", "rules.yml"), ("config", "prometheus.yml")):
        status, said = promtool("check", kind, FOLDER / file)
        assert status == 0, said


def test_every_rule_is_tested_and_every_alert_says_what_to_do() -> None:
    rules = [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]
    tests: list[dict[str, Any]] = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test.get("alert_rule_test", ()) if one["exp_alerts"]}
    asked = " ".join(one["expr"] for test in tests for one in test.get("promql_expr_test", ()))
    assert {rule["alert"] for rule in rules if "alert" in rule} == fired
    for rule in rules:
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert set(rule["annotations"]) == {"summary", "description"}
        else:
            assert re.fullmatch(r"model:thresher_\w+:rate5m", rule["record"])
            assert rule["record"] in asked
