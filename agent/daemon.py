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

from iovigil.agent import aside, books, dumps, history, leftover, schedule
from iovigil.agent.archive import Archive
from iovigil.agent.cgroups import Cgroups
from iovigil.agent.config import Assignment, Config, ConfigError, DiskSettings, Problem
from iovigil.agent.control import FILE as PAUSES_FILE
from iovigil.agent.control import Control
from iovigil.agent.corruption import Corruption
from iovigil.agent.disks import inventory, selection
from iovigil.agent.history import History
from iovigil.agent.holds import Holds
from iovigil.agent.host import host_id
from iovigil.agent.hotplug import Hotplug
from iovigil.agent.journal import fields
from iovigil.agent.ledger import DiskEntry, Failure, Ledger, ProbeEntry, RunResult
from iovigil.agent.notify import Notifier
from iovigil.agent.outputs import Outputs
from iovigil.agent.pauses import Pauses
from iovigil.agent.presence import Finding, Presence
from iovigil.agent.roster import Roster
from iovigil.agent.rounds import Rounds, Turn
from iovigil.agent.run import Run
from iovigil.agent.slowdown.watch import Watch
from iovigil.agent.succession import Succession
from iovigil.agent.supervisor import Supervisor
from iovigil.agent.web import Server, listen
from iovigil.agent.web.api import Api
from iovigil.agent.web.site import Site
from iovigil.agent.web.sources import Aside, MismatchesAside, RunsAside
from iovigil.agent.worker import LAUNCHER
from iovigil.engines.stats import StatsPage

log = logging.getLogger(__name__)

