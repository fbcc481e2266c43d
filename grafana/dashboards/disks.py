"""The dashboard "iovigil / disks": how the disks of one or many agents do, and what the probes on them found."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard
from panels import (
    DATASOURCE,
    FULL_WIDTH,
    RUNBOOKS,
    THIRD_WIDTH,
    Text,
    bars,
    distribution,
    labels,
    latencies,
    limit,
    lines,
    number,
    query,
    states,
)

AGENTS: Final = 'instance=~"$instance"'
DISKS: Final = f'{AGENTS}, disk=~"$disk"'
PROBES: Final = f'{DISKS}, probe=~"$probe"'

DISK: Final = "{{instance}} {{disk}}"
PROBE: Final = f"{DISK} {{{{probe}}}}"
OPERATION: Final = f"{PROBE} {{{{operation}}}}"

# DiskStuckIO fires above it.
STUCK_S: Final = 60


def build() -> dashboard.Dashboard:
    board = (
        builders.Dashboard("iovigil / disks")
        .uid("iovigil-disks")
        .description("What iovigil's probes measure and find on the disks of one or many agents.")
        .tags(["iovigil", "storage"])
        .readonly()
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("Runbooks")
            .type(dashboard.DashboardLinkType.LINK)
            .icon("doc")
            .url(RUNBOOKS)
            .target_blank(True)
        )
        .variables(variables())
    )
    for fill in (overview, throughput, latency, errors, runs, agent):
        fill(board)
    built = board.build()
    for number_on_board, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number_on_board  # links to a panel survive an import only when it brings its number along
    return built


def variables() -> list[Builder[dashboard.VariableModel]]:
    return [
        builders.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        choice("instance", "Agent", "label_values(iovigil_build_info, instance)"),
        choice("disk", "Disk", f"label_values(iovigil_disk_present{{{AGENTS}}}, disk)"),
        choice("probe", "Probe", f"label_values(iovigil_probe_info{{{DISKS}}}, probe)"),
    ]


def choice(name: str, label: str, values: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(values)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
    )


def overview(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Now"))
    board.with_panel(
        number(
            Text(title="Disks present", description="Configured disks that are there now."),
            f"sum(iovigil_disk_present{{{DISKS}}})",
        )
    )
    board.with_panel(
        number(
            Text(
                title="Disks missing",
                description="Configured disks that are not there: no device or mounted file system at their path.",
                alerts=["DiskMissing"],
            ),
            f"sum(iovigil_disk_present{{{DISKS}}} == bool 0)",
            is_bad_above=0,
        )
    )
    board.with_panel(
        number(
            Text(
                title="Disks stuck",
                description="Disks on which a worker outlived SIGKILL: it waits in the kernel for an I/O.",
                alerts=["DiskStuckIO"],
            ),
            f"sum(iovigil_disk_stuck{{{DISKS}}})",
            is_bad_above=0,
        )
    )
    board.with_panel(
        number(
            Text(
                title="Probes failing",
                description="Probes whose last run failed. One failure is no alert yet.",
                alerts=["DiskProbeFailing"],
            ),
            f"sum(iovigil_last_run_success{{{PROBES}}} == bool 0)",
            is_bad_above=0,
        )
    )
    board.with_panel(
        number(
            Text(
                title="Mismatches",
                description="Blocks that differed from what was written, since the agents started.",
                alerts=["DiskDataCorruption"],
            ),
            f"sum(iovigil_verify_mismatches_total{{{PROBES}}})",
            is_bad_above=0,
        )
    )
    board.with_panel(
        number(
            Text(
                title="I/O errors",
                description="I/Os that returned an error, since the agents started.",
                alerts=["DiskIOErrors"],
            ),
            f"sum(iovigil_io_errors_total{{{PROBES}}})",
            is_bad_above=0,
        )
    )


def throughput(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Throughput"))
    board.with_panel(
        lines(
            Text(
                title="Throughput",
                description="Bytes completed per second, the pauses between runs included.",
            ),
            "Bps",
            query(f"rate(iovigil_io_bytes_total{{{PROBES}}}[$__rate_interval])", OPERATION),
        )
    )
    board.with_panel(
        lines(
            Text(title="IOPS", description="I/Os completed per second, the pauses between runs included."),
            "iops",
            query(f"rate(iovigil_ios_total{{{PROBES}}}[$__rate_interval])", OPERATION),
        )
    )
    board.with_panel(
        lines(
            Text(
                title="Throughput of the last run",
                description="What the run itself reached. Comparable from run to run, unlike the curve above.",
                alerts=["DiskThroughputDrop"],
            ),
            "Bps",
            query(f"iovigil_last_run_bytes_per_second{{{PROBES}}}", OPERATION),
        )
    )
    board.with_panel(
        lines(
            Text(title="IOPS of the last run", description="What the run itself reached."),
            "iops",
            query(f"iovigil_last_run_ios_per_second{{{PROBES}}}", OPERATION),
        )
    )


def latency(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Latency"))
    for title, q, description, alerts in (
        (
            "Median latency of the last run",
            "0.5",
            "Submission to completion. The alerts about slow disks are made from it.",
            ["DiskLatencyRegression", "DiskSlowVsPeers"],
        ),
        ("p99 latency of the last run", "0.99", "One I/O of a hundred took longer.", []),
        ("Longest latency of the last run", "1", "The slowest I/O of the run.", []),
    ):
        board.with_panel(
            latencies(
                Text(title=title, description=description, alerts=alerts),
                query(f'iovigil_last_run_latency_seconds{{{PROBES}, q="{q}"}}', OPERATION),
                width=THIRD_WIDTH,
            )
        )
    for operation in ("read", "write"):
        buckets = f'iovigil_io_latency_seconds_bucket{{{PROBES}, operation="{operation}"}}'
        board.with_panel(
            distribution(
                Text(
                    title=f"Latency of {operation}s",
                    description=f"How long {operation}s took, all chosen probes together; darker is more of them.",
                ),
                f"sum by (le) (increase({buckets}[$__rate_interval]))",
            )
        )


def errors(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Errors and verification"))
    board.with_panel(
        bars(
            Text(
                title="I/O errors",
                description="I/Os that returned an error, by errno.",
                alerts=["DiskIOErrors"],
            ),
            query(
                f"sum by (instance, disk, operation, error) "
                f"(increase(iovigil_io_errors_total{{{PROBES}}}[$__rate_interval]))",
                f"{DISK} {{{{operation}}}} {{{{error}}}}",
            ),
        )
    )
    board.with_panel(
        bars(
            Text(
                title="Mismatches",
                description="Blocks that differed from what was written, by what was wrong with them.",
                alerts=["DiskDataCorruption"],
            ),
            query(
                f"sum by (instance, disk, kind) "
                f"(increase(iovigil_verify_mismatches_total{{{PROBES}}}[$__rate_interval]))",
                f"{DISK} {{{{kind}}}}",
            ),
        )
    )
    board.with_panel(
        lines(
            Text(title="Verified", description="Bytes read back and checked per second."),
            "Bps",
            query(f"rate(iovigil_verified_bytes_total{{{PROBES}}}[$__rate_interval])", PROBE),
        )
    )
    board.with_panel(
        limit(
            lines(
                Text(
                    title="Oldest I/O in flight",
                    description="How long the oldest I/O has been waiting for the disk; 0 when there is none.",
                    alerts=["DiskStuckIO"],
                ),
                "s",
                query(f"iovigil_oldest_inflight_io_seconds{{{PROBES}}}", PROBE),
            ),
            STUCK_S,
        )
    )


def runs(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Runs"))
    board.with_panel(
        states(
            Text(
                title="Result of the last run",
                description="Whether the last finished run of each probe succeeded.",
                alerts=["DiskProbeFailing"],
            ),
            f"iovigil_last_run_success{{{PROBES}}}",
            PROBE,
            {"0": ("failed", "red"), "1": ("succeeded", "green")},
        )
    )
    board.with_panel(
        bars(
            Text(title="Runs", description="Runs finished, whatever the outcome."),
            query(
                f"sum by (instance, disk, probe) (increase(iovigil_runs_total{{{PROBES}}}[$__rate_interval]))", PROBE
            ),
            width=THIRD_WIDTH,
        )
    )
    board.with_panel(
        bars(
            Text(
                title="Failures",
                description="Runs that failed, by first cause.",
                alerts=["DiskProbeFailing"],
            ),
            query(
                f"sum by (reason) (increase(iovigil_run_failures_total{{{PROBES}}}[$__rate_interval]))", "{{reason}}"
            ),
            width=THIRD_WIDTH,
        )
    )
    board.with_panel(
        bars(
            Text(
                title="Skips",
                description="Planned runs that were not started, by cause.",
                alerts=["DiskProbeStale"],
            ),
            query(
                f"sum by (reason) (increase(iovigil_runs_skipped_total{{{PROBES}}}[$__rate_interval]))", "{{reason}}"
            ),
            width=THIRD_WIDTH,
        )
    )
    board.with_panel(
        lines(
            Text(
                title="Age of the last result",
                description="Time since the last run ended, in intervals of its probe. Results are missing above 2.",
                alerts=["DiskProbeStale"],
            ),
            "none",
            query(
                f"(time() - iovigil_last_run_end_timestamp_seconds{{{PROBES}}}) / iovigil_interval_seconds{{{PROBES}}}",
                PROBE,
            ),
        )
    )
    board.with_panel(
        lines(
            Text(title="Runs in progress", description="Which probes are at work."),
            "none",
            query(f"iovigil_run_in_progress{{{PROBES}}}", PROBE),
        )
    )


def agent(board: builders.Dashboard) -> None:
    board.with_row(builders.Row("Agent"))
    board.with_panel(
        lines(
            Text(
                title="Scrapes",
                description="Whether Prometheus reaches the agent: 1 is yes.",
                alerts=["DiskProbeAgentDown"],
            ),
            "none",
            query(
                f"up{{{AGENTS}}} and on (job, instance) last_over_time(iovigil_build_info{{{AGENTS}}}[7d])",
                "{{instance}}",
            ),
            width=THIRD_WIDTH,
        )
    )
    board.with_panel(
        lines(
            Text(
                title="Configuration",
                description="Whether the last configuration load succeeded: 1 is yes. At 0 the old one is in force.",
                alerts=["DiskProbeConfigReloadFailed"],
            ),
            "none",
            query(f"iovigil_config_last_reload_successful{{{AGENTS}}}", "{{instance}}"),
            width=THIRD_WIDTH,
        )
    )
    board.with_panel(
        lines(
            Text(
                title="Workers",
                description="Child processes by state. An abandoned one outlived SIGKILL.",
                alerts=["DiskStuckIO"],
            ),
            "none",
            query(f"iovigil_workers{{{AGENTS}}}", "{{instance}} {{state}}"),
            width=THIRD_WIDTH,
        )
    )
    board.with_panel(
        bars(
            Text(
                title="Engine fallbacks",
                description="Runs that used another I/O engine because this host does not allow the configured one.",
            ),
            query(
                f"sum by (instance, probe) (increase(iovigil_engine_fallbacks_total{{{PROBES}}}[$__rate_interval]))",
                "{{instance}} {{probe}}",
            ),
            width=FULL_WIDTH,
        )
    )
    board.with_panel(
        labels(
            Text(title="Disks", description="Which device is behind each disk now."),
            f"iovigil_disk_info{{{DISKS}}}",
            ["instance", "disk", "device", "model", "serial", "firmware", "transport", "rotational", "path"],
        )
    )
    board.with_panel(
        labels(
            Text(title="Agents", description="Which version runs where."),
            f"iovigil_build_info{{{AGENTS}}}",
            ["instance", "version", "revision", "python_version", "engine"],
        )
    )
