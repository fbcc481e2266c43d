"""What grafana/ says in PromQL: the expressions of rules and dashboards, and the series they name."""

import json
import re
from dataclasses import dataclass
from functools import cache
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

# What Grafana puts in for them; of the others, those that are chosen from, the value "all".
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "6h"}


OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}

# What Prometheus makes by itself, of every target or of every alert.
PROMETHEUS_OWN = {
    "up": TARGET_LABELS,
    "scrape_duration_seconds": TARGET_LABELS,
    "ALERTS": {*TARGET_LABELS, "alertname", "alertstate", "severity", "disk", "probe", "operation", "model"},
}
# What recorded series have at each level; `model` is that of the disk.
LEVELS = {
    "instance": TARGET_LABELS,
    "probe": {*TARGET_LABELS, "disk", "probe", "operation"},
    "probe_model": {*TARGET_LABELS, "disk", "probe", "operation", "model"},
}


@dataclass(frozen=True)
class Selector:
    """One series selector of an expression: the metric, and its matchers as label, operator and value."""

    metric: str
    matchers: frozenset[tuple[str, str, str]]

    @property
    def labels(self) -> set[str]:
        return {label for label, _, _ in self.matchers}


@cache
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


def dashboard_of(uid: str) -> Path:
    [found] = [path for path in DASHBOARDS if board(path)["uid"] == uid]
    return found


@cache
def board(dashboard: Path) -> dict[str, Any]:
    return dict(json.loads(dashboard.read_text()))


def panels(dashboard: Path) -> list[dict[str, Any]]:
    return list(board(dashboard)["panels"])


def annotations(dashboard: Path) -> list[dict[str, Any]]:
    return list(board(dashboard)["annotations"]["list"])


def variables(dashboard: Path) -> list[dict[str, Any]]:
    return list(board(dashboard)["templating"]["list"])


@dataclass(frozen=True)
class Target:
    """One query of a panel, or of the marks on a dashboard's time axis."""

    dashboard: str
    title: str
    letter: str
    expr: str
    """As Grafana would send it with everything chosen."""
    shown: frozenset[str]
    """Labels that are to be in the result: those of the legend, or the columns of a table."""

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.title} {self.letter}"


def targets() -> list[Target]:
    """Every query of every dashboard."""
    of_panels = [
        Target(dashboard.name, panel["title"], target["refId"], fill_in(target["expr"]), shown(panel, target))
        for dashboard in DASHBOARDS
        for panel in panels(dashboard)
        for target in panel.get("targets", [])
    ]
    of_marks = [
        Target(dashboard.name, mark["name"], "marks", fill_in(mark["expr"]), in_braces(mark["textFormat"]))
        for dashboard in DASHBOARDS
        for mark in annotations(dashboard)
    ]
    return of_panels + of_marks


def shown(panel: dict[str, Any], target: dict[str, Any]) -> frozenset[str]:
    """The labels that a panel shows of one query's result; a table those of its first query, joined by the others."""
    if panel["type"] != "table":
        return in_braces(target.get("legendFormat", ""))
    if target["refId"] != "A":
        return frozenset()
    [chosen] = [change for change in panel["transformations"] if change["id"] == "filterFieldsByName"]
    return frozenset(name for name in chosen["options"]["include"]["names"] if not name.startswith("Value"))


def in_braces(legend: str) -> frozenset[str]:
    return frozenset(re.findall(r"\{\{(\w+)\}\}", legend))


def fill_in(expr: str) -> str:
    for variable, value in GRAFANA_VARIABLES.items():
        expr = expr.replace(variable, value)
    return re.sub(r"\$\w+", ".+", expr)


def selectors(expr: str) -> set[Selector]:
    """Every series selector in an expression. Raises ValueError if it is not PromQL."""
    found: set[Selector] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector  # which is no node of its own to the walk
        if isinstance(node, promql_parser.VectorSelector):
            matchers = ((matcher.name, OPERATORS[str(matcher.op)], matcher.value) for matcher in node.matchers.matchers)
            found.add(Selector(node.name or "", frozenset(matchers)))

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


def metrics_used() -> set[str]:
    """Names of the agent's series in rules and dashboards: those that are neither recorded nor Prometheus's own."""
    expressions = [*rule_expressions().values(), *(target.expr for target in targets())]
    named = {selector.metric for expr in expressions for selector in selectors(expr)}
    return named - recorded() - PROMETHEUS_OWN.keys()


@cache
def known() -> dict[str, set[str]]:
    """Labels of every series that a query may name: the agent's, the recorded ones, and Prometheus's own."""
    made = {name: set(LEVELS[name.partition(":")[0]]) for name in recorded()}
    return {**exported(), **made, **{name: set(labels) for name, labels in PROMETHEUS_OWN.items()}}


@cache
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