LOAD_S: Final = 10.0
LEFT_OVER_S: Final = 1.0
LOOK_INTERVAL_S: Final = 10.0
LOOK_GAP_S: Final = 1.0
"""However many runs fail: the least time between two looks, and what the kernel takes to remove a device."""
SURVEY_INTERVAL_S: Final = 60.0
"""What hot-plug events do not tell of is seen as late as this."""
SETTLE_S: Final = 0.5
SURVEY_GAPS_S: Final = (4.0, 30.0)
SURVEY_SHARE: Final = 0.002
"""Of the time, at most, also on a host where containers come and go and the mounts change all the time."""
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
        resolve: Callable[[DiskSettings], Finding] | None = None,
        launcher: Path = LAUNCHER,
        host: str | None = None,
    ) -> None:
        """`config` is what `load` returned first; a reload calls it again. It raises ConfigError."""
        self._load = load
        self._written = config
        self._config = config
        """What is written, with the disks that it selects."""
        self._notifier = notifier or Notifier()
        self._host = host or host_id()
        self._presence = Presence(resolve or inventory.Watch().resolve)
        self._roster = Roster(config.agent.state_directory)
        self._plugged = asyncio.Event()
        self.ledger: Ledger = books.open_books(config)
        self._archive = Archive(history.database(config.agent.state_directory))
        self._archive.bounds = config.agent.history.bounds
        self._succession = Succession(self._archive, config.agent.state_directory)
        self._slowdowns = Watch(self._archive, lambda: self.ledger)
        self._dumps = dumps.directory(config.agent.state_directory)
        self._cgroups = Cgroups()
        self._cgroups.adopt(config)
        self.supervisor = Supervisor(
            self.ledger,
            config.agent.max_workers,
            launcher=launcher,
            dump_directory=str(self._dumps),
            state_directory=config.agent.state_directory,
            create_page=self._begin,
            cgroups=self._cgroups,
        )
        self._corruption = Corruption(self._archive)
        self.supervisor.max_workers_per_controller = config.agent.max_workers_per_controller
        self._holds = Holds(config.agent, Pauses())
        self._rounds = Rounds(self.supervisor, self._look_at_turns, self._holds)
        self.control = Control(
            Path(config.agent.state_directory) / PAUSES_FILE, self._holds, self._rounds, self.supervisor
        )
        self.server = Server(self._shown, self.reload, lambda: self.is_ready, lambda: self._last_tick_s, self._site())
        self._outputs = Outputs(self._shown, self.server.exposition.render)
        self.is_ready = False
        self._dumps_lane = aside.Lane()
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[list[str]]] = set()
        self._last_tick_s = time.monotonic()
        self._must_stop = False
        self._wake = asyncio.Event()
        self._look_now = asyncio.Event()

    def _site(self) -> Site:
        path, beside = self._archive.path, Aside()
        api = Api(
            self._shown,
            RunsAside(History(path), beside, self._archive.catch_up),
            MismatchesAside(lambda disk, limit, before: history.mismatches(path, disk, limit, before), beside),
            plan=self._rounds,
            control=self.control,
            is_control_enabled=lambda: self._config.agent.web.enable_control,
            is_operators=lambda request: self.server.is_operators(request),
            host=os.uname().nodename,
        )
        return Site(api)

    async def run(
        self,
        on_serving: Callable[[str], None] = lambda _: None,
        on_stopping: Callable[[], None] = lambda: None,
    ) -> None:
        """Live until `stop` or a signal. Raises CannotServe, and ConfigError for the web configuration.

        `on_serving` gets the URL, `on_stopping` is called when the end begins.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_on_signal)
        self.supervisor.on_end = self._wake.set
        self.supervisor.on_look = self._look_at_run
        self.supervisor.on_result = self._book
        self._slowdowns.on_judged = lambda entry: self.server.exposition.prepare(self.ledger, entry)
        try:
            await self._cgroups.settle()
            await self._survey()
            await self._presence.refresh(self._all_disks())
            self._corruption.remember(await self._archive.load())
            self._corruption.remind(self.ledger)
            await self._slowdowns.load()
            await self._succession.begin(self.ledger)
            await self._leave_alone()
            self.server.exposition.begin(self.ledger)
            # Now, not before: a counter that is 0 in one scrape and what it was in the next has made a jump.
            await self._serve()
            await self._bound_dumps()
            await self.control.load()
            await self._holds.look()
            self._rounds.adopt(self._turns(), time.time())
            self.is_ready = True
            self._outputs.adopt(self._config.agent)
            self._notifier.ready()
            on_serving(self.server.urls[0])
            log.info("serving %s: %s", " ".join(self.server.urls), self._summary())
            async with contextlib.AsyncExitStack() as stack:
                hotplug = Hotplug(self._plugged.set)
                hotplug.start()
                stack.callback(hotplug.close)
                stack.push_async_callback(cancelled, loop.create_task(self._look_again(), name="look"))
                stack.push_async_callback(cancelled, loop.create_task(self._survey_again(), name="survey"))
                stack.push_async_callback(cancelled, loop.create_task(self._look_at_pages(), name="pages"))
                stack.push_async_callback(cancelled, loop.create_task(self._archive.run(), name="archive"))
                stack.push_async_callback(cancelled, loop.create_task(self._holds.run(), name="holds"))
                stack.push_async_callback(cancelled, loop.create_task(self.control.run(), name="control"))
                await self._go_round()
        finally:
            on_stopping()
            self.is_ready = False
            self._notifier.stopping()
            await asyncio.gather(self.supervisor.stop(), self.server.stop(), self._outputs.close(ARCHIVE_STOP_S))
            self._corruption.close()
            self._slowdowns.keep()
            await asyncio.gather(self._succession.end(self.ledger, ARCHIVE_STOP_S), self.control.close(ARCHIVE_STOP_S))
            log.info("stopped")

    async def _leave_alone(self) -> None:
        """Find the disks that children of the agent before still wait for."""
        left: list[leftover.LeftOver] = []
        try:
            left = await aside.call(lambda: self._succession.children_left(self.ledger), LOAD_S)
        except (OSError, TimeoutError) as error:
            reason = f"no answer within {LOAD_S:g} s" if isinstance(error, TimeoutError) else error
            log.warning("children of an agent before cannot be looked for: %s", reason)
        # Also of none: what the agent before knew of its disks is marked there.
        self.supervisor.take_over(await leftover.gone(left, LEFT_OVER_S))

    def _shown(self) -> Ledger:
        self._succession.keep(self.ledger)
        return self.ledger

    def _begin(self, entry: ProbeEntry, place: str) -> StatsPage:
        self._slowdowns.begin(entry, self.ledger.disks.get(entry.disk))
        return self._succession.page(entry, place)

    def _book(self, run: Run, result: RunResult) -> None:
        if result.failure in (Failure.GONE, Failure.IO_ERROR):
            self._look_now.set()  # the disk may be there no more
        try:
            self._succession.book(self.ledger, run, result)
            self._slowdowns.book(run.entry, result, is_cut_short=run.is_cut_short)
        except Exception:  # a run that cannot be written down is over nevertheless
            log.exception("writing down a run failed: please report")

    async def _serve(self) -> None:
        try:
            inherited = listen.inherited()
            if inherited:
                log.info("listening on systemd's sockets: agent.listen is not used")
            await self.server.start(self._config.agent.listen, self._config.agent.web, inherited)
        except (OSError, ValueError) as error:
            raise CannotServe(listen.text_of(error)) from None
        await self.server.open_control(self._config.agent.control_socket)

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
        task.add_done_callback(self._forget_reload)

    def _forget_reload(self, task: asyncio.Task[list[str]]) -> None:
        self._reloads.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.ledger.last_reload_successful = False
            log.error("a reload ended in an internal error: please report", exc_info=error)

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
                try:
                    async with self.server.moving(config.agent.listen):
                        await self.server.adopt(config.agent.web)
                except ConfigError as error:
                    return self._refuse(error.problems)
                except (OSError, ValueError) as error:
                    text = listen.text_of(error)
                    return self._refuse([Problem(config.source, 0, "agent.listen", text)])
                await self.server.open_control(config.agent.control_socket)
                selected = await self._roster.look(config)
                if selected is None:  # as before, until the look that comes
                    selected = self._config.disks[len(self._written.disks) :] if config.selectors else ()
                    self._plugged.set()
                changes = self._adopt(config, selected)
                log.info("configuration reloaded: %s", "; ".join(changes) or "same disks and probes")
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

    def _adopt(self, written: Config, selected: Sequence[DiskSettings]) -> list[str]:
        """Go by a configuration and the disks that it selects; what changed."""
        old, config = self._config, selection.with_disks(written, selected)
        self._written = written
        self.supervisor.request_stop(books.outdated(old, config))
        self._config = config
        self._cgroups.adopt(config)
        self.ledger = books.open_books(config, self.ledger)
        for name, labels in self._roster.identities().items():
            if name in self.ledger.disks and not self.ledger.disks[name].identity:
                self.ledger.disks[name].identity = dict(labels)  # it may not be there to tell
        self._corruption.remind(self.ledger)
        self.supervisor.adopt(self.ledger)
        self._archive.bounds = config.agent.history.bounds
        self.supervisor.max_workers = config.agent.max_workers
        self.supervisor.max_workers_per_controller = config.agent.max_workers_per_controller
        self._holds.adopt(config.agent)
        if self.is_ready:
            self._outputs.adopt(config.agent)
        self._rounds.adopt(self._turns(), time.time())
        self._wake.set()
        if old.agent.state_directory != config.agent.state_directory:
            log.warning("agent.state_directory has changed: that takes effect when the agent is restarted")
        return books.differences(old, config)

    async def _survey(self) -> None:
        """Have the disks that the configuration selects brought up to date."""
        written = self._written
        selected = await self._roster.look(written)
        if selected is None or written is not self._written:
            return  # a reload came in between, and looked itself
        if selection.with_disks(written, selected).disks == self._config.disks:
            return
        last_successful, last_unix = self.ledger.last_reload_successful, self.ledger.last_reload_unix
        log.info("disks: %s", "; ".join(self._adopt(written, selected)))
        self.ledger.last_reload_successful, self.ledger.last_reload_unix = last_successful, last_unix

    async def _survey_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SURVEY_INTERVAL_S):
                    await self._plugged.wait()
                    await asyncio.sleep(SETTLE_S)  # what is plugged in is announced many times over
            self._plugged.clear()
            begun_s = time.monotonic()
            try:
                await self._survey()
                await self._presence.refresh(self._all_disks())
            except Exception:  # the outermost loop of this task; the probes go on without it
                log.exception("looking for selected disks failed: please report")
            least_s, most_s = SURVEY_GAPS_S
            await asyncio.sleep(min(max((time.monotonic() - begun_s) / SURVEY_SHARE, least_s), most_s))

    async def _go_round(self) -> None:
        """The main loop: nothing but its own tick is a sign of life."""
        while not self._must_stop:
            self._wake.clear()
            self._last_tick_s = time.monotonic()
            self._notifier.alive(self._last_tick_s)
            # CLOCK_BOOTTIME goes on in suspend: what was slept through is to be counted.
            await self._rounds.tick(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
            self._holds.mark(self.ledger, time.time())
            self._notifier.status(self._summary())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rounds.sleep_s(time.time())):
                    await self._wake.wait()

    async def _look_again(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_INTERVAL_S):
                    await self._look_now.wait()
            await asyncio.sleep(LOOK_GAP_S)
            self._look_now.clear()
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
                self._slowdowns.look()
                self._corruption.close_quiet()
                if self._corruption.has_new_dumps:
                    self._corruption.has_new_dumps = False
                    await self._bound_dumps()
            except Exception:  # the outermost loop of this task; the probes go on without it
                log.exception("looking at the pages failed: please report")

    async def _bound_dumps(self) -> None:
        if not self._dumps_lane.is_free:
            return
        try:
            removed = await self._dumps_lane.call(lambda: dumps.bound(self._dumps), DUMPS_S)
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or f"no answer within {DUMPS_S:g} s"
            log.warning("dumps of bad blocks cannot be kept in %s: %s", self._dumps, reason)
            return
        if removed:
            log.info("removed the %d oldest dumps of bad blocks in %s", removed, self._dumps)

    async def _look_at_turns(self, turns: Iterable[Turn]) -> None:
        disks = {turn.disk.name: (turn.disk, turn.disk_entry) for turn in turns}
        await asyncio.gather(self._presence.refresh(disks.values()), self._holds.look())

    def _all_disks(self) -> list[tuple[DiskSettings, DiskEntry]]:
        return [(disk, self.ledger.disks[disk.name]) for disk in self._config.disks]

    def _turns(self) -> list[Turn]:
        return [self._turn(each) for each in self._config.assignments()]

    def _turn(self, each: Assignment) -> Turn:
        windows = self._config.windows_of(each.probe)
        phase_s = schedule.phase_s(self._host, each.disk.name, each.probe.name, each.probe.every_s, windows)
        entry = self.ledger.probes[each.disk.name, each.probe.name]
        entry.longest_gap_s = schedule.longest_gap_s(each.probe.every_s, phase_s, windows)
        disk_entry = self.ledger.disks[each.disk.name]
        return Turn(disk=each.disk, disk_entry=disk_entry, entry=entry, phase_s=phase_s, windows=windows)

    def _summary(self) -> str:
        disks = self.ledger.disks.values()
        parts = [f"disks: {len(disks)}", f"probes on them: {len(self.ledger.probes)}"]
        if absent := sum(not disk.is_present for disk in disks):
            parts.append(f"absent: {absent}")
        if stuck := sum(disk.is_stuck for disk in disks):
            parts.append(f"stuck: {stuck}")
        if quarantined := sum(disk.is_quarantined for disk in disks):
            parts.append(f"in quarantine: {quarantined}")
        if self.ledger.is_blackout:
            parts.append("blackout")
        if self.ledger.is_backing_off:
            parts.append("waiting for other I/O")
        if paused := sum(entry.is_paused for entry in self.ledger.probes.values()):
            parts.append(f"paused: {paused}")
        parts.append(f"running: {self.ledger.workers_running}")
        return ", ".join(parts)


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
