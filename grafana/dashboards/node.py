"""The dashboard "iovigil / node": the disks of one node side by side."""

from typing import Final

import places
from board import DISK, DISKS, OPERATION, PROBE, PROBES, board, disks, instances, jobs, probes
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models import dashboard
from panels import (
    HALF_WIDTH,
    THIRD_WIDTH,
    Column,
    Text,
    bars,
    latencies,
    limit,
    lines,
    number,
    query,
    rows,
    states,
)

# DiskStuckIO fires above it.
STUCK_S: Final = 60
# As DiskLatencyRegression and DiskSlowVsPeers have it.
SLOW: Final = 2
VERY_SLOW: Final = 5


def build() -> dashboard.Dashboard:
    return board(
        "node",
        "The disks of one node side by side.",
        # More than one may be chosen: two nodes of a kind are best compared on one board.
        [jobs(), instances(), disks(), probes()],
        [now, inventory, latency, throughput, faults, runs],
    )


def now(begun: Dashboard) -> None:
    begun.with_row(Row("Now"))
    for text, expr, is_bad_above in (
        (
            Text(title="Disks present", description="Configured disks that are there now."),
            f"sum(iovigil_disk_present{{{DISKS}}})",
            None,
        ),
        (
            Text(title="Disks missing", description="Configured disks that are not there.", alerts=["DiskMissing"]),
            f"sum(iovigil_disk_present{{{DISKS}}} == bool 0)",
            0,
        ),
        (
            Text(
                title="Disks stuck",
                description="Disks that do not answer, or did not and are tried now and then only.",
                alerts=["DiskStuckIO"],
            ),
            f"sum(clamp_max(iovigil_disk_stuck{{{DISKS}}} + iovigil_disk_quarantined{{{DISKS}}}, 1))",
            0,
        ),
        (
            Text(
                title="Probes failing",
                description="Probes whose last run failed. One failure is no alert yet.",
                alerts=["DiskProbeFailing"],
            ),
            f"sum(iovigil_last_run_success{{{PROBES}}} == bool 0)",
            0,
        ),
        (
            Text(
                title="Mismatches",
                description="Blocks that differed from what was written, within the time shown.",
                alerts=["DiskDataCorruption"],
            ),
            f"sum(increase(iovigil_verify_mismatches_total{{{PROBES}}}[$__range]))",
            0,
        ),
        (
            Text(
                title="I/O errors",
                description="I/Os that returned an error, within the time shown.",
                alerts=["DiskIOErrors"],
            ),
            f"sum(increase(iovigil_io_errors_total{{{PROBES}}}[$__range]))",
            0,
        ),
    ):
        begun.with_panel(number(text, expr, is_bad_above=is_bad_above))


def inventory(begun: Dashboard) -> None:
    begun.with_row(Row("Disks"))
    begun.with_panel(
        rows(
            Text(title="Disks", description="What is behind each disk, and how it does. A click opens its own board."),
            [
                Column(name="instance"),
                Column(name="disk", url=places.DISK),
                Column(name="device"),
                Column(name="model"),
                Column(name="serial"),
                Column(name="firmware"),
                Column(name="transport"),
                Column(name="scheduler"),
                Column(name="controller"),
                Column(name="times as slow", query="B", unit="none", limits=[(SLOW, "orange"), (VERY_SLOW, "red")]),
                Column(name="I/O errors", query="C", unit="none", limits=[(1, "red")]),
                Column(name="mismatches", query="D", unit="none", limits=[(1, "red")]),
            ],
            f"iovigil_disk_info{{{DISKS}}}",
            f"max by (job, instance, disk) (probe:iovigil_slowdown_vs_self:ratio1h{{{DISKS}}})",
            f"ceil(sum by (job, instance, disk) (increase(iovigil_io_errors_total{{{DISKS}}}[$__range])))",
            f"ceil(sum by (job, instance, disk) (increase(iovigil_verify_mismatches_total{{{DISKS}}}[$__range])))",
            height=12,
        )
    )


