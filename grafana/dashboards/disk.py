"""The dashboard "iovigil / disk": everything that is known of one disk."""

from typing import Final

from board import AGENTS, DISKS, PROBES, board, disks, instances, jobs, only_one, probes
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models import dashboard
from panels import (
    HALF_WIDTH,
    THIRD_WIDTH,
    Column,
    Text,
    bars,
    distribution,
    latencies,
    limit,
    lines,
    number,
    query,
    rows,
    states,
)

STUCK_S: Final = 60
SLOW: Final = 2
LOST_THROUGHPUT: Final = 0.7

# The disk is chosen; its name is in every legend only where the same name may be on several nodes.
PROBE: Final = "{{instance}} {{probe}}"
OPERATION: Final = f"{PROBE} {{{{operation}}}}"


def build() -> dashboard.Dashboard:
    return board(
        "disk",
        "Everything that is known of one disk.",
        [jobs(), instances(), only_one(disks()), probes()],
        [now, distributions, percentiles, judged, baseline, faults, quarantine, scrub, open_loop, runs],
    )


def now(begun: Dashboard) -> None:
    begun.with_row(Row("Now"))
    for text, expr, unit, is_bad_above in (
        (
            Text(title="Missing", description="1 when the disk is not there.", alerts=["DiskMissing"]),
            f"sum(iovigil_disk_present{{{DISKS}}} == bool 0)",
            "short",
            0,
        ),
        (
            Text(
                title="Stuck",
                description="1 while it does not answer, or did not and is tried now and then only.",
                alerts=["DiskStuckIO"],
            ),
            f"sum(clamp_max(iovigil_disk_stuck{{{DISKS}}} + iovigil_disk_quarantined{{{DISKS}}}, 1))",
            "short",
            0,
        ),
        (
            Text(
                title="Mismatches",
                description="Blocks that differed from what was written, within the time shown.",
                alerts=["DiskDataCorruption"],
            ),
            f"sum(increase(iovigil_verify_mismatches_total{{{PROBES}}}[$__range]))",
            "short",
            0,
        ),
        (
            Text(
                title="I/O errors",
                description="I/Os that returned an error, within the time shown.",
                alerts=["DiskIOErrors"],
            ),
            f"sum(increase(iovigil_io_errors_total{{{PROBES}}}[$__range]))",
            "short",
            0,
        ),
        (
            Text(
                title="Last success",
                description="How long ago a run of the probe that is longest without one succeeded.",
                alerts=["DiskProbeStale", "DiskProbeFailing"],
            ),
            f"max(time() - iovigil_last_success_timestamp_seconds{{{PROBES}}})",
            "s",
            None,
        ),
        (
            Text(title="Verified", description="Bytes read back and checked within the time shown."),
            f"sum(increase(iovigil_verified_bytes_total{{{PROBES}}}[$__range]))",
            "bytes",
            None,
        ),
    ):
        begun.with_panel(number(text, expr, unit=unit, is_bad_above=is_bad_above))
    begun.with_panel(
        rows(
            Text(title="Identity", description="Which device is behind this disk."),
            [
                Column(name=name)
                for name in (
                    "instance", "disk", "device", "model", "serial", "wwn", "firmware", "transport", "rotational",
                    "scheduler", "controller", "path",
                )
            ],
            f"iovigil_disk_info{{{DISKS}}}",
            height=4,
        )
    )  # fmt: skip


def distributions(begun: Dashboard) -> None:
    begun.with_row(Row("Latency"))
    for operation in ("read", "write"):
        buckets = f'iovigil_io_latency_seconds_bucket{{{PROBES}, operation="{operation}"}}'
        begun.with_panel(
            distribution(
                Text(
                    title=f"Latency of {operation}s",
                    description=(
                        f"How long {operation}s took, all chosen probes together; darker is more of them. Buckets are "
                        "powers of two: for exact figures see the percentiles."
                    ),
                ),
                f"sum by (le) (increase({buckets}[$__rate_interval]))",
            )
        )


def percentiles(begun: Dashboard) -> None:
    begun.with_row(Row("Percentiles"))
    for operation in ("read", "write"):
        begun.with_panel(
            latencies(
                Text(
                    title=f"Percentiles of {operation}s",
                    description="Of the last run, within 1 %: median, p99, p99.9 and the slowest I/O.",
                ),
                query(
                    f'iovigil_last_run_latency_seconds{{{PROBES}, operation="{operation}"}}',
                    f"{PROBE} {{{{q}}}}",
                ),
                width=HALF_WIDTH,
            )
        )
    begun.with_panel(
        lines(
            Text(title="Throughput of the last run", description="What the run itself reached."),
            "Bps",
            query(f"iovigil_last_run_bytes_per_second{{{PROBES}}}", OPERATION),
        )
    )
    begun.with_panel(
        lines(
            Text(title="IOPS of the last run", description="What the run itself reached."),
            "iops",
            query(f"iovigil_last_run_ios_per_second{{{PROBES}}}", OPERATION),
        )
    )


