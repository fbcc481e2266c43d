"""How each probe stands on each disk, in a word and with the reason, from the ledger and the plan."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry
from iovigil.agent.pauses import Pause
from iovigil.agent.run_record import latencies
from iovigil.agent.web import resources
from iovigil.agent.web.resources import State
from iovigil.agent.web.sources import Upcoming

SKIPPED: Final[Mapping[str, str]] = {
    "overlap": "its run before still held the disk",
    "concurrency": "another probe held the disk, or all workers were taken",
    "stuck": "a child that does not end holds the disk",
    "quarantined": "an I/O did not come back, and the disk was not yet to be tried again",
    "absent": "the disk was not there",
    "missed": "the agent or the machine slept through it",
    "pressure": "the host was under I/O pressure",
    "paused": "it was paused",
    "window": "it was outside of its time window",
    "blackout": "a blackout was on",
    "standby": "the disk was asleep, and was left so",
}
"""Reasons in words; another one stands for itself."""
AS_MEANT: Final[Mapping[str, State]] = {
    "window": State.WAITING,
    "blackout": State.PAUSED,
    "paused": State.PAUSED,
    "standby": State.WAITING,
}
"""Starts that were not made because somebody wanted it so: nothing is wrong."""
WORST_FIRST: Final = {state: place for place, state in enumerate(State)}


class Standing:
    """One view of the moment: made for an answer, and thrown away with it."""

    def __init__(self, ledger: Ledger, upcoming: Iterable[Upcoming] = (), pauses: Sequence[Pause] = ()) -> None:
        self._ledger = ledger
        self._upcoming = {(turn.disk, turn.probe): turn for turn in upcoming}
        self._pauses = pauses
        self._now_unix = time.time()

    def disks(self) -> list[resources.Disk]:
        by_disk: dict[str, list[ProbeEntry]] = {name: [] for name in self._ledger.disks}
        for entry in self._ledger.probes.values():
            by_disk.setdefault(entry.disk, []).append(entry)
        return [self.disk(disk, by_disk[disk.name]) for disk in self._ledger.disks.values()]

    def disk(self, disk: DiskEntry, entries: Iterable[ProbeEntry]) -> resources.Disk:
        probes = [self.probe(entry, disk) for entry in entries]
        bare = State.OK if disk.is_present else State.ABSENT
        return resources.Disk(
            name=disk.name,
            state=min((probe.state for probe in probes), key=WORST_FIRST.__getitem__, default=bare),
            target=disk.target,
            path=disk.path,
            is_present=disk.is_present,
            is_stuck=disk.is_stuck,
            held_by=disk.held_by or None,
            is_quarantined=disk.is_quarantined,
            quarantine_end_unix=disk.quarantine_end_unix or None,
            identity=dict(disk.identity),
            probes=probes,
        )

    def probe(self, entry: ProbeEntry, disk: DiskEntry) -> resources.Probe:
        turn = self._upcoming.get((entry.disk, entry.probe))
        state, reason = self._judge(entry, disk, turn)
        return resources.Probe(
            probe=entry.probe,
            state=state,
            reason=reason,
            phase=phase_of(entry),
            rw=entry.options.rw,
            engine=entry.engine,
            interval_s=entry.interval_s,
            timeout_s=entry.timeout_s,
            oldest_inflight_s=round(entry.oldest_inflight_s(), 3),
            runs=entry.runs,
            failures={cause.value: number for cause, number in entry.failures.items()},
            skips={skip.value: number for skip, number in entry.skips.items()},
            last_run=last_run_of(entry),
            last_success_unix=entry.last_success_unix or None,
            last_mismatch_unix=entry.last_mismatch_unix or None,
            last_skip=word(turn.last_skip) if turn else None,
            last_skip_unix=(turn.last_skip_unix or None) if turn else None,
            next_unix=finite(turn.next_unix) if turn else None,
            due_unix=turn.due_unix if turn else None,
        )

    def turns(self) -> list[resources.Turn]:
        turns = [
            resources.Turn(
                disk=disk.name,
                probe=probe.probe,
                interval_s=probe.interval_s,
                state=probe.state,
                reason=probe.reason,
                next_unix=probe.next_unix,
                due_unix=probe.due_unix,
                last_skip=probe.last_skip,
                last_skip_unix=probe.last_skip_unix,
            )
            for disk in self.disks()
            for probe in disk.probes
        ]
        return sorted(turns, key=lambda turn: turn.due_unix or turn.next_unix or math.inf)

    def pauses(self) -> list[resources.Paused]:
        return [
            resources.Paused(disk=each.disk, probe=each.probe, until_unix=each.until_unix, reason=each.reason)
            for each in self._pauses
        ]

    def _judge(self, entry: ProbeEntry, disk: DiskEntry, turn: Upcoming | None) -> tuple[State, str]:
        """The word for it and the reason: what keeps it from running comes before how it ran last."""
        if entry.stuck is not None:
            return State.STUCK, f"its child{of_pid(disk)} does not end, not even on SIGKILL: an I/O has not come back"
        if entry.live is not None:
            if disk.is_stuck:
                text = (
                    "on trial: is the disk back?"
                    if disk.is_quarantined
                    else "an I/O does not come back; the run goes on"
                )
                return State.STUCK, text
            return State.RUNNING, phase_of(entry) or ""
        if entry.hung_since_s is not None:
            return State.STUCK, f"its run was ended with an I/O that had not come back; {again(disk)}"
        if disk.held_by:
            return State.SKIPPED, f"a child that does not end{of_pid(disk)} holds the disk"
        if disk.is_quarantined:
            return State.SKIPPED, f"the disk is in quarantine: {again(disk)}"
        if disk.is_stuck:
            return State.SKIPPED, "an I/O of another probe does not come back"
        if not disk.is_present:
            return State.ABSENT, "the disk is not there"
        if (pause := self._pause_of(entry)) is not None:
            return State.PAUSED, pause.reason or "paused by an operator"
        if turn is not None and turn.due_unix is not None:
            return State.WAITING, "its time has come: it waits for the disk or for a worker"
        last_unix = entry.last.started_unix if entry.last is not None else 0.0
        if turn is not None and turn.last_skip and (turn.last_skip_unix or 0.0) > last_unix:
            reason = word(turn.last_skip) or ""
            return AS_MEANT.get(reason, State.SKIPPED), SKIPPED.get(reason, reason)
        if entry.last is None:
            return State.NEW, "has not run since the agent started" if entry.runs else "has not run yet"
        if entry.last.failure is not None:
            return State.FAILED, entry.last.message or entry.last.failure.value
        return State.OK, ""

    def _pause_of(self, entry: ProbeEntry) -> Pause | None:
        for pause in self._pauses:
            if pause.covers(entry.disk, entry.probe) and not pause.has_ended(self._now_unix):
                return pause
        return None


def last_run_of(entry: ProbeEntry) -> resources.LastRun | None:
    last = entry.last
    if last is None:
        return None
    return resources.LastRun(
        started_unix=last.started_unix,
        ended_unix=last.ended_unix,
        duration_s=last.duration_s,
        failure=last.failure.value if last.failure is not None else None,
        message=last.message,
        latency_s=latencies(last.page),
    )


def phase_of(entry: ProbeEntry) -> str | None:
    """What the run under way is doing, in fio's word for it."""
    if entry.live is None:
        return None
    return (entry.live.state.name or "running").lower().replace("_", " ")


def of_pid(disk: DiskEntry) -> str:
    return f" (process {disk.held_by})" if disk.held_by else ""


def again(disk: DiskEntry) -> str:
    """When a disk in quarantine is tried again."""
    if not disk.quarantine_end_unix:
        return "it is tried again when its child has gone"
    at = time.strftime("%H:%M:%S", time.localtime(disk.quarantine_end_unix))
    return f"tried again at {at}" if disk.quarantine_end_unix > time.time() else "it is tried again now"


def word(skip: str | None) -> str | None:
    """The value of a Skip, which is an enumeration or its value."""
    return str(skip) if skip else None


def finite(unix: float) -> float | None:
    return unix if math.isfinite(unix) else None
