"""The dashboard "iovigil / fleet": which disks of all the nodes want somebody's attention."""

from typing import Final

import places
from board import AGENT, AGENTS, board, instances, jobs
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models import dashboard
from panels import HALF_WIDTH, THIRD_WIDTH, Column, Text, bars, limit, lines, number, query, rows

# As DiskSlowVsPeers and DiskVerySlowVsPeers have it.
SLOW: Final = 2
VERY_SLOW: Final = 5
MOST_ROWS: Final = 20

INSTANCE: Final = Column(name="instance", url=places.NODE)
DISK: Final = Column(name="disk", url=places.DISK)


def build() -> dashboard.Dashboard:
    return board(
        "fleet",
        "Which disks of all the nodes want somebody's attention.",
        [jobs(), instances()],
        [now, attention, slowness, faults, load],
    )


def now(begun: Dashboard) -> None:
    begun.with_row(Row("Now"))
    for text, expr, is_bad_above in (
        (
            Text(title="Agents that answer", description="Agents that Prometheus reaches."),
            f"sum(up{{{AGENTS}}} and on (job, instance) last_over_time(iovigil_build_info{{{AGENTS}}}[7d]))",
            None,
        ),
        (
            Text(
                title="Agents that do not",
                description="Agents of the last seven days that Prometheus cannot reach now.",
                alerts=["DiskProbeAgentDown"],
            ),
            f"count(last_over_time(iovigil_build_info{{{AGENTS}}}[7d]))"
            f" - count(up{{{AGENTS}}} == 1 and on (job, instance) last_over_time(iovigil_build_info{{{AGENTS}}}[7d]))",
            0,
        ),
        (
            Text(title="Disks present", description="Configured disks that are there now."),
            f"sum(iovigil_disk_present{{{AGENTS}}})",
            None,
        ),
        (
            Text(
                title="Disks missing",
                description="Configured disks that are not there: no device or mounted file system at their path.",
                alerts=["DiskMissing"],
            ),
            f"sum(iovigil_disk_present{{{AGENTS}}} == bool 0)",
            0,
        ),
        (
            Text(
                title="Disks stuck",
                description="Disks that do not answer, or did not and are tried now and then only.",
                alerts=["DiskStuckIO"],
            ),
            f"sum(clamp_max(iovigil_disk_stuck{{{AGENTS}}} + iovigil_disk_quarantined{{{AGENTS}}}, 1))",
            0,
        ),
        (
            Text(
                title="Results overdue",
                description="Probes from which two results in a row have not come.",
                alerts=["DiskProbeStale"],
            ),
            f"sum(probe:iovigil_result_overdue:seconds{{{AGENTS}}} > bool 0)",
            0,
        ),
    ):
        begun.with_panel(number(text, expr, is_bad_above=is_bad_above))


def attention(begun: Dashboard) -> None:
    begun.with_row(Row("What wants attention"))
    begun.with_panel(
        rows(
            Text(
                title="Alerts that fire",
                description="Of our rules, for the chosen agents. Empty when all is well.",
            ),
            [Column(name="severity"), Column(name="alertname"), INSTANCE, DISK, Column(name="probe")],
            f'ALERTS{{{AGENTS}, alertname=~"Disk.+|NodeStorage.+", alertstate="firing"}}',
            sort_by="severity",
        )
    )