def baseline(begun: Dashboard) -> None:
    begun.with_row(Row("Against its own past"))
    usual = f"last_over_time(probe:iovigil_latency_p50:baseline7d{{{PROBES}}}[3h])"
    begun.with_panel(
        latencies(
            Text(
                title="Median latency, and what is usual",
                description=(
                    "Of the last hour, beside the median of the seven days before the last one. An alert begins at the "
                    "limit: twice that, where scatter and 200 µs are exceeded as well."
                ),
                alerts=["DiskLatencyRegression"],
            ),
            query(f"probe:iovigil_latency_p50:1h{{{PROBES}}}", f"{OPERATION} now"),
            query(usual, f"{OPERATION} usual"),
            query(f"{SLOW} * {usual}", f"{OPERATION} limit"),
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        limit(
            lines(
                Text(
                    title="Times as slow as usual",
                    description="The quotient of the two. Above 2 for six hours is an alert.",
                    alerts=["DiskLatencyRegression", "NodeStorageSlowdown"],
                ),
                "none",
                query(f"probe:iovigil_slowdown_vs_self:ratio1h{{{PROBES}}}", OPERATION),
            ),
            SLOW,
        )
    )
    begun.with_panel(
        limit(
            lines(
                Text(
                    title="Throughput, as a share of the usual",
                    description="Below 70 % for six hours is an alert. A probe with a rate says little here.",
                    alerts=["DiskThroughputDrop"],
                ),
                "percentunit",
                query(f"probe:iovigil_throughput_vs_self:ratio1h{{{PROBES}}}", OPERATION),
            ),
            LOST_THROUGHPUT,
        )
    )
    begun.with_panel(
        limit(
            lines(
                Text(
                    title="Times as slow as its peers",
                    description="Against the median of this agent's disks of the same model, of four or more.",
                    alerts=["DiskSlowSuspect", "DiskSlowVsPeers", "DiskVerySlowVsPeers"],
                ),
                "none",
                query(f"probe_model:iovigil_slowdown_vs_peers:ratio1h{{{PROBES}}}", OPERATION),
            ),
            SLOW,
        )
    )


def judged(begun: Dashboard) -> None:
    begun.with_row(Row("By the agent's own score"))
    begun.with_panel(
        latencies(
            Text(
                title="Median latency of the last run, and what the agent learnt",
                description="What is usual at the foreign load of the last run; it is learnt from the first runs on.",
                alerts=["DiskSlow"],
            ),
            query(f'iovigil_last_run_latency_seconds{{{PROBES}, q="0.5"}}', f"{OPERATION} now"),
            query(f'iovigil_baseline_latency_seconds{{{PROBES}, q="0.5"}}', f"{OPERATION} usual"),
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Times as slow as usual, by the agent",
                description="The last hour over, at the same foreign load. Nothing is said before thirty runs.",
                alerts=["DiskSlow", "DiskVerySlow"],
            ),
            "none",
            query(f"iovigil_slowdown_ratio{{{PROBES}}}", OPERATION),
        )
    )
    begun.with_panel(
        limit(
            lines(
                Text(
                    title="Score of slowness",
                    description="For how long and how much it has been slow: an alert at 1. Good hours take it back.",
                    alerts=["DiskSlow", "DiskVerySlow"],
                ),
                "none",
                query(f"iovigil_slowdown_score{{{PROBES}}}", OPERATION),
                width=THIRD_WIDTH,
            ),
            1,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Foreign load",
                description="Share of the last run, at most, in which the disk had I/O that was not ours.",
                alerts=["DiskNotJudged"],
            ),
            "percentunit",
            query(f"iovigil_last_run_foreign_busy_ratio{{{PROBES}}}", PROBE),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        states(
            Text(
                title="What can be said of the last run",
                description="`busy` is too much foreign load, `few` too few I/Os, `node` most disks slow at once.",
                alerts=["DiskNotJudged"],
            ),
            f"iovigil_slowdown_state{{{PROBES}}}",
            f"{OPERATION} {{{{state}}}}",
            {"1": ("so", "blue")},
            width=THIRD_WIDTH,
        )
    )


def faults(begun: Dashboard) -> None:
    begun.with_row(Row("Errors and mismatches"))
    begun.with_panel(
        rows(
            Text(
                title="Errors, if any",
                description="I/Os that returned an error within the time shown. Empty when there was none.",
                alerts=["DiskIOErrors"],
            ),
            [
                Column(name="instance"),
                Column(name="probe"),
                Column(name="operation"),
                Column(name="error"),
                Column(name="errors", query="A", unit="none"),
            ],
            f"ceil(sum by (job, instance, probe, operation, error)"
            f" (increase(iovigil_io_errors_total{{{PROBES}}}[$__range]))) > 0",
            sort_by="errors",
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        rows(
            Text(
                title="Mismatches, if any",
                description=(
                    "Blocks that differed from what was written, within the time shown. Empty when there was none. "
                    "`iovigil mismatches` on the node has each block."
                ),
                alerts=["DiskDataCorruption"],
            ),
            [
                Column(name="instance"),
                Column(name="probe"),
                Column(name="kind"),
                Column(name="blocks", query="A", unit="none"),
            ],
            f"ceil(sum by (job, instance, probe, kind)"
            f" (increase(iovigil_verify_mismatches_total{{{PROBES}}}[$__range]))) > 0",
            sort_by="blocks",
            width=HALF_WIDTH,
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
            ),
            STUCK_S,
        )
    )
    begun.with_panel(
        lines(
            Text(title="Verified per second", description="Bytes read back and checked."),
            "Bps",
            query(f"rate(iovigil_verified_bytes_total{{{PROBES}}}[$__rate_interval])", PROBE),
        )
    )


