"""Watch: has each run that has ended judged against its disk's past, and keeps that past in the history."""

import asyncio
import logging
import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

import msgspec

from iovigil.agent.archive import Archive
from iovigil.agent.baseline_table import KeptBaseline
from iovigil.agent.journal import fields
from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry, RunResult
from iovigil.agent.metrics.operations import NAMES, transfers
from iovigil.agent.slowdown import conditions
from iovigil.agent.slowdown.foreign_load import ForeignLoad, Own
from iovigil.agent.slowdown.meter import Meter
from iovigil.agent.slowdown.node import Node
from iovigil.agent.slowdown.standing import Standing, slowness_of
from iovigil.agent.slowdown.track import Measurement, State, Track, TrackState
from iovigil.engines.stats import Counter, Latency

log = logging.getLogger(__name__)

KEEP_S: Final = 3600.0
"""What was learnt in so much time may be lost with a kill. Each write of a baseline costs its pages twice."""
UNREAD: Final = 10
UNREAD_S: Final = 1800.0
"""So many runs, and for so long, wait for what was kept before one begins anew, and what was kept is written over. A
history is looked over for damage for up to ten minutes, in which nothing is read."""


@dataclass(kw_only=True)
class Past:
    """What is known of a probe on a disk."""

    entry: ProbeEntry
    conditions: dict[str, str] = field(default_factory=dict)
    """What the tracks hold for; empty where there are none."""
    tracks: dict[str, Track] = field(default_factory=dict)
    """By operation."""
    keep_unix: float = 0.0
    """When what is new is to be kept next."""
    kept: dict[str, tuple[str, float]] = field(default_factory=dict)
    """By operation: under which conditions, and up to which run, it is kept."""
    unread: int = 0
    """How often in a row what was kept could not be read."""
    unread_since_unix: float = 0.0

    def restore(self, rows: Sequence[KeptBaseline]) -> None:
        """Go on with these, which are of one set of conditions."""
        for row in rows:
            try:
                track = Track.restored(msgspec.msgpack.decode(row.state, type=TrackState))
                self.conditions = conditions.decode(row.conditions)
            except (msgspec.MsgspecError, ValueError) as error:
                log.warning("the baseline of %s of %s on %s begins anew: %s", row.operation, row.probe, row.disk, error)
                continue
            self.tracks[row.operation] = track
            self.kept[row.operation] = (row.conditions, track.last_unix)

    def new_rows(self, now_unix: float) -> list[KeptBaseline]:
        """What is not kept yet; it is taken to be so from here on."""
        text = conditions.encode(self.conditions)
        standing = {operation: (text, track.last_unix) for operation, track in self.tracks.items()}
        new = [operation for operation, stand in standing.items() if self.kept.get(operation) != stand]
        self.kept = standing
        return [self._row(operation, text, now_unix) for operation in new]

    def _row(self, operation: str, conditions_text: str, now_unix: float) -> KeptBaseline:
        state = msgspec.msgpack.encode(self.tracks[operation].kept())
        return KeptBaseline(self.entry.disk, self.entry.probe, operation, conditions_text, now_unix, state)

    def show(self, foreign_busy_ratio: float | None) -> None:
        operations = tuple((operation, slowness_of(track)) for operation, track in self.tracks.items())
        self.entry.slowdown = Standing(foreign_busy_ratio=foreign_busy_ratio, operations=operations)


