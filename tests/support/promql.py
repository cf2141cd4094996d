"""What the expressions of a dashboard or a rule ask for: metrics, with the labels and the values they look for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

_VARIABLES = {"$__rate_interval": "5m", "$model": ".*", "$instance": ".*", "$slo": "6.4"}


@dataclass(frozen=True, slots=True)
class Selected:
    """A selector: the metric, and (label, operator, value) of each matcher."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def selected(expression: str) -> list[Selected]:
    """All selectors of an expression; ValueError where it does not parse."""
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    found: list[Selected] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = [(one.name, _operator(one), one.value) for one in node.matchers.matchers]
            found.append(Selected(node.name, tuple(matchers)))
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def _operator(matcher: Any) -> str:
    return str(matcher.op).rpartition(".")[2]


def of_dashboard(path: Path) -> dict[str, list[str]]:
    """Expressions of a Grafana dashboard by panel, and of its annotations and variables."""
    dashboard = json.loads(path.read_text())
    found = {
        panel["title"]: [target["expr"] for target in panel["targets"]]
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }
    found |= {f"annotation {one['name']}": [one["expr"]] for one in dashboard["annotations"]["list"]}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric = variable["definition"].removeprefix("label_values(").partition(",")[0]
            found[f"variable {variable['name']}"] = [metric]
    return found


def of_rules(path: Path) -> Iterator[tuple[str, str]]:
    """Name and expression of each rule."""
    for group in yaml.safe_load(path.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("record") or rule["alert"], rule["expr"]