def latency(begun: Dashboard) -> None:
    begun.with_row(Row("Latency"))
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
        begun.with_panel(
            latencies(
                Text(title=title, description=description, alerts=alerts),
                query(f'iovigil_last_run_latency_seconds{{{PROBES}, q="{q}"}}', OPERATION),
                width=THIRD_WIDTH,
            )
        )
    for title, description, recorded, alert in (
        (
            "Against its own past",
            "Median latency of the last hour, as a multiple of the week before.",
            "probe:iovigil_slowdown_vs_self:ratio1h",
            "DiskLatencyRegression",
        ),
        (
            "Against its peers",
            "The same as a multiple of the median of this agent's disks of the model, of four or more.",
            "probe_model:iovigil_slowdown_vs_peers:ratio1h",
            "DiskSlowVsPeers",
        ),
    ):
        begun.with_panel(
            limit(
                lines(
                    Text(title=title, description=description, alerts=[alert]),
                    "none",
                    query(f"{recorded}{{{PROBES}}}", OPERATION),
                ),
                SLOW,
            )
        )


def throughput(begun: Dashboard) -> None:
    begun.with_row(Row("Throughput"))
    begun.with_panel(
        lines(
            Text(title="Throughput", description="Bytes completed per second, the pauses between runs included."),
            "Bps",
            query(f"rate(iovigil_io_bytes_total{{{PROBES}}}[$__rate_interval])", OPERATION),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Throughput of the last run",
                description="What the run itself reached. Comparable from run to run, unlike the curve beside it.",
                alerts=["DiskThroughputDrop"],
            ),
            "Bps",
            query(f"iovigil_last_run_bytes_per_second{{{PROBES}}}", OPERATION),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(title="IOPS of the last run", description="What the run itself reached."),
            "iops",
            query(f"iovigil_last_run_ios_per_second{{{PROBES}}}", OPERATION),
            width=THIRD_WIDTH,
        )
    )


def faults(begun: Dashboard) -> None:
    begun.with_row(Row("Faults"))
    begun.with_panel(
        bars(
            Text(title="I/O errors by errno", description="I/Os that returned an error.", alerts=["DiskIOErrors"]),
            query(
                f"sum by (instance, disk, operation, error) "
                f"(increase(iovigil_io_errors_total{{{PROBES}}}[$__rate_interval]))",
                f"{DISK} {{{{operation}}}} {{{{error}}}}",
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        bars(
            Text(
                title="Mismatches by kind",
                description="Blocks that differed from what was written, by what was wrong with them.",
                alerts=["DiskDataCorruption"],
            ),
            query(
                f"sum by (instance, disk, kind) "
                f"(increase(iovigil_verify_mismatches_total{{{PROBES}}}[$__rate_interval]))",
                f"{DISK} {{{{kind}}}}",
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        limit(
            lines(
                Text(
                    title="Oldest I/O in flight",
                    description="How long the oldest I/O has been waiting for the disk; 0 when there is none.",
                    alerts=["DiskStuckIO"],
                ),
                "s",
                query(f"iovigil_oldest_inflight_io_seconds{{{PROBES}}}", PROBE),
                width=THIRD_WIDTH,
            ),
            STUCK_S,
        )
    )


def runs(begun: Dashboard) -> None:
    begun.with_row(Row("Runs"))
    begun.with_panel(
        states(
            Text(
                title="Quarantine",
                description="Which disks are left alone, but for a trial now and then, as an I/O did not come back.",
                alerts=["DiskStuckIO"],
            ),
            f"iovigil_disk_quarantined{{{DISKS}}}",
            DISK,
            {"0": ("answers", "green"), "1": ("in quarantine", "red")},
        )
    )
    begun.with_panel(
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
    begun.with_panel(
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
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        bars(
            Text(
                title="Skipped starts",
                description="Planned runs that were not started, by disk and cause.",
                alerts=["DiskProbeSkipped"],
            ),
            query(
                f"sum by (instance, disk, reason) (increase(iovigil_runs_skipped_total{{{PROBES}}}[$__rate_interval]))",
                f"{DISK} {{{{reason}}}}",
            ),
            width=HALF_WIDTH,
        )
    )
