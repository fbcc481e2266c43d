"""Ways out: what is put out beside the scrape, where that is configured; a textfile says itself when it was written."""

from iovigil.agent.ledger import Ledger
from iovigil.agent.metrics.family import Family
from iovigil.agent.metrics.scrape import Scrape
from iovigil.agent.output_account import OutputAccount

TEXTFILE_WRITES = Family("counter", "iovigil_textfile_writes_total", "Times the textfile was written, or should be.")
TEXTFILE_WRITE_FAILURES = Family(
    "counter", "iovigil_textfile_write_failures_total", "Times the textfile could not be written."
)
TEXTFILE_LAST_WRITE_SUCCESSFUL = Family(
    "gauge", "iovigil_textfile_last_write_successful", "Whether the textfile could be written the last time."
)
TEXTFILE_LAST_WRITE_SUCCESS_TIMESTAMP = Family(
    "gauge",
    "iovigil_textfile_last_write_success_timestamp_seconds",
    "Unix time of the last write of the textfile.",
    unit="seconds",
)

OTLP_PUSHES = Family("counter", "iovigil_otlp_pushes_total", "Times metrics were pushed by OTLP, or should be.")
OTLP_PUSH_FAILURES = Family(
    "counter", "iovigil_otlp_push_failures_total", "Times they could not be pushed, or not all of them."
)
OTLP_LAST_PUSH_SUCCESSFUL = Family(
    "gauge", "iovigil_otlp_last_push_successful", "Whether they could be pushed the last time."
)
OTLP_LAST_PUSH_SUCCESS_TIMESTAMP = Family(
    "gauge",
    "iovigil_otlp_last_push_success_timestamp_seconds",
    "Unix time of the last push of all of them.",
    unit="seconds",
)

OF_TEXTFILES = (
    TEXTFILE_WRITES,
    TEXTFILE_WRITE_FAILURES,
    TEXTFILE_LAST_WRITE_SUCCESSFUL,
    TEXTFILE_LAST_WRITE_SUCCESS_TIMESTAMP,
)
OF_OTLP = (OTLP_PUSHES, OTLP_PUSH_FAILURES, OTLP_LAST_PUSH_SUCCESSFUL, OTLP_LAST_PUSH_SUCCESS_TIMESTAMP)


def fill(scrape: Scrape, ledger: Ledger) -> None:
    add(scrape, ledger.textfile, *OF_TEXTFILES)
    add(scrape, ledger.otlp, *OF_OTLP)


def add(
    scrape: Scrape, account: OutputAccount, attempts: Family, failures: Family, successful: Family, unix: Family
) -> None:
    if not account.is_on:
        return
    scrape.add(attempts, account.attempts)
    scrape.add(failures, account.failures)
    if account.last_successful is not None:
        scrape.add(successful, account.last_successful)
    if account.last_success_unix:
        scrape.add(unix, account.last_success_unix)
