"""The agent itself: what was built, which configuration is in force, its children, and what holds them back."""

import functools
import json
import pkgutil
import platform
from importlib import metadata

import iovigil
import iovigil.engines.io
from iovigil.agent.ledger import Ledger
from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.scrape import Scrape

BUILD_INFO = Family(
    "gauge",
    "iovigil_build_info",
    "Build and runtime versions; always 1.",
    ("version", "revision", "python_version", "engine"),
)
CONFIG_LAST_RELOAD_SUCCESSFUL = Family(
    "gauge", "iovigil_config_last_reload_successful", "Whether the last configuration load succeeded."
)
CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP = Family(
    "gauge",
    "iovigil_config_last_reload_success_timestamp_seconds",
    "Unix time of the last successful configuration load.",
    unit="seconds",
)
WORKERS = Family(
    "gauge",
    "iovigil_workers",
    "Child processes by state.",
    ("state",),
    values={"state": ("running", "abandoned")},
)

START_DELAY = Family(
    "histogram", "iovigil_run_start_delay_seconds", "Planned start to the start of the child.", unit="seconds"
)
BLACKOUT = Family("gauge", "iovigil_blackout_active", "Whether the blackout file is there: nothing starts.")
PRESSURE_BACKOFF = Family(
    "gauge", "iovigil_pressure_backoff_active", "Whether I/O pressure of the host holds new runs back."
)
SLOW_DISKS = Family(
    "gauge",
    "iovigil_slow_disks_ratio",
    "Share of the disks that are slow at once; above one half scores are held back. 0 of fewer than three disks.",
    unit="ratio",
)


def fill(scrape: Scrape, ledger: Ledger) -> None:
    scrape.add(BUILD_INFO, 1, iovigil.__version__, revision(), platform.python_version(), engines())
    scrape.add(CONFIG_LAST_RELOAD_SUCCESSFUL, ledger.last_reload_successful)
    scrape.add(CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP, ledger.last_reload_unix)
    scrape.add(WORKERS, ledger.workers_running, "running")
    scrape.add(WORKERS, ledger.workers_abandoned, "abandoned")
    scrape.add_histogram(START_DELAY, ledger.start_delays.buckets(), ledger.start_delays.sum_s)
    scrape.add(BLACKOUT, ledger.is_blackout)
    scrape.add(PRESSURE_BACKOFF, ledger.is_backing_off)
    scrape.add(SLOW_DISKS, ledger.slow_disks_ratio)


@functools.cache
def revision() -> str:
    """The commit this was installed from, where the installer knew it; otherwise `unknown`."""
    try:
        origin = metadata.distribution("iovigil").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return "unknown"
    vcs = json.loads(origin or "{}").get("vcs_info", {})
    return str(vcs.get("commit_id", "unknown"))


@functools.cache
def engines() -> str:
    """The I/O engines this build has, comma-separated."""
    modules = pkgutil.iter_modules(iovigil.engines.io.__path__)
    return ",".join(sorted(module.name for module in modules if module.name != "base"))
