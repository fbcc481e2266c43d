"""The agent's own HTTP side: who was turned away, and which web configuration is in force."""

from iovigil.agent.ledger import Ledger
from iovigil.agent.metrics.family import Family, names
from iovigil.agent.metrics.scrape import Scrape
from iovigil.agent.web_account import Refusal

WEB_CONFIG_LAST_RELOAD_SUCCESSFUL = Family(
    "gauge",
    "iovigil_web_config_last_reload_successful",
    "Whether the web configuration, with its certificates, was right when it was last read; 1 without one.",
)
WEB_CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP = Family(
    "gauge",
    "iovigil_web_config_last_reload_success_timestamp_seconds",
    "Unix time at which the web configuration in force was read.",
    unit="seconds",
)
WEB_CONNECTIONS = Family("gauge", "iovigil_web_connections", "Open connections, those in a TLS handshake included.")
WEB_REFUSALS = Family(
    "counter",
    "iovigil_web_refusals_total",
    "Connections and requests that were not served.",
    ("reason",),
    values={"reason": names(Refusal)},
)


def fill(scrape: Scrape, ledger: Ledger) -> None:
    account = ledger.web
    scrape.add(WEB_CONFIG_LAST_RELOAD_SUCCESSFUL, account.last_reload_successful)
    scrape.add(WEB_CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP, account.last_reload_unix)
    scrape.add(WEB_CONNECTIONS, account.connections)
    for reason, count in account.refusals.items():
        scrape.add(WEB_REFUSALS, count, reason)
