"""Panels as our dashboards want them: with a unit, a description, and links to the runbooks of their alerts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
RUNBOOKS: Final = "https://github.com/iovigil/iovigil/blob/main/docs/runbooks"

# Half a page, and the height at which a legend of some twenty disks can be read.
HALF_WIDTH: Final = 12
THIRD_WIDTH: Final = 8
FULL_WIDTH: Final = 24
HEIGHT: Final = 9
STAT_WIDTH: Final = 4
STAT_HEIGHT: Final = 4

AnyPanel = timeseries.Panel | stat.Panel | heatmap.Panel | statetimeline.Panel | table.Panel
P = TypeVar("P", timeseries.Panel, stat.Panel, heatmap.Panel, statetimeline.Panel, table.Panel)


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a panel says about itself, and which alerts are about the same thing."""

    title: str
    description: str
    alerts: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table: a label by its name, or the value of a query under the title that it gets."""

    name: str
    query: str = ""
    """The letter of the query whose value this is; none for a label."""
    unit: str = "string"
    limits: Sequence[tuple[float, str]] = field(default_factory=list)
    """Where which colour begins."""
    url: str = ""
    """Where a click on a cell leads."""


def query(expr: str, legend: str = "") -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(DATASOURCE).expr(expr).legend_format(legend).range()


def instant(expr: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(DATASOURCE).expr(expr).instant()


def lines(text: Text, unit: str, *queries: prometheus.Dataquery, width: int = HALF_WIDTH) -> timeseries.Panel:
    """Curves over time, from 0."""
    return curves(text, unit, queries, width).min(0)


def curves(text: Text, unit: str, queries: Sequence[prometheus.Dataquery], width: int) -> timeseries.Panel:
    """Curves over time, the largest first in the tooltip."""
    return (
        placed(timeseries.Panel(), text, queries, width, HEIGHT)
        .unit(unit)
        .fill_opacity(5)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )


def bars(text: Text, *queries: prometheus.Dataquery, width: int = HALF_WIDTH) -> timeseries.Panel:
    """Events per interval, stacked: seldom ones must not drown between the points of a curve."""
    return (
        lines(text, "short", *queries, width=width)
        .draw_style(common.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
        .decimals(0)
    )


def latencies(text: Text, *queries: prometheus.Dataquery, width: int) -> timeseries.Panel:
    """Seconds on a logarithmic axis: an NVMe drive and a disk array fit on one."""
    return curves(text, "s", queries, width).scale_distribution(
        common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10)
    )


def number(text: Text, expr: str, *, unit: str = "short", is_bad_above: float | None = None) -> stat.Panel:
    """One number; above the limit, if it has one, it is red."""
    steps = [dashboard.Threshold(value=None, color="blue" if is_bad_above is None else "green")]
    if is_bad_above is not None:
        # A threshold begins at its own value, and these are counts.
        steps.append(dashboard.Threshold(value=is_bad_above + 1, color="red"))
    panel = (
        placed(stat.Panel(), text, [instant(expr)], STAT_WIDTH, STAT_HEIGHT)
        .unit(unit)
        .no_value("none")
        .thresholds(thresholds(*steps))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return panel.decimals(0) if unit == "short" else panel


def distribution(text: Text, expr: str) -> heatmap.Panel:
    """A histogram over time; the expression gives the buckets, one series per `le`."""
    buckets = query(expr, "{{le}}").format(PromQueryFormat.HEATMAP)
    return (
        placed(heatmap.Panel(), text, [buckets], HALF_WIDTH, HEIGHT + 1)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit("s").axis_placement(common.AxisPlacement.LEFT))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .cell_gap(1)
        .filter_values(heatmap.FilterValueRange().le(1e-9))
    )


def states(
    text: Text, expr: str, legend: str, names: dict[str, tuple[str, str]], width: int = FULL_WIDTH
) -> statetimeline.Panel:
    """What state each thing was in, and when; `names` gives name and colour of a value."""
    options = {
        value: dashboard.ValueMappingResult(text=name, color=color, index=index)
        for index, (value, (name, color)) in enumerate(names.items())
    }
    return (
        placed(statetimeline.Panel(), text, [query(expr, legend)], width, HEIGHT)
        .mappings([dashboard.ValueMap(options=options)])
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
        .legend(common_builders.VizLegendOptions().show_legend(False))
    )


def rows(
    text: Text, columns: Sequence[Column], *exprs: str, sort_by: str = "", width: int = FULL_WIDTH, height: int = HEIGHT
) -> table.Panel:
    """A table with a row for each series; what several expressions say of the same labels stands in one row."""
    values = {("Value" if len(exprs) == 1 else f"Value #{column.query}"): column for column in columns if column.query}
    named = {name: column.name for name, column in values.items()}
    fields = [next((name for name, title in named.items() if title == column.name), column.name) for column in columns]
    queries = [instant(expr).format(PromQueryFormat.TABLE) for expr in exprs]
    panel = placed(table.Panel(), text, queries, width, height).unit("string").no_value("none")
    if len(exprs) > 1:
        panel.with_transformation(dashboard.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        dashboard.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": fields}})
    ).with_transformation(
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={"indexByName": {name: at for at, name in enumerate(fields)}, "renameByName": named},
        )
    )
    for column in columns:
        if properties := looks(column):
            panel.override_by_name(column.name, properties)
    if sort_by:
        panel.sort_by([common_builders.TableSortByFieldState().display_name(sort_by).desc(True)])
    return panel


def looks(column: Column) -> list[dashboard.DynamicConfigValue]:
    """What sets a column apart from the rest of its table."""
    properties = []
    if column.query:
        properties.append(dashboard.DynamicConfigValue(id_val="unit", value=column.unit))
    if column.limits:
        steps: list[dict[str, object]] = [{"color": "green", "value": None}]
        steps += [{"color": color, "value": value} for value, color in column.limits]
        properties += [
            dashboard.DynamicConfigValue(id_val="thresholds", value={"mode": "absolute", "steps": steps}),
            dashboard.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
        ]
    if column.url:
        links = [{"title": f"Open this {column.name}", "url": column.url}]
        properties.append(dashboard.DynamicConfigValue(id_val="links", value=links))
    return properties


def limit(panel: timeseries.Panel, value: float) -> timeseries.Panel:
    """Draw a line where an alert begins."""
    return panel.thresholds(
        thresholds(dashboard.Threshold(value=None, color="green"), dashboard.Threshold(value=value, color="red"))
    ).thresholds_style(common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))


def thresholds(*steps: dashboard.Threshold) -> dashboard_builders.ThresholdsConfig:
    return dashboard_builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(list(steps))


def runbook(alert: str) -> dashboard_builders.DashboardLink:
    return (
        dashboard_builders.DashboardLink(f"Runbook: {alert}")
        .type(dashboard.DashboardLinkType.LINK)
        .url(f"{RUNBOOKS}/{alert}.md")
        .target_blank(True)
    )


def placed(panel: P, text: Text, queries: Sequence[prometheus.Dataquery], width: int, height: int) -> P:
    """The panel with what all panels have; the dashboard sets them from left to right."""
    for index, target in enumerate(queries):
        panel.with_target(target.ref_id(chr(ord("A") + index)))
    return (
        panel.title(text.title)
        .description(text.description)
        .datasource(DATASOURCE)
        .links([runbook(alert) for alert in text.alerts])
        .span(width)
        .height(height)
    )