class Watch:
    """Judging waits for a look at the kernel's counters, so that it comes a moment after the run is on the books."""

    def __init__(
        self,
        archive: Archive,
        ledger: Callable[[], Ledger],
        *,
        meter: Meter | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`ledger` returns the present one: a reload makes another."""
        self.on_judged: Callable[[ProbeEntry], None] = lambda _: None
        """Called with the account of each run that was judged."""
        self._archive = archive
        self._present_ledger = ledger
        self._meter = meter or Meter()
        self._now = now
        self._node = Node()
        self._was_node_slow = False
        self._ledger: Ledger | None = None
        self._pasts: dict[tuple[str, str], Past] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Go on with what was kept."""
        ledger = self._present_ledger()
        by_probe: dict[tuple[str, str], list[KeptBaseline]] = {}
        for row in await self._archive.latest_baselines(frozenset(ledger.probes)) or ():
            by_probe.setdefault((row.disk, row.probe), []).append(row)
        for key, entry in ledger.probes.items():
            if kept := by_probe.get(key):
                past, last = self._past(entry), max(kept, key=attrgetter("kept_unix"))
                past.restore([row for row in kept if row.conditions == last.conditions])
                past.show(None)

    def begin(self, entry: ProbeEntry, disk: DiskEntry | None) -> None:
        """A run is about to start."""
        self._meter.begin((entry.disk, entry.probe), device_of(disk))

    def book(self, entry: ProbeEntry, result: RunResult, *, is_cut_short: bool) -> None:
        """Have a run that has ended judged."""
        disk = self._present_ledger().disks.get(entry.disk)
        if disk is None or not self._is_present(entry):
            return
        task = asyncio.get_running_loop().create_task(self._judge(entry, disk, result, is_cut_short))
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def look(self) -> None:
        """Time has passed: to be called now and then, at no cost to speak of."""
        self._adopt_ledger()
        self._node.look(self._now())
        self._tell()

    def keep(self) -> None:
        """Have all that is known kept."""
        for past in self._pasts.values():
            self._keep(past)

    def tracks_of(self, entry: ProbeEntry) -> dict[str, Track]:
        return self._past(entry).tracks

    def _past(self, entry: ProbeEntry) -> Past:
        key = (entry.disk, entry.probe)
        if key not in self._pasts or self._pasts[key].entry is not entry:
            self._pasts[key] = Past(entry=entry, keep_unix=next_unix(key, self._now()))
        return self._pasts[key]

    def _keep(self, past: Past) -> None:
        now_unix = self._now()
        past.keep_unix = next_unix((past.entry.disk, past.entry.probe), now_unix)
        self._archive.keep(past.new_rows(now_unix))

    async def _judge(self, entry: ProbeEntry, disk: DiskEntry, result: RunResult, is_cut_short: bool) -> None:
        device, rotational = device_of(disk), disk.identity.get("rotational", "")
        load = await self._meter.end((entry.disk, entry.probe), device, own_of(result), rotational)
        self._adopt_ledger()
        if not self._is_present(entry):
            return  # a reload came in between
        past = self._past(entry)
        # What a scrub reaches follows its schedule, and its first cycle is another workload than all later ones.
        is_comparable = entry.scrub is None and await self._adopt(past, conditions.conditions_of(result, disk))
        self._adopt_ledger()
        if not self._is_present(entry):
            return
        if is_comparable:
            is_fit = result.is_success and not is_cut_short
            for ddir in transfers(result.options):
                run = measurement(result, ddir, entry.interval_s, load if is_fit else None)
                self._note((entry.disk, entry.probe, NAMES[ddir]), past.tracks.setdefault(NAMES[ddir], Track()), run)
        past.show(load.busy_ratio if load is not None and device else None)
        self._tell()
        # Where the clock was set back, too.
        if not 0 < past.keep_unix - self._now() <= KEEP_S:
            self._keep(past)
        self.on_judged(entry)

    def _note(self, key: tuple[str, str, str], track: Track, run: Measurement) -> None:
        state = track.look(run)
        word = None if state in (State.LEARNING, State.BUSY, State.FEW) else state is State.SLOW
        self._node.note(key, word, run.ended_unix, run.interval_s)
        track.settle(is_node_slow=self._node.is_slow)

    async def _adopt(self, past: Past, now: dict[str, str]) -> bool:
        """Compare with runs under these conditions alone; whether that can be."""
        differences = conditions.changes(past.conditions, now)
        if past.conditions and not differences:
            past.conditions = conditions.merged(past.conditions, now)
            return True
        if differences:
            self._keep(past)
            # That may still be on its way to the disk; what is sought here is older.
        disk, probe = past.entry.disk, past.entry.probe
        rows = await self._archive.baselines_of(disk, probe)
        if rows is None:
            past.unread_since_unix = past.unread_since_unix if past.unread else self._now()
            if past.unread < UNREAD or abs(self._now() - past.unread_since_unix) < UNREAD_S:
                past.unread += 1
                return False
        past.conditions, past.tracks, past.unread = now, {}, 0
        fitting = [row for row in rows or () if is_fitting(row, now)]
        past.restore([row for row in fitting if row.conditions == fitting[0].conditions])
        if differences:
            begins = "that from before is taken up again" if past.tracks else "a new one begins"
            text = "the baseline of %s on %s is set aside (%s): %s"
            log.warning(text, probe, disk, "; ".join(differences), begins, extra=fields(disk=disk, probe=probe))
        return True

    def _is_present(self, entry: ProbeEntry) -> bool:
        return self._present_ledger().probes.get((entry.disk, entry.probe)) is entry

    def _adopt_ledger(self) -> None:
        """Have what a reload has dropped kept, and forgotten here."""
        ledger = self._present_ledger()
        if ledger is self._ledger:
            return
        self._ledger = ledger
        self._node.retain(ledger.probes, self._now())
        for key, past in list(self._pasts.items()):
            if ledger.probes.get(key) is not past.entry:
                self._keep(past)
                del self._pasts[key]

    def _tell(self) -> None:
        self._present_ledger().slow_disks_ratio = self._node.slow_ratio
        if self._node.is_slow != self._was_node_slow:
            self._was_node_slow = self._node.is_slow
            if self._node.is_slow:
                text = "%.0f %% of the disks are slow at once: it is something that they share; scores are held back"
                log.warning(text, 100 * self._node.slow_ratio)
            else:
                log.info("most disks are not slow any more, or not judged any more: scores go on")

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("judging a run failed: please report", exc_info=error)


def next_unix(key: tuple[str, str], now_unix: float) -> float:
    """The next moment at which a probe's turn to be kept comes. Not that of all of a node at once."""
    phase_s = zlib.crc32("\0".join(key).encode()) / 2**32 * KEEP_S
    return now_unix + KEEP_S - (now_unix - phase_s) % KEEP_S


def device_of(disk: DiskEntry | None) -> str:
    return disk.identity.get("device", "") if disk is not None else ""


def own_of(result: RunResult) -> Own:
    page = result.page
    return Own(
        ios=sum(page.counter(Counter.IOS, ddir) for ddir in NAMES),
        bytes=sum(page.counter(Counter.BYTES, ddir) for ddir in NAMES),
        time_s=sum(page.histogram(Latency.CLAT, ddir).sum_ns for ddir in NAMES) / 1e9,
    )


def measurement(result: RunResult, ddir: int, interval_s: float, load: ForeignLoad | None) -> Measurement:
    """Without a load, or in a run that failed, nothing can be told."""
    latency = result.page.histogram(Latency.CLAT, ddir)
    runtime_s = result.page.runtime_ns(ddir) / 1e9
    return Measurement(
        ended_unix=result.ended_unix,
        interval_s=interval_s,
        ios=latency.count if load is not None else 0,
        p50_s=latency.quantile_ns(0.5) / 1e9 if latency.count else math.nan,
        p99_s=latency.quantile_ns(0.99) / 1e9 if latency.count else math.nan,
        bytes_per_second=result.page.counter(Counter.BYTES, ddir) / runtime_s if runtime_s > 0 else math.nan,
        load=load or ForeignLoad(),
    )


def is_fitting(row: KeptBaseline, now: dict[str, str]) -> bool:
    try:
        return not conditions.changes(conditions.decode(row.conditions), now)
    except ValueError:
        return False
