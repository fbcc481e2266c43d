"""The account of the HTTP side: connections, refusals, and the web configuration in force."""

import enum
import time
from dataclasses import dataclass, field


class Refusal(enum.StrEnum):
    """Why a connection or a request was not served."""

    FULL = "full"  # it gave way to a newer connection
    SLOW = "slow"  # its handshake, request or reading of the answer took too long
    HANDSHAKE = "handshake"  # no TLS that both sides want
    CLIENT_CERTIFICATE = "client_certificate"  # none, one that is not trusted, or one without an allowed name
    PASSWORD = "password"
    RATE = "rate"
    BUSY = "busy"
    MALFORMED = "malformed"  # no HTTP
    HEADER = "header"
    BODY = "body"
    CROSS_SITE = "cross_site"  # another site's page, in somebody's browser


@dataclass(kw_only=True)
class WebAccount:
    """Counts start with the agent, and outlive a reload."""

    connections: int = 0
    refusals: dict[Refusal, int] = field(default_factory=lambda: dict.fromkeys(Refusal, 0))
    last_reload_successful: bool = True
    last_reload_unix: float = field(default_factory=time.time)

    def refuse(self, reason: Refusal) -> None:
        self.refusals[reason] += 1
