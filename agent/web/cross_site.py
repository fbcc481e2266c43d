"""Keeps the pages of other sites from changing something through the browser of somebody who may."""

import ipaddress
import socket
from collections.abc import Collection, Mapping
from typing import Final

SAFE_METHODS: Final = {"GET", "HEAD", "OPTIONS"}


def refusal(method: str, headers: Mapping[str, str], *, is_open: bool, host_names: Collection[str]) -> str:
    """Why a request is refused, empty for one that is not.

    Only browsers send Origin and Sec-Fetch-Site, and none leaves out both with a POST. Where there is neither password
    nor client certificate (`is_open`), the Host must be one of ours as well: another site's name may, for a moment,
    lead to this host, and its page is then of the same origin.
    """
    if method in SAFE_METHODS:
        return ""
    origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
    if origin is None and site is None:
        return ""
    if site not in (None, "same-origin", "none"):
        return f"the request comes from another site's page (Sec-Fetch-Site: {site})"
    host = headers.get("Host", "").lower()
    if origin is not None and origin.lower().partition("://")[2] != host:
        return "the request comes from another site's page: its Origin is not this Host"
    if is_open and not is_ours(host, host_names):
        return "the Host of the request is not known here: add it to agent.web.host_names"
    return ""


def is_ours(host: str, host_names: Collection[str]) -> bool:
    """Whether a Host, with or without its port, is an address or a name of this host."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name in {"localhost", socket.gethostname().lower(), *host_names}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