def slowness(begun: Dashboard) -> None:
    begun.with_row(Row("Slowness"))
    limits = [(SLOW, "orange"), (VERY_SLOW, "red")]
    begun.with_panel(
        rows(
            Text(
                title="Slower than the same model elsewhere",
                description=(
                    "Median latency of the last hour, as a multiple of the median of the whole fleet's disks of the "
                    "same model in the same probe. No single agent can see that."
                ),
                alerts=["DiskSlowVsPeers", "DiskVerySlowVsPeers"],
            ),
            [
                INSTANCE,
                DISK,
                Column(name="model"),
                Column(name="probe"),
                Column(name="operation"),
                Column(name="times as slow", query="A", unit="none", limits=limits),
            ],
            f"topk({MOST_ROWS}, probe_model:iovigil_latency_p50:1h{{{AGENTS}}}"
            f" / on (probe, operation, model) group_left ()"
            f" quantile by (probe, operation, model) (0.5, probe_model:iovigil_latency_p50:1h{{{AGENTS}}}))",
            sort_by="times as slow",
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        rows(
            Text(
                title="Slower than a week ago",
                description="Median latency of the last hour, as a multiple of the disk's own in the week before.",
                alerts=["DiskLatencyRegression"],
            ),
            [
                INSTANCE,
                DISK,
                Column(name="probe"),
                Column(name="operation"),
                Column(name="times as slow", query="A", unit="none", limits=limits),
            ],
            f"topk({MOST_ROWS}, probe:iovigil_slowdown_vs_self:ratio1h{{{AGENTS}}})",
            sort_by="times as slow",
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        rows(
            Text(
                title="Slow for long, or by a lot",
                description="The agents' own score, foreign load taken into account: at 1 it is an alert.",
                alerts=["DiskSlow", "DiskVerySlow"],
            ),
            [
                INSTANCE,
                DISK,
                Column(name="probe"),
                Column(name="operation"),
                Column(name="score", query="A", unit="none", limits=[(0.5, "orange"), (1, "red")]),
            ],
            f"topk({MOST_ROWS}, iovigil_slowdown_score{{{AGENTS}}})",
            sort_by="score",
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="What can be said of disks",
                description="Probes on disks by what their last run says; `busy` and `few` cannot be judged.",
                alerts=["DiskNotJudged"],
            ),
            "none",
            query(f"count by (state) (iovigil_slowdown_state{{{AGENTS}}})", "{{state}}"),
        )
    )
    begun.with_panel(
        limit(
            lines(
                Text(
                    title="Disks that are slow at once",
                    description="Share of a node's disks with over twice the latency of the week before.",
                    alerts=["NodeStorageSlowdown"],
                ),
                "percentunit",
                query(f"instance:iovigil_slow_disks:ratio1h{{{AGENTS}}}", f"{AGENT} by the week before"),
                query(f"iovigil_slow_disks_ratio{{{AGENTS}}}", f"{AGENT} by the agent's score"),
            ),
            0.5,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Median latency by model",
                description="Of all chosen disks of a model, over all of its nodes: the middle disk.",
            ),
            "s",
            query(
                f"quantile by (model, probe, operation) (0.5, probe_model:iovigil_latency_p50:1h{{{AGENTS}}})",
                "{{model}} {{probe}} {{operation}}",
            ),
        )
    )


def faults(begun: Dashboard) -> None:
    begun.with_row(Row("Faults"))
    for text, expr, legend in (
        (
            Text(
                title="I/O errors",
                description="I/Os that returned an error, by node.",
                alerts=["DiskIOErrors"],
            ),
            f"sum by (job, instance) (increase(iovigil_io_errors_total{{{AGENTS}}}[$__rate_interval]))",
            AGENT,
        ),
        (
            Text(
                title="Mismatches",
                description="Blocks that differed from what was written, by node.",
                alerts=["DiskDataCorruption"],
            ),
            f"sum by (job, instance) (increase(iovigil_verify_mismatches_total{{{AGENTS}}}[$__rate_interval]))",
            AGENT,
        ),
        (
            Text(
                title="Failed runs",
                description="Runs that failed, by first cause.",
                alerts=["DiskProbeFailing"],
            ),
            f"sum by (reason) (increase(iovigil_run_failures_total{{{AGENTS}}}[$__rate_interval]))",
            "{{reason}}",
        ),
    ):
        begun.with_panel(bars(text, query(expr, legend), width=THIRD_WIDTH))


def load(begun: Dashboard) -> None:
    begun.with_row(Row("What the probes do"))
    begun.with_panel(
        lines(
            Text(title="Read and written", description="By all probes of the chosen agents."),
            "Bps",
            query(f"sum by (operation) (rate(iovigil_io_bytes_total{{{AGENTS}}}[$__rate_interval]))", "{{operation}}"),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(title="Verified", description="Bytes read back and checked."),
            "Bps",
            query(f"sum(rate(iovigil_verified_bytes_total{{{AGENTS}}}[$__rate_interval]))", "all disks"),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        bars(
            Text(
                title="Skipped starts",
                description="Planned runs that were not started, by cause.",
                alerts=["DiskProbeSkipped"],
            ),
            query(
                f"sum by (reason) (increase(iovigil_runs_skipped_total{{{AGENTS}}}[$__rate_interval]))", "{{reason}}"
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        rows(
            Text(title="Agents", description="Which version runs where, and how many disks it watches."),
            [
                INSTANCE,
                Column(name="version"),
                Column(name="revision"),
                Column(name="python_version"),
                Column(name="disks", query="B", unit="none"),
            ],
            f"iovigil_build_info{{{AGENTS}}}",
            f"count by (job, instance) (iovigil_disk_present{{{AGENTS}}})",
        )
    )
