"""The account of one way out of the agent beside its web server: how often it was gone, and how that went."""

import dataclasses
from dataclasses import dataclass


@dataclass(kw_only=True)
class OutputAccount:
    """Counts outlive a reload, and the agent."""

    is_on: bool = False
    """Whether the configuration asks for it: what nobody asked for is not shown."""
    attempts: int = 0
    failures: int = 0
    last_successful: bool | None = None
    """None before the first one."""
    last_success_unix: float = 0.0

    def book(self, *, is_success: bool, now_unix: float) -> None:
        self.attempts += 1
        self.failures += not is_success
        self.last_successful = is_success
        if is_success:
            self.last_success_unix = now_unix

    def succeeding(self, now_unix: float) -> "OutputAccount":
        """The account as it is when this attempt succeeds: who reads what it puts out knows that it did."""
        account = dataclasses.replace(self)
        account.book(is_success=True, now_unix=now_unix)
        return account
