"""The dashboard "iovigil / agent": whether the agents themselves are well, and what holds their probes back."""

from board import AGENT, AGENTS, board, instances, jobs
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.models import dashboard
from panels import HALF_WIDTH, THIRD_WIDTH, Column, Text, bars, limit, lines, number, query, rows, states

YES_NO = {"0": ("no", "green"), "1": ("yes", "orange")}


def build() -> dashboard.Dashboard:
    return board(
        "agent",
        "Whether the agents themselves are well, and what holds their probes back.",
        [jobs(), instances()],
        [now, schedule, held_back, children, configuration, web, outputs],
    )


def now(begun: Dashboard) -> None:
    begun.with_row(Row("Now"))
    for text, expr, is_bad_above in (
        (
            Text(
                title="Agents that do not answer",
                description="Agents of the last seven days that Prometheus cannot reach now.",
                alerts=["DiskProbeAgentDown"],
            ),
            f"count(last_over_time(iovigil_build_info{{{AGENTS}}}[7d]))"
            f" - count(up{{{AGENTS}}} == 1 and on (job, instance) last_over_time(iovigil_build_info{{{AGENTS}}}[7d]))",
            0,
        ),
        (
            Text(
                title="Configurations refused",
                description="Agents that go on with an old configuration.",
                alerts=["DiskProbeConfigReloadFailed"],
            ),
            f"sum(iovigil_config_last_reload_successful{{{AGENTS}}} == bool 0)",
            0,
        ),
        (
            Text(
                title="Children abandoned",
                description="Children that outlived SIGKILL and are not waited for.",
                alerts=["DiskStuckIO"],
            ),
            f'sum(iovigil_workers{{{AGENTS}, state="abandoned"}})',
            0,
        ),
        (
            Text(title="Children", description="Children at work now."),
            f'sum(iovigil_workers{{{AGENTS}, state="running"}})',
            None,
        ),
        (
            Text(
                title="Probes paused",
                description="Probes on disks that somebody paused.",
                alerts=["DiskProbeSkipped"],
            ),
            f"sum(iovigil_probe_paused{{{AGENTS}}})",
            None,
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


def schedule(begun: Dashboard) -> None:
    begun.with_row(Row("Schedule"))
    delays = f"rate(iovigil_run_start_delay_seconds_bucket{{{AGENTS}}}[$__rate_interval])"
    begun.with_panel(
        lines(
            Text(
                title="Start delay",
                description="Planned start to the start of the child: how well the scheduler keeps its times.",
            ),
            "s",
            *(
                query(f"histogram_quantile({q}, sum by (instance, le) ({delays}))", f"{AGENT} {name}")
                for q, name in (("0.5", "median"), ("0.99", "p99"))
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(title="Starts", description="Runs that were started, per second."),
            "ops",
            query(
                f"sum by (instance) (rate(iovigil_run_start_delay_seconds_count{{{AGENTS}}}[$__rate_interval]))", AGENT
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        limit(
            lines(
                Text(
                    title="Most overdue result",
                    description="Positive when two results in a row of some probe have not come.",
                    alerts=["DiskProbeStale"],
                ),
                "s",
                query(f"max by (instance) (probe:iovigil_result_overdue:seconds{{{AGENTS}}})", AGENT),
                width=THIRD_WIDTH,
            ),
            0,
        )
    )


def held_back(begun: Dashboard) -> None:
    begun.with_row(Row("What holds probes back"))
    begun.with_panel(
        bars(
            Text(
                title="Skipped starts by reason",
                description="Planned runs that were not started; `standby` are disks that were left asleep.",
                alerts=["DiskProbeSkipped"],
            ),
            query(
                f"sum by (instance, reason) (increase(iovigil_runs_skipped_total{{{AGENTS}}}[$__rate_interval]))",
                f"{AGENT} {{{{reason}}}}",
            ),
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Pauses",
                description="Probes on disks that somebody paused.",
                alerts=["DiskProbeSkipped"],
            ),
            "none",
            query(f"sum by (instance) (iovigil_probe_paused{{{AGENTS}}})", AGENT),
        )
    )
    for text, expr in (
        (
            Text(
                title="Blackout",
                description="Whether the blackout file is there: nothing starts.",
                alerts=["DiskProbeSkipped"],
            ),
            f"iovigil_blackout_active{{{AGENTS}}}",
        ),
        (
            Text(
                title="Pressure",
                description="Whether I/O pressure of the host holds new runs back.",
                alerts=["DiskProbeSkipped"],
            ),
            f"iovigil_pressure_backoff_active{{{AGENTS}}}",
        ),
    ):
        begun.with_panel(states(text, expr, AGENT, YES_NO, width=HALF_WIDTH))


def children(begun: Dashboard) -> None:
    begun.with_row(Row("Children"))
    begun.with_panel(
        lines(
            Text(
                title="Children by state",
                description="An abandoned one outlived SIGKILL: it waits in the kernel for a disk.",
                alerts=["DiskStuckIO"],
            ),
            "none",
            query(f"iovigil_workers{{{AGENTS}}}", f"{AGENT} {{{{state}}}}"),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        bars(
            Text(
                title="Failed runs by reason",
                description="`crash` and `setup` are the agent's own trouble more often than a disk's.",
                alerts=["DiskProbeFailing"],
            ),
            query(
                f"sum by (instance, reason) (increase(iovigil_run_failures_total{{{AGENTS}}}[$__rate_interval]))",
                f"{AGENT} {{{{reason}}}}",
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        bars(
            Text(
                title="Engine fallbacks",
                description="Runs that used another I/O engine because this host does not allow the configured one.",
            ),
            query(
                f"sum by (instance, probe) (increase(iovigil_engine_fallbacks_total{{{AGENTS}}}[$__rate_interval]))",
                f"{AGENT} {{{{probe}}}}",
            ),
            width=THIRD_WIDTH,
        )
    )


def configuration(begun: Dashboard) -> None:
    begun.with_row(Row("Configuration"))
    begun.with_panel(
        states(
            Text(
                title="Last load of the configuration",
                description="Where it was refused the old one is in force.",
                alerts=["DiskProbeConfigReloadFailed"],
            ),
            f"iovigil_config_last_reload_successful{{{AGENTS}}}",
            AGENT,
            {"0": ("refused", "red"), "1": ("taken", "green")},
            width=HALF_WIDTH,
        )
    )
    begun.with_panel(
        rows(
            Text(
                title="Versions",
                description="Which version runs where, and how old its configuration is.",
            ),
            [
                Column(name="instance"),
                Column(name="version"),
                Column(name="revision"),
                Column(name="python_version"),
                Column(name="engine"),
                Column(name="configuration of", query="B", unit="s"),
            ],
            f"iovigil_build_info{{{AGENTS}}}",
            f"time() - iovigil_config_last_reload_success_timestamp_seconds{{{AGENTS}}}",
            width=HALF_WIDTH,
        )
    )


def web(begun: Dashboard) -> None:
    begun.with_row(Row("Web"))
    begun.with_panel(
        bars(
            Text(
                title="Refused connections and requests",
                description="By reason. Passwords and client certificates that are wrong are here.",
            ),
            query(
                f"sum by (instance, reason) (increase(iovigil_web_refusals_total{{{AGENTS}}}[$__rate_interval]))",
                f"{AGENT} {{{{reason}}}}",
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(title="Connections", description="Open ones, those in a TLS handshake included."),
            "none",
            query(f"iovigil_web_connections{{{AGENTS}}}", AGENT),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Duration of scrapes",
                description="As Prometheus measures it. It should stay at milliseconds, also while disks hang.",
            ),
            "s",
            query(
                f"scrape_duration_seconds{{{AGENTS}}}"
                f" and on (job, instance) last_over_time(iovigil_build_info{{{AGENTS}}}[7d])",
                AGENT,
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        states(
            Text(
                title="Last reading of the web configuration",
                description="Whether it was right, with its certificates, when it was last read.",
            ),
            f"iovigil_web_config_last_reload_successful{{{AGENTS}}}",
            AGENT,
            {"0": ("wrong", "red"), "1": ("right", "green")},
        )
    )


def outputs(begun: Dashboard) -> None:
    begun.with_row(Row("Ways out beside the scrape, where there are any"))
    ways = (
        ("textfile", "iovigil_textfile_writes_total", "iovigil_textfile_write_failures_total"),
        ("OTLP", "iovigil_otlp_pushes_total", "iovigil_otlp_push_failures_total"),
    )
    begun.with_panel(
        bars(
            Text(title="Writes and pushes", description="Of textfiles and by OTLP, those that failed included."),
            *(
                query(f"increase({attempts}{{{AGENTS}}}[$__rate_interval])", f"{AGENT} {way}")
                for way, attempts, _ in ways
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        bars(
            Text(title="Failed writes and pushes", description="Those that came to nothing, or not to all."),
            *(
                query(f"increase({failures}{{{AGENTS}}}[$__rate_interval])", f"{AGENT} {way}")
                for way, _, failures in ways
            ),
            width=THIRD_WIDTH,
        )
    )
    begun.with_panel(
        lines(
            Text(
                title="Age of what was put out",
                description="Time since the last write or push that succeeded. Both are made every minute by default.",
            ),
            "s",
            *(
                query(f"time() - {last}{{{AGENTS}}}", f"{AGENT} {way}")
                for way, last in (
                    ("textfile", "iovigil_textfile_last_write_success_timestamp_seconds"),
                    ("OTLP", "iovigil_otlp_last_push_success_timestamp_seconds"),
                )
            ),
            width=THIRD_WIDTH,
        )
    )
