"""Board: what all of our dashboards have: choices, links to each other, marks on the time axis."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from panels import DATASOURCE, RUNBOOKS

TAG: Final = "iovigil"

AGENTS: Final = 'job=~"$job", instance=~"$instance"'
DISKS: Final = f'{AGENTS}, disk=~"$disk"'
PROBES: Final = f'{DISKS}, probe=~"$probe"'

# Legends.
AGENT: Final = "{{instance}}"
DISK: Final = "{{instance}} {{disk}}"
PROBE: Final = f"{DISK} {{{{probe}}}}"
OPERATION: Final = f"{PROBE} {{{{operation}}}}"

ANY: Final = ".+"


def board(
    name: str,
    description: str,
    choices: Sequence[Builder[dashboard.VariableModel]],
    rows: Iterable[Callable[[Dashboard], None]],
) -> dashboard.Dashboard:
    """A dashboard of these rows, each of which adds its panels."""
    begun = (
        Dashboard(f"iovigil / {name}")
        .uid(f"iovigil-{name}")
        .description(description)
        .tags([TAG, "storage"])
        .readonly()
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            # Every board of ours, this one included, with what is chosen here and for the same time.
            builders.DashboardLink("Boards")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(False)
            .include_vars(True)
            .keep_time(True)
        )
        .link(
            builders.DashboardLink("Runbooks")
            .type(dashboard.DashboardLinkType.LINK)
            .icon("doc")
            .url(RUNBOOKS)
            .target_blank(True)
        )
        .variables([builders.DatasourceVariable("datasource").label("Data source").type("prometheus"), *choices])
    )
    for mark in (reloads(), quarantines()):
        begun.annotation(mark)
    for fill in rows:
        fill(begun)
    built = begun.build()
    for number_on_board, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number_on_board  # links to a panel survive an import only when it brings its number along
    return built


def jobs() -> builders.QueryVariable:
    return choice("job", "Job", "label_values(iovigil_build_info, job)")


def instances() -> builders.QueryVariable:
    return choice("instance", "Instance", 'label_values(iovigil_build_info{job=~"$job"}, instance)')


def disks() -> builders.QueryVariable:
    return choice("disk", "Disk", f"label_values(iovigil_disk_present{{{AGENTS}}}, disk)")


def probes() -> builders.QueryVariable:
    return choice("probe", "Probe", f"label_values(iovigil_probe_info{{{DISKS}}}, probe)")


def choice(name: str, label: str, values: str) -> builders.QueryVariable:
    """A variable: any number of values, at first all of them."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(values)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(ANY)
        .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    )


def only_one(variable: builders.QueryVariable) -> builders.QueryVariable:
    """The same for a board about one of them: the first, until somebody chooses or a link does."""
    # Empty text and value: Grafana takes the first of the list.
    return variable.multi(False).include_all(False).current(dashboard.VariableOption(text="", value=""))


def reloads() -> builders.AnnotationQuery:
    """A mark where an agent took a new configuration, at the moment that it says itself."""
    return mark(
        "Reloads",
        f"1000 * iovigil_config_last_reload_success_timestamp_seconds{{{AGENTS}}}",
        color="blue",
        title="configuration loaded",
        text="{{instance}}",
    ).use_value_for_time(True)


def quarantines() -> builders.AnnotationQuery:
    """A mark for as long as the agent leaves a disk alone that did not answer."""
    return mark(
        "Quarantines",
        f"iovigil_disk_quarantined{{{AGENTS}}} == 1",
        color="red",
        title="disk does not answer, and is left alone but for trials",
        text="{{instance}} {{disk}}",
    )


def mark(name: str, expr: str, *, color: str, title: str, text: str) -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(color)
        .expr(expr)
        .step("60s")
        .title_format(title)
        .text_format(text)
    )
