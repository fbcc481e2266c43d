"""Counters from one agent to the next: taken over, kept up before anybody is shown them, and left behind."""

import logging
from typing import Final

from iovigil.agent import bequest, leftover
from iovigil.agent.account import Account, NotAnAccount
from iovigil.agent.agent_account import AgentAccount
from iovigil.agent.archive import Archive
from iovigil.agent.bequest import Bequest
from iovigil.agent.history import KeptAccount
from iovigil.agent.ledger import Ledger, ProbeEntry, RunResult
from iovigil.agent.leftover import LeftOver
from iovigil.agent.run import Run
from iovigil.agent.run_record import record_of
from iovigil.agent.start_delay import StartDelays
from iovigil.agent.web_account import Refusal
from iovigil.engines.stats import StatsPage

log = logging.getLogger(__name__)

OF_THE_AGENT: Final = ("", "")
"""In place of a disk and a probe."""


class Succession:
    """One that ends leaves its accounts to the history, one that is killed leaves them in memory."""

    def __init__(self, archive: Archive, state_directory: str) -> None:
        self._archive = archive
        self._bequest = Bequest(bequest.directory(state_directory))
        self._has_begun = False
        self._kept_changes = 0

    async def begin(self, ledger: Ledger) -> None:
        """Go on with the counters of the agent before: as it left them, or as it was killed with them."""
        fresh = [(entry, Account.of(entry, ledger.disks[entry.disk])) for entry in ledger.probes.values()]
        kept = await self._archive.accounts()
        if not self._bequest.take_over(ledger):
            for row in kept:
                continue_account(ledger, row)
        self._bequest.open(ledger)
        # Not before they are in memory: who is killed in between would have left them to nobody.
        if kept and not await self._archive.forget_accounts() and not self._bequest.is_open:
            log.warning("counters begin at 0: those of the agent before could not be taken out of the history")
            for entry, account in fresh:
                account.restore(entry)
            ledger.start_delays, ledger.web.refusals = StartDelays(), dict.fromkeys(Refusal, 0)
        self._has_begun = True

    def children_left(self, ledger: Ledger) -> list[LeftOver]:
        """Children of the agent before that are still there. Blocks while it looks at all processes."""
        return leftover.find(self._bequest.directory, ledger)

    def page(self, entry: ProbeEntry, place: str) -> StatsPage:
        """A page for a run that is about to start. Raises OSError."""
        return self._bequest.page(entry, place)

    def keep(self, ledger: Ledger) -> None:
        """Call it before anybody is shown the ledger."""
        self._bequest.keep(ledger)

    def book(self, ledger: Ledger, run: Run, result: RunResult) -> None:
        """Write down a run that is over, and the account that it is on."""
        entry = run.entry
        if ledger.probes.get((entry.disk, entry.probe)) is entry:
            self._bequest.keep_one(entry, ledger.disks[entry.disk])
        if ledger.quarantines.changes != self._kept_changes:
            self._kept_changes = ledger.quarantines.changes
            self._bequest.keep_agent(ledger)
        self._archive.add_run(record_of(run.name, result, run.messages))

    async def end(self, ledger: Ledger, deadline_s: float) -> None:
        """Leave the accounts to the history, with runs that could not be waited for."""
        pairs = [(entry, ledger.disks[entry.disk]) for entry in ledger.probes.values()] if self._has_begun else []
        accounts = [
            KeptAccount(entry.disk, entry.probe, Account.of(entry, disk, totals=entry.view()).encode())
            for entry, disk in pairs
        ]
        if self._has_begun:
            accounts.append(KeptAccount(*OF_THE_AGENT, AgentAccount.of(ledger).encode()))
        await self._archive.close(deadline_s, accounts)
        if self._has_begun and self._archive.is_written:
            self._bequest.close()


def continue_account(ledger: Ledger, row: KeptAccount) -> None:
    entry = ledger.probes.get((row.disk, row.probe))
    try:
        if (row.disk, row.probe) == OF_THE_AGENT:
            AgentAccount.decode(row.account).restore(ledger)
            return
        account = Account.decode(row.account)
        if entry is not None and account.is_of(ledger.disks[entry.disk]):
            account.restore(entry)
    except NotAnAccount as error:
        whose = f"{row.probe} on {row.disk}" if row.disk else "the agent"
        log.warning("the counters of %s begin at 0: %s", whose, error)
