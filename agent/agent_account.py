"""The counters of the agent as a whole, as they are kept for the next agent."""

import functools
import time
from pathlib import Path

import msgspec

from iovigil.agent.account import NotAnAccount
from iovigil.agent.ledger import Ledger
from iovigil.agent.output_account import OutputAccount
from iovigil.agent.quarantine import Case
from iovigil.agent.web_account import Refusal


class AgentAccount(msgspec.Struct, kw_only=True):
    """What of a Ledger outlives the agent, beside the accounts of its probes. Fields may come and go."""

    start_delays: dict[str, int] = {}
    """Starts by the upper bound of their delay."""
    start_delay_sum_s: float = 0.0
    refusals: dict[str, int] = {}
    quarantines: list[Case] = []
    boot: str = ""
    """Which boot it was kept in."""
    outputs: dict[str, tuple[int, int]] = {}
    """Of each way out: attempts and failures."""
    counting_since_unix: float = 0.0

    @classmethod
    def of(cls, ledger: Ledger) -> "AgentAccount":
        return cls(
            start_delays=ledger.start_delays.by_bound(),
            start_delay_sum_s=ledger.start_delays.sum_s,
            refusals={reason.value: number for reason, number in ledger.web.refusals.items()},
            quarantines=ledger.quarantines.kept(),
            boot=boot_id(),
            outputs={name: (account.attempts, account.failures) for name, account in outputs_of(ledger).items()},
            counting_since_unix=ledger.counting_since_unix,
        )

    @classmethod
    def decode(cls, data: bytes) -> "AgentAccount":
        """Raises NotAnAccount."""
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise NotAnAccount(str(error)) from None

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    def restore(self, ledger: Ledger) -> None:
        """Have a ledger that was just opened go on from here. Raises NotAnAccount, and changes nothing then."""
        try:
            ledger.start_delays.restore(self.start_delays, self.start_delay_sum_s)
        except ValueError as error:
            raise NotAnAccount(str(error)) from None
        for reason in Refusal:
            ledger.web.refusals[reason] += self.refusals.get(reason.value, 0)
        for name, account in outputs_of(ledger).items():
            attempts, failures = self.outputs.get(name, (0, 0))
            account.attempts += attempts
            account.failures += failures
        ledger.counting_since_unix = self.counting_since_unix or ledger.counting_since_unix
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        ledger.quarantines.restore(self.quarantines, now_s, is_same_boot=self.boot == boot_id() != "")


@functools.cache
def boot_id(path: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """What tells this boot from any other; empty where the kernel does not say."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def outputs_of(ledger: Ledger) -> dict[str, OutputAccount]:
    return {"textfile": ledger.textfile, "otlp": ledger.otlp}
