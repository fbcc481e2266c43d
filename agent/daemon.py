"""The agent's life: load, serve, go round until told to stop, reload on the way; systemd is told of each step."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from iovigil.agent import aside, books, dumps, history, schedule
from iovigil.agent.archive import Archive
from iovigil.agent.config import Config, ConfigError, DiskSettings, Problem
from iovigil.agent.corruption import Corruption
from iovigil.agent.disks import inventory
from iovigil.agent.host import host_id
from iovigil.agent.journal import fields
from iovigil.agent.ledger import DiskEntry, Ledger
from iovigil.agent.notify import Notifier
from iovigil.agent.presence import Finding, Presence
from iovigil.agent.rounds import Rounds, Turn
from iovigil.agent.run import Run
from iovigil.agent.supervisor import Supervisor
from iovigil.agent.web import Server
from iovigil.agent.web.api import Api
from iovigil.agent.web.recent_runs import RecentRuns
from iovigil.agent.web.site import Site
from iovigil.agent.web.sources import Aside, MismatchesAside
from iovigil.agent.worker import LAUNCHER

log = logging.getLogger(__name__)

LOAD_S: Final = 10.0
LOOK_INTERVAL_S: Final = 10.0
PAGES_INTERVAL_S: Final = 1.0
DUMPS_S: Final = 5.0
ARCHIVE_STOP_S: Final = 0.8


class CannotServe(Exception):
    """The listen address cannot be had; the text says why and what to do."""


class Daemon:
    """One agent on one event loop. The loop touches no watched disk and waits for nothing that can hang."""

    def __init__(
        self,
        load: Callable[[], Config],
        config: Config,
        *,
        notifier: Notifier | None = None,
        resolve: Callable[[DiskSettings], Finding] = inventory.resolve,
        launcher: Path = LAUNCHER,
        host: str | None = None,
    ) -> None:
        """`config` is what `load` returned first; a reload calls it again. It raises ConfigError."""
        self._load = load
        self._config = config
        self._notifier = notifier or Notifier()
        self._host = host or host_id()
        self._presence = Presence(resolve)
        self.ledger: Ledger = books.open_books(config)
        self._dumps = dumps.directory(config.agent.state_directory)
        self.supervisor = Supervisor(
            self.ledger, config.agent.max_workers, launcher=launcher, dump_directory=str(self._dumps)
        )
        self._archive = Archive(history.database(config.agent.state_directory))
        self._corruption = Corruption(self._archive)
        self._rounds = Rounds(self.supervisor, self._look_at_turns)
        self._recent_runs = RecentRuns()
        self.server = Server(
            lambda: self.ledger, self.reload, lambda: self.is_ready, lambda: self._last_tick_s, self._site()
        )
        self.is_ready = False
        self._is_bounding_dumps = False
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[list[str]]] = set()
        self._last_tick_s = time.monotonic()
        self._must_stop = False
        self._wake = asyncio.Event()

    def _site(self) -> Site:
        path = self._archive.path
        found = MismatchesAside(lambda disk, limit, before: history.mismatches(path, disk, limit, before), Aside())
        api = Api(
            lambda: self.ledger,
            self._recent_runs,
            found,
            is_control_enabled=lambda: self._config.agent.web.enable_control,
            host=os.uname().nodename,
            on_look=self._recent_runs.note,
        )
        return Site(api)

    async def run(
        self,
        on_serving: Callable[[str], None] = lambda _: None,
        on_stopping: Callable[[], None] = lambda: None,
    ) -> None:
        """Live until `stop` or a signal. Raises CannotServe.

        `on_serving` gets the address, `on_stopping` is called when the end begins.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_on_signal)
        self.supervisor.on_end = self._wake.set
        self.supervisor.on_look = self._look_at_run
        try:
            await self._serve()
            await self._presence.refresh(self._all_disks())
            self._corruption.remember(await self._archive.load())
            self._corruption.remind(self.ledger)
            await self._bound_dumps()
            self._rounds.adopt(self._turns(), time.time())
            self.is_ready = True
            self._notifier.ready()
            on_serving(self.server.address)
            log.info("serving http://%s: %s", self.server.address, self._summary())
            async with contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(cancelled, loop.create_task(self._look_again(), name="look"))
                stack.push_async_callback(cancelled, loop.create_task(self._look_at_pages(), name="pages"))
                stack.push_async_callback(cancelled, loop.create_task(self._archive.run(), name="archive"))
                await self._go_round()
        finally:
            on_stopping()
            self.is_ready = False
            self._notifier.stopping()
            await asyncio.gather(self.supervisor.stop(), self.server.stop())
            self._corruption.close()
            await self._archive.close(ARCHIVE_STOP_S)
            log.info("stopped")

    async def _serve(self) -> None:
        try:
            await self.server.start(self._config.agent.listen)
        except (OSError, ValueError) as error:
            text = error.strerror if isinstance(error, OSError) else str(error)
            raise CannotServe(text) from None

    def stop(self) -> None:
        self._must_stop = True
        self._wake.set()

    async def reload(self) -> list[str]:
        """Go by what `load` returns now; when it is refused, by what was. Returns the problems found."""
        if self._reloading.locked():
            return ["a reload is already under way"]
        return await self._reload_in_turn()

    def _reload_on_signal(self) -> None:
        # In turn, not dropped: the file may have changed again after the first one read it.
        task = asyncio.get_running_loop().create_task(self._reload_in_turn(), name="reload")
        self._reloads.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._reloads.discard)

    async def _reload_in_turn(self) -> list[str]:
        async with self._reloading:
            self._notifier.reloading()
            try:
                config = await aside.call(self._load, LOAD_S)
            except ConfigError as error:
                return self._refuse(error.problems)
            except TimeoutError:
                return self._refuse([Problem(self._config.source, 0, "", f"not read within {LOAD_S:g} s")])
            except Exception as error:  # the outermost loop of a reload: the gauge has to say that it failed
                log.exception("reading the configuration failed: please report")
                return self._refuse([Problem(self._config.source, 0, "", f"not read: {error}")])
            else:
                self._adopt(config)
                await self._presence.refresh(self._all_disks())
                return []
            finally:
                self._notifier.ready()

    def _refuse(self, problems: Sequence[Problem]) -> list[str]:
        self.ledger.last_reload_successful = False
        for problem in problems:
            where = fields(file=problem.file, line=str(problem.line), key=problem.key)
            log.error("%s", problem, extra=where)
        log.error("configuration refused, the old one stays in force; problems: %d", len(problems))
        return [str(problem) for problem in problems]

    def _adopt(self, config: Config) -> None:
        old = self._config
        self.supervisor.request_stop(books.outdated(old, config))
        self._config = config
        self.ledger = books.open_books(config, self.ledger)
        self._corruption.remind(self.ledger)
        self.supervisor.adopt(self.ledger)
        self.supervisor.max_workers = config.agent.max_workers
        self._rounds.adopt(self._turns(), time.time())
        self._wake.set()
        log.info("configuration reloaded: %s", "; ".join(books.differences(old, config)) or "same disks and probes")
        for key in ("listen", "state_directory"):
            if getattr(old.agent, key) != getattr(config.agent, key):
                log.warning("agent.%s has changed: that takes effect when the agent is restarted", key)

    async def _go_round(self) -> None:
        """The main loop: nothing but its own tick is a sign of life."""
        while not self._must_stop:
            self._wake.clear()
            self._last_tick_s = time.monotonic()
            self._notifier.alive(self._last_tick_s)
            # CLOCK_BOOTTIME goes on in suspend: what was slept through is to be counted.
            await self._rounds.tick(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
            self._notifier.status(self._summary())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rounds.sleep_s(time.time())):
                    await self._wake.wait()

    async def _look_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                await self._presence.refresh(self._all_disks())
            except Exception:  # the outermost loop of this task; the probes go on without it
                log.exception("looking for the disks failed: please report")

    def _look_at_run(self, run: Run) -> None:
        try:
            self._corruption.look(run, self.ledger.disks.get(run.entry.disk))
        except Exception:  # a run has to be booked, whatever cannot be said of it
            log.exception("looking at a run failed: please report")

    async def _look_at_pages(self) -> None:
        while True:
            await asyncio.sleep(PAGES_INTERVAL_S)
            try:
                self.supervisor.look()
                self._recent_runs.note(self.ledger)
                self._corruption.close_quiet()
                if self._corruption.has_new_dumps:
                    self._corruption.has_new_dumps = False
                    await self._bound_dumps()
            except Exception:  # the outermost loop of this task; the probes go on without it
                log.exception("looking at the pages failed: please report")

    async def _bound_dumps(self) -> None:
        if self._is_bounding_dumps:
            return  # a state directory that hangs costs one thread
        self._is_bounding_dumps = True

        def bound() -> int:
            try:
                return dumps.bound(self._dumps)
            finally:
                self._is_bounding_dumps = False

        try:
            removed = await aside.call(bound, DUMPS_S)
        except (OSError, TimeoutError) as error:
            if not isinstance(error, TimeoutError):
                self._is_bounding_dumps = False  # also where there was no thread to say so
            reason = getattr(error, "strerror", None) or f"no answer within {DUMPS_S:g} s"
            log.warning("dumps of bad blocks cannot be kept in %s: %s", self._dumps, reason)
            return
        if removed:
            log.info("removed the %d oldest dumps of bad blocks in %s", removed, self._dumps)

    async def _look_at_turns(self, turns: Iterable[Turn]) -> None:
        await self._presence.refresh({turn.disk.name: (turn.disk, turn.disk_entry) for turn in turns}.values())

    def _all_disks(self) -> list[tuple[DiskSettings, DiskEntry]]:
        return [(disk, self.ledger.disks[disk.name]) for disk in self._config.disks]

    def _turns(self) -> list[Turn]:
        return [
            Turn(
                disk=each.disk,
                disk_entry=self.ledger.disks[each.disk.name],
                entry=self.ledger.probes[each.disk.name, each.probe.name],
                phase_s=schedule.phase_s(self._host, each.disk.name, each.probe.name, each.probe.every_s),
            )
            for each in self._config.assignments()
        ]

    def _summary(self) -> str:
        disks = self.ledger.disks.values()
        parts = [f"disks: {len(disks)}", f"probes on them: {len(self.ledger.probes)}"]
        if absent := sum(not disk.is_present for disk in disks):
            parts.append(f"absent: {absent}")
        if stuck := sum(disk.is_stuck for disk in disks):
            parts.append(f"stuck: {stuck}")
        parts.append(f"running: {self.ledger.workers_running}")
        return ", ".join(parts)


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
