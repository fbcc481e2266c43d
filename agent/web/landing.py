"""The landing page: what this is, where to go, and how each probe stands on each disk."""

import time
from collections.abc import Iterator
from html import escape

import iovigil
from iovigil.agent.ledger import DiskEntry, Ledger, ProbeEntry

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>iovigil</title>
<style>
:root {{ color-scheme: light dark; --text: #1c1e21; --ground: #ffffff; --line: #d8dce0;
  --good: #14702c; --bad: #b3171f }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #e4e6e8; --ground: #16181b; --line: #3a3f45; --good: #62c47a; --bad: #ff8080 }}
}}
body {{ margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif;
  color: var(--text); background: var(--ground) }}
a {{ color: inherit; margin-right: 1rem }}
.table {{ overflow-x: auto }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line) }}
td.message {{ min-width: 16rem; overflow-wrap: anywhere }}
.good {{ color: var(--good) }}
.bad {{ color: var(--bad); font-weight: bold }}
</style>
</head>
<body>
<h1>iovigil {version}</h1>
<p>Finds the bad disk before its users do: scheduled I/O and verify probes on this host's disks.</p>
<p><a href="/metrics">metrics</a><a href="/-/healthy">healthy</a><a href="/-/ready">ready</a></p>
{notice}<div class="table"><table>
<thead><tr><th>disk</th><th>probe</th><th>state</th><th>last run</th><th>result</th><th>message</th></tr></thead>
<tbody>
{rows}</tbody>
</table></div>
</body>
</html>
"""

RELOAD_REFUSED = """\
<p class="bad">The last configuration was refused; the one before is in force.
<code>iovigil check-config</code> says why.</p>
"""

NO_PROBES = '<tr><td colspan="6">No probe is configured for any disk.</td></tr>\n'


def render(ledger: Ledger) -> str:
    now_unix = time.time()
    rows = "".join(row(entry, ledger.disks.get(entry.disk), now_unix) for entry in ledger.probes.values())
    return PAGE.format(
        version=escape(iovigil.__version__),
        notice="" if ledger.last_reload_successful else RELOAD_REFUSED,
        rows=rows or NO_PROBES,
    )


def row(entry: ProbeEntry, disk: DiskEntry | None, now_unix: float) -> str:
    return "<tr>" + "".join(cells(entry, disk, now_unix)) + "</tr>\n"


def cells(entry: ProbeEntry, disk: DiskEntry | None, now_unix: float) -> Iterator[str]:
    state = state_of(entry, disk)
    yield cell(entry.disk)
    yield cell(entry.probe)
    yield cell(state, "bad" if state in ("stuck", "absent") else "")
    if entry.last is None:
        yield cell("never") + cell("") + cell(memory(entry, now_unix), "message")
        return
    yield cell(f"{duration(now_unix - entry.last.ended_unix)} ago")
    yield cell("ok", "good") if entry.last.failure is None else cell(entry.last.failure, "bad")
    yield cell(entry.last.message or memory(entry, now_unix), "message")


def memory(entry: ProbeEntry, now_unix: float) -> str:
    """What a good run since then does not undo."""
    if not entry.last_mismatch_unix:
        return ""
    return f"data corruption was found {duration(now_unix - entry.last_mismatch_unix)} ago"


def state_of(entry: ProbeEntry, disk: DiskEntry | None) -> str:
    """What the probe is doing: a run state in fio's word, or why it does nothing."""
    if entry.live is not None:
        return (entry.live.state.name or "running").lower().replace("_", " ")
    if entry.stuck is not None or (disk and disk.is_stuck):
        return "stuck"
    if disk and not disk.is_present:
        return "absent"
    return "waiting"


def cell(text: str, style: str = "") -> str:
    opening = f'<td class="{style}">' if style else "<td>"
    return f"{opening}{escape(text)}</td>"


def duration(seconds: float) -> str:
    """A span in the largest unit that fits, for reading at a glance."""
    for length_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
