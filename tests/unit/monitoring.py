"""What grafana/ says in PromQL: the expressions of rules and dashboards, and the series they name."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from iovigil.agent.metrics.exposition import FAMILIES

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "grafana" / "rules" / "iovigil.rules.yml"
RULE_TESTS = sorted((ROOT / "grafana" / "rules" / "tests").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
RUNBOOKS = ROOT / "docs" / "runbooks"

TARGET_LABELS = frozenset({"job", "instance"})

# What Grafana puts in for them; in a matcher, as the value "all".
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "6h"}


@dataclass(frozen=True)
class Selector:
    """One series selector of an expression: the metric and the labels it is matched on."""

    metric: str
    labels: frozenset[str]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def group_names() -> list[str]:
    """In the order of their evaluation."""
    return [group["name"] for group in yaml.safe_load(RULES.read_text())["groups"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def rule_expressions() -> dict[str, str]:
    return {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}


def panels(dashboard: Path) -> list[dict[str, Any]]:
    return list(json.loads(dashboard.read_text())["panels"])


def dashboard_expressions() -> dict[str, str]:
    """Every panel's queries as Grafana would send them with everything chosen."""
    return {
        f"{dashboard.name}: {panel['title']} {target['refId']}": fill_in(target["expr"])
        for dashboard in DASHBOARDS
        for panel in panels(dashboard)
        for target in panel.get("targets", [])
    }


def fill_in(expr: str) -> str:
    for variable, value in GRAFANA_VARIABLES.items():
        expr = expr.replace(variable, value)
    return re.sub(r"\$\w+", ".*", expr)


def selectors(expr: str) -> set[Selector]:
    """Every series selector in an expression. Raises ValueError if it is not PromQL."""
    found: set[Selector] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector  # which is no node of its own to the walk
        if isinstance(node, promql_parser.VectorSelector):
            found.add(Selector(node.name or "", frozenset(matcher.name for matcher in node.matchers.matchers)))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def metrics_used() -> set[str]:
    """Names of the agent's series in rules and dashboards: those that are neither recorded nor Prometheus's own."""
    expressions = [*rule_expressions().values(), *dashboard_expressions().values()]
    named = {selector.metric for expr in expressions for selector in selectors(expr)}
    return named - recorded() - {"up"}


def exported() -> dict[str, set[str]]:
    """Labels of every series that the agent declares, with those that Prometheus adds."""
    series: dict[str, set[str]] = {}
    for family in (family for group in FAMILIES.values() for family in group):
        labels = {*family.labels, *TARGET_LABELS}
        if family.kind == "histogram":
            series[f"{family.name}_bucket"] = {*labels, "le"}
            series[f"{family.name}_sum"] = series[f"{family.name}_count"] = labels
        else:
            series[family.name] = labels
    return series
