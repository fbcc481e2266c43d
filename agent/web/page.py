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
        until = f", until {words.ahead(pause.until_unix, now_unix)}" if pause.until_unix else ", until it is resumed"
        what = f"{everything(pause.disk, 'disk')} · {everything(pause.probe, 'probe')}"
        notes.append((order.index(State.PAUSED), note("paused", what, f"{pause.reason or 'paused'}{until}", "")))
    for disk in disks:
        for probe in disk.probes:
            what = f"{disk.name} · {probe.probe}"
            if probe.state not in QUIET and (probe.state is not State.PAUSED or not pauses):
                notes.append((order.index(probe.state), note(probe.state, what, probe.reason, since(probe, now_unix))))
            if probe.last_mismatch_unix is not None:
                text = f"data corruption was found {words.ago(probe.last_mismatch_unix, now_unix)}"
                notes.append((1, note("failed", what, text, "mismatch")))
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
            f'<td role="cell" class="cell none" data-label="{label}">'
            '<span aria-hidden="true">&ndash;</span><span class="unseen">not on this disk</span></td>'
        )
    return (
        f'<td role="cell" class="cell s-{probe.state}" data-label="{label}" data-probe="{label}">'
        f'<a class="state" href="#disk={escape(disk.name)}&amp;probe={label}">{glyph(probe.state)}'
        f"<span>{probe.state}</span></a>{''.join(lines(probe, now_unix))}</td>"
    )


def lines(probe: resources.Probe, now_unix: float) -> Iterator[str]:
    if (p99_s := worst_p99_s(probe)) is not None:
        yield f'<span class="figure">{words.latency(p99_s)}</span>'
    if probe.state is not State.OK and probe.reason:
        yield f'<span class="why">{escape(probe.reason)}</span>'
    if probe.last_mismatch_unix is not None:
        yield f'<span class="why bad">corruption {words.ago(probe.last_mismatch_unix, now_unix)}</span>'
    times = []
    if probe.last_run is not None:
        times.append(words.ago(probe.last_run.ended_unix, now_unix))
    if probe.next_unix is not None:
        times.append(f"next {words.ahead(probe.next_unix, now_unix)}")
    if times:
        yield f'<span class="when">{" · ".join(times)}</span>'


def worst_p99_s(probe: resources.Probe) -> float | None:
    """The p99 of the operation that is slowest."""
    if probe.last_run is None:
        return None
    return max((latency["0.99"] for latency in probe.last_run.latency_s.values() if "0.99" in latency), default=None)
