"""The status page as the server writes it: whole without scripts; with them it keeps itself up to date."""

import time
from collections.abc import Iterator, Sequence
from html import escape
from string import Template
from typing import Final

from iovigil.agent.web import resources, words
from iovigil.agent.web.resources import State

QUIET: Final = frozenset({State.OK, State.NEW, State.RUNNING, State.WAITING})
"""States that nobody has to do anything about."""


def render(
    template: Template,
    static: str,
    agent: resources.Agent,
    disks: Sequence[resources.Disk],
    pauses: Sequence[resources.Paused],
) -> str:
    now_unix = time.time()
    probes = list(dict.fromkeys(probe.probe for disk in disks for probe in disk.probes))
    return template.substitute(
        static=static,
        host=escape(agent.host or "this host"),
        version=escape(agent.version),
        now=f"{now_unix:.0f}",
        time=time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now_unix)),
        tally="".join(tally(agent)),
        attention="".join(attention(agent, disks, pauses, now_unix)),
        heads="".join(f'<th scope="col" role="columnheader">{escape(probe)}</th>' for probe in probes),
        rows="".join(row(disk, probes, now_unix) for disk in disks)
        or f'<tr role="row"><td role="cell" colspan="{len(probes) + 1}">No disk is configured.</td></tr>',
    )


def glyph(state: str) -> str:
    return f'<svg class="glyph" aria-hidden="true" width="16" height="16"><use href="#g-{state}"/></svg>'


def tally(agent: resources.Agent) -> Iterator[str]:
    for state in State:
        if number := agent.states.get(state, 0):
            yield f'<li class="chip s-{state}">{glyph(state)}<b>{number}</b> {state}</li>'


def attention(
    agent: resources.Agent, disks: Sequence[resources.Disk], pauses: Sequence[resources.Paused], now_unix: float
) -> Iterator[str]:
    """What an operator should know of, the worst first."""
    notes: list[tuple[int, str]] = []
    order = list(State)
    if not agent.last_reload_successful:
        text = "The last configuration was refused; the one before is in force. iovigil check-config says why."
        notes.append((-1, note("failed", "configuration", text, "")))
    for pause in pauses:
        end = f"ends {words.ahead(pause.until_unix, now_unix)}" if pause.until_unix else "until it is resumed"
        what = f"{everything(pause.disk, 'disk')} · {everything(pause.probe, 'probe')}"
        notes.append((order.index(State.PAUSED), note("paused", what, pause.reason or "paused", end)))
    for disk in disks:
        alike: dict[tuple[State, str], list[resources.Probe]] = {}
        for probe in disk.probes:
            if probe.state not in QUIET and (probe.state is not State.PAUSED or not pauses):
                alike.setdefault((probe.state, probe.reason), []).append(probe)
            is_told = probe.state is State.FAILED and probe.last_run is not None and probe.last_run.failure == "verify"
            if probe.last_mismatch_unix is not None and not is_told:
                when = words.ago(probe.last_mismatch_unix, now_unix)
                what = f"{disk.name} · {probe.probe}"
                notes.append((order.index(State.FAILED), note("failed", what, "data corruption was found", when)))
        for (state, reason), probes in alike.items():
            names = "every probe" if len(probes) == len(disk.probes) > 1 else ", ".join(each.probe for each in probes)
            notes.append(
                (order.index(state), note(state, f"{disk.name} · {names}", reason, since(probes[0], now_unix)))
            )
    yield from (text for _, text in sorted(notes, key=lambda each: each[0]))


def note(state: str, what: str, text: str, when: str) -> str:
    last = f' <span class="when">{escape(when)}</span>' if when else ""
    return (
        f'<li class="note s-{state}">{glyph(state)}<b class="word">{state}</b> '
        f'<span class="what">{escape(what)}</span> <span class="text">{escape(text)}</span>{last}</li>'
    )


def since(probe: resources.Probe, now_unix: float) -> str:
    if probe.state is State.SKIPPED and probe.last_skip_unix:
        return words.ago(probe.last_skip_unix, now_unix)
    if probe.state is State.FAILED and probe.last_run is not None:
        return words.ago(probe.last_run.ended_unix, now_unix)
    return ""


def everything(name: str, what: str) -> str:
    return f"every {what}" if name == "*" else name


def row(disk: resources.Disk, probes: Sequence[str], now_unix: float) -> str:
    by_name = {probe.probe: probe for probe in disk.probes}
    cells = "".join(cell(disk, by_name.get(name), name, now_unix) for name in probes)
    label = escape(disk.name)
    identity = " · ".join(filter(None, (disk.identity.get(key, "") for key in ("model", "transport", "device"))))
    head = (
        f'<th scope="row" role="rowheader"><a class="disk" href="#disk={label}">{label}</a>'
        f'<span class="identity">{escape(identity or disk.path)}</span></th>'
    )
    return f'<tr role="row" class="s-{disk.state}" data-disk="{label}">{head}{cells}</tr>\n'


def cell(disk: resources.Disk, probe: resources.Probe | None, name: str, now_unix: float) -> str:
    label = escape(name)
    if probe is None:
        return (
            '<td role="cell" class="cell none">'
            '<span aria-hidden="true">&ndash;</span><span class="unseen">not on this disk</span></td>'
        )
    return (
        f'<td role="cell" class="cell s-{probe.state}" data-probe="{label}">'
        f'<div class="in" data-label="{label}">'
        f'<a class="state" href="#disk={escape(disk.name)}&amp;probe={label}">{glyph(probe.state)}'
        f"<span>{probe.phase or probe.state}</span></a>{''.join(lines(probe, now_unix))}</div></td>"
    )


def lines(probe: resources.Probe, now_unix: float) -> Iterator[str]:
    if (p99_s := worst_p99_s(probe)) is not None:
        yield f'<span class="figure">{words.latency(p99_s)}</span>'
    if probe.state not in (State.OK, State.RUNNING) and probe.reason:
        yield f'<span class="why">{escape(probe.reason)}</span>'
    if probe.last_mismatch_unix is not None:
        yield f'<span class="why bad">corruption {words.ago(probe.last_mismatch_unix, now_unix)}</span>'
    times = []
    if probe.last_run is not None:
        times.append(words.ago(probe.last_run.ended_unix, now_unix))
    if probe.next_unix is not None:
        times.append(f'<span class="unseen">next </span>{words.ahead(probe.next_unix, now_unix)}')
    if times:
        yield f'<span class="when">{" · ".join(times)}</span>'


def worst_p99_s(probe: resources.Probe) -> float | None:
    """The p99 of the operation that is slowest."""
    if probe.last_run is None:
        return None
    return max((latency["0.99"] for latency in probe.last_run.latency_s.values() if "0.99" in latency), default=None)
