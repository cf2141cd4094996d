"""docs/metrics.md: it lists what there is, its words are those of labels, its queries parse, its commands run."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from engine import metric_words
from engine.metrics import Metrics
from tests.support.load_server import load_server
from tests.support.prometheus import ROOT, needs_prometheus, promtool, started
from tests.support.promql import of_rules, selected

PAGE = (ROOT / "docs" / "metrics.md").read_text()
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
QUERIES = [line for block in re.findall(r"^```promql\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()]
COMMANDS = [
    shlex.split(line) for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S) for line in block.splitlines()
]
WORDS = {
    "outcome of a solve": metric_words.OUTCOMES,
    "outcome of a branch": metric_words.BRANCH_OUTCOMES,
    "priority": metric_words.PRIORITIES,
    "verdict": metric_words.VERDICTS,
    "source": metric_words.SOURCES,
    "reason of waste": metric_words.WASTE,
    "reason of an escalation": metric_words.ESCALATIONS,
    "result of a draft": metric_words.DRAFT_RESULTS,
    "phase": metric_words.CANCEL_PHASES,
    "cause": metric_words.IDLE_CAUSES,
    "kind of a fault": metric_words.SANDBOX_FAULTS,
    "end of a program": metric_words.EXECUTOR_ENDS,
}


def rows(head: str) -> list[list[str]]:
    """Cells of all tables with this head."""
    tables = re.findall(rf"^\| {re.escape(head)} \|\n\|[- |]+\|\n((?:\|.*\n)+)", PAGE, re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")] for table in tables for line in table.splitlines()]


def test_the_tables_list_every_metric() -> None:
    listed = rows("metric | kind | labels | meaning")
    there = [[f"`{one.name}`", one.kind, ", ".join(one.labels), one.meaning] for one in Metrics().families]
    assert sorted(listed) == sorted(there)


def test_the_words_of_labels_are_all_there() -> None:
    listed = {label.replace("`", ""): tuple(re.findall(r"`(\w+)`", values)) for label, values in rows("label | values")}
    assert listed == WORDS


def test_alerts_and_recorded_series_are_those_of_the_rules() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    alerts = {rule["alert"]: rule["labels"]["severity"] for rule in rules if "alert" in rule}
    assert {name.strip("`"): severity for name, severity, _ in rows("alert | severity | fires when")} == alerts
    assert {rule["record"] for rule in rules if "record" in rule} <= set(re.findall(r"`(model:[\w:]+)`", PAGE))


@pytest.mark.parametrize("query", QUERIES)
def test_queries_parse_and_ask_for_what_there_is(query: str) -> None:
    known = {one.name for one in Metrics().families} | {name for name, _ in of_rules(RULES)}
    assert {one.metric.removesuffix("_bucket") for one in selected(query)} <= known


def test_the_page_has_queries_and_commands() -> None:
    assert len(QUERIES) >= 7
    assert [words[0] for words in COMMANDS] == ["thresher", "curl", "promtool", "promtool", "prometheus"]


@needs_prometheus
def test_promtool_takes_the_commands_of_the_page() -> None:
    for words in COMMANDS:
        if words[0] == "promtool":
            status, said = promtool(*words[1:])
            assert status == 0, said


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_has_the_figures_of_a_server() -> None:
    (words,) = (words for words in COMMANDS if words[0] == "curl")
    assert words[-1] == "http://127.0.0.1:9464/metrics"
    with load_server() as server:
        asked = [*words[:-1], f"http://{server.metrics}/metrics"]
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "# TYPE thresher_solves_running gauge" in said


@needs_prometheus
def test_a_prometheus_begins_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (words,) = (words for words in COMMANDS if words[0] == "prometheus")
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")  # its data go beside it
    monkeypatch.chdir(tmp_path)
    with started(*words[1:], folder=tmp_path) as prometheus:
        rules = {rule["name"] for group in prometheus.get("rules")["groups"] for rule in group["rules"]}
    assert "ThresherDown" in rules and (tmp_path / "prometheus-data").is_dir()


def test_files_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"deploy/[\w/.]+\w", PAGE))
    assert {"deploy/prometheus/prometheus.yml", "deploy/grafana/thresher.json"} <= named
    assert all(Path(ROOT / one).exists() for one in named)