def quarantine(begun: Dashboard) -> None:
    begun.with_row(Row("Quarantine"))
    begun.with_panel(
        states(
            Text(
                title="Quarantine",
                description="Whether it is left alone, but for a trial now and then, as an I/O did not come back.",
                alerts=["DiskStuckIO"],
            ),
            f"iovigil_disk_quarantined{{{DISKS}}}",
            "{{instance}}",
            {"0": ("answers", "green"), "1": ("in quarantine", "red")},
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Time to the next trial",
                description="0 without a quarantine, and while a child that does not end holds the disk.",
                alerts=["DiskStuckIO"],
            ),
            "s",
            query(
                f"clamp_min(iovigil_disk_quarantine_end_timestamp_seconds{{{DISKS}}} - time(), 0)",
                "{{instance}}",
            ),
            width=HALF_WIDTH // 2,
        )
    )
    begun.with_panel(
        bars(
            Text(title="Quarantines begun", description="Trials that hang are part of one.", alerts=["DiskStuckIO"]),
            query(f"increase(iovigil_disk_quarantines_total{{{DISKS}}}[$__rate_interval])", "{{instance}}"),
            width=HALF_WIDTH // 2,
        )
    )


def scrub(begun: Dashboard) -> None:
    begun.with_row(Row("Scrub"))
    begun.with_panel(
        lines(
            Text(
                title="Progress of the scrub",
                description="How far the present cycle is in its region.",
                alerts=["DiskScrubBehind"],
            ),
            "percentunit",
            query(f"iovigil_scrub_progress_ratio{{{PROBES}}}", PROBE),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        limit(
            lines(
                Text(
                    title="Longest unread",
                    description="Age of the block longest unread, in periods. Above 1.1 the scrub is behind.",
                    alerts=["DiskScrubBehind"],
                ),
                "none",
                query(
                    f"(time() - iovigil_scrub_oldest_unread_timestamp_seconds{{{PROBES}}})"
                    f" / iovigil_scrub_period_seconds{{{PROBES}}}",
                    PROBE,
                ),
                width=THIRD_WIDTH,
            ),
            1.1,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Blocks of unknown content",
                description="Blocks of the scrub that could not be written: what they hold is not known.",
                alerts=["DiskIOErrors"],
            ),
            "none",
            query(f"iovigil_scrub_unknown_blocks{{{PROBES}}}", PROBE),
            width=THIRD_WIDTH,
        )
    )


def open_loop(begun: Dashboard) -> None:
    begun.with_row(Row("As those who wait see it: probes with a rate"))
    response = f"iovigil_io_response_seconds_bucket{{{PROBES}}}"
    begun.with_panel(
        latencies(
            Text(
                title="Response time",
                description=(
                    "From the moment an I/O was meant to start: what a stall costs everybody who queues behind it. "
                    "Quantiles of buckets, so right within a factor of two."
                ),
            ),
            *(
                query(
                    f"histogram_quantile({q}, sum by (instance, probe, operation, le)"
                    f" (rate({response}[$__rate_interval])))",
                    f"{OPERATION} {name}",
                )
                for q, name in (("0.5", "median"), ("0.99", "p99"))
            ),
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        bars(
            Text(
                title="I/Os dropped",
                description="I/Os of probes with a rate that a stall cost: never started.",
            ),
            query(f"increase(iovigil_dropped_ios_total{{{PROBES}}}[$__rate_interval])", OPERATION),
        )
    )


def runs(begun: Dashboard) -> None:
    begun.with_row(Row("Runs"))
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
        bars(
            Text(title="Failed runs", description="By first cause.", alerts=["DiskProbeFailing"]),
            query(
                f"sum by (probe, reason) (increase(iovigil_run_failures_total{{{PROBES}}}[$__rate_interval]))",
                "{{probe}} {{reason}}",
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        bars(
            Text(
                title="Skipped starts",
                description="Planned runs that were not started, by cause.",
                alerts=["DiskProbeSkipped", "DiskProbeStale"],
            ),
            query(
                f"sum by (probe, reason) (increase(iovigil_runs_skipped_total{{{PROBES}}}[$__rate_interval]))",
                "{{probe}} {{reason}}",
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Start delay of the agent",
                description="Planned start to the start of the child, p99 of all disks of this agent.",
            ),
            "s",
            query(
                f"histogram_quantile(0.99, sum by (instance, le)"
                f" (rate(iovigil_run_start_delay_seconds_bucket{{{AGENTS}}}[$__rate_interval])))",
                "{{instance}}",
            ),
            width=THIRD_WIDTH,
        )
    )
