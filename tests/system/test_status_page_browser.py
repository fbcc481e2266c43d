"""The status page in a real browser: it draws itself, stays quiet, and is worked by keyboard, on a desk and a phone."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, PHONE, Tab, chromium
from status_site import FakeAgent, at_site, storage_node

from iovigil.agent.run_record import RunRecord
from iovigil.agent.web import words
from iovigil.engines.stats import StatsPage

pytestmark = pytest.mark.requires_chromium

IS_LIVE = "document.getElementById('fresh').textContent === 'live' && !!document.querySelector('#detail .chart')"
SCREENSHOTS = os.environ.get("IOVIGIL_SCREENSHOTS", "")
"""A directory to leave pictures in, for people to look at."""

# WCAG 2.2: relative luminance and contrast of text against what is painted beneath it.
CONTRASTS = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgba(getComputedStyle(each).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const luminance = (colour) => colour.slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const weak = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join('');
    if (!text || !element.checkVisibility() || element.closest('.unseen, .skip, noscript')) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(rgba(element.closest('svg') ? style.fill : style.color)), luminance(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) weak.push(`${text.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return weak;
})()
"""


OVERLAPS = """
(() => {
  const boxes = ['matrix', 'detail', 'failures', 'mismatches']
    .map((id) => [id, document.getElementById(id).getBoundingClientRect()]);
  return boxes.flatMap(([a, first], place) => boxes.slice(place + 1)
    .filter(([, other]) => first.left < other.right - 1 && other.left < first.right - 1
      && first.top < other.bottom - 1 && other.top < first.bottom - 1).map(([b]) => `${a} ${b}`));
})()
"""


def browsed(tmp_path: Path, agent: FakeAgent, look: Callable[[Tab, str], Awaitable[None]], **options: Any) -> None:
    """Have a look at the agent's page; the browser must have had nothing to complain of."""

    async def client(root: str) -> None:
        async with chromium(tmp_path / "profile") as tab:
            await tab.prepare(options.pop("size", DESKTOP), **options)
            await look(tab, root)
            assert tab.complaints == []
            elsewhere = [url for url in tab.requested if not url.startswith((root, "data:", "about:"))]
            assert elsewhere == []

    at_site(agent, client, deadline_s=90.0)


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_the_page_draws_itself_and_can_be_read(
    tmp_path: Path, size: tuple[int, int], is_dark: bool, request: pytest.FixtureRequest
) -> None:
    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/")
        await tab.until(IS_LIVE)
        assert await tab.evaluate("document.querySelectorAll('#rows tr').length") == 12
        assert await tab.evaluate("document.querySelectorAll('#rows .spark').length") > 30
        assert await tab.evaluate("document.title") == "(3) store-07.example.net – iovigil"  # noqa: RUF001
        assert "hdd-07" in await tab.evaluate("document.getElementById('detail-title').textContent")
        assert await tab.evaluate("document.querySelectorAll('#failure-list details').length") > 0
        assert await tab.evaluate("document.querySelectorAll('#mismatch-list li').length") == 2
        assert "backplane" in await tab.evaluate("document.getElementById('notes').textContent")
        assert await tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, "it scrolls sideways"
        assert await tab.evaluate(CONTRASTS) == []
        for place in (0, 600, 99999):
            await tab.evaluate(f"scrollTo(0, {place})")
            assert await tab.evaluate(OVERLAPS) == []
        ground = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(15, 18, 22)" if is_dark else "rgb(246, 247, 249)")
        if SCREENSHOTS:
            await tab.screenshot(Path(SCREENSHOTS) / f"status-{request.node.callspec.id}.png", is_whole=True)

    browsed(tmp_path, storage_node(), look, size=size, is_dark=is_dark)


def test_the_page_keeps_itself_new_without_flicker(tmp_path: Path) -> None:
    agent = storage_node()

    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/")
        await tab.until(IS_LIVE)
        await tab.evaluate(
            "document.querySelector('[data-disk=nvme-05] [data-probe=latency] a').focus();"
            "window.kept = document.querySelector('[data-disk=nvme-05]'); window.changes = 0;"
            "new MutationObserver((all) => { changes += all.flatMap((each) => [...each.removedNodes])"
            ".filter((each) => each.nodeType === 1).length })"
            ".observe(document.getElementById('rows'), { childList: true, subtree: true })"
        )
        page = StatsPage.private()
        agent.ledger.probes["nvme-05", "latency"].live = page
        agent.runs.add(
            RunRecord(
                id=10**6,
                name="x",
                disk="hdd-06",
                probe="scrub",
                started_unix=2e9,
                duration_s=1.0,
                engine="psync",
                failure="io_error",
                message="just now",
            )
        )
        cell = "document.querySelector('[data-disk=nvme-05] [data-probe=latency]')"
        await tab.until(f"{cell}.classList.contains('s-running')")
        assert await tab.evaluate("window.kept === document.querySelector('[data-disk=nvme-05]')")
        assert await tab.evaluate(f"{cell}.contains(document.activeElement)"), "the focus was lost"
        await tab.until("document.getElementById('failure-list').textContent.includes('just now')")
        # The cell of the run that began, and the one whose line has a run more.
        assert await tab.evaluate("changes") <= 3

    browsed(tmp_path, agent, look)


def test_the_page_is_worked_by_keyboard(tmp_path: Path) -> None:
    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/")
        await tab.until(IS_LIVE)
        await tab.press("Tab")
        assert await tab.evaluate("document.activeElement.className") == "skip"
        outlines = set()
        for _ in range(60):
            await tab.press("Tab")
            outlines.add(await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
            if await tab.evaluate("!!document.activeElement.closest('#rows td')"):
                break
        assert outlines == {"solid"}, "not every stop of the focus can be seen"
        where = "['tr', 'td'].map((each) => Object.values(document.activeElement.closest(each).dataset)[0]).join(' ')"
        assert await tab.evaluate(where) == "nvme-00 latency"
        await tab.press("ArrowDown")
        await tab.press("ArrowRight")
        assert await tab.evaluate(where) == "nvme-01 integrity"
        await tab.press("Enter")
        await tab.until("document.getElementById('detail-title').textContent === 'Latency of nvme-01'")
        assert await tab.evaluate("location.hash") == "#disk=nvme-01&probe=integrity"
        await tab.evaluate("document.querySelector('#detail .chart').focus()")
        await tab.press("ArrowLeft")
        assert "p99" in await tab.evaluate("document.querySelector('#detail .readout').textContent")
        await tab.evaluate("document.querySelector('#failure-list summary').focus()")
        await tab.press("Enter")
        await tab.until("!!document.querySelector('#failure-list details[open] pre')?.textContent")
        await tab.evaluate("document.getElementById('theme').focus()")
        await tab.press("Enter")
        await tab.press("Enter")
        assert await tab.evaluate("document.documentElement.dataset.theme") == "dark"
        await tab.go(f"{root}/?again")
        await tab.until(IS_LIVE)
        assert await tab.evaluate("document.documentElement.dataset.theme") == "dark", "the choice was forgotten"

    browsed(tmp_path, storage_node(), look)


def test_what_is_sought_is_shown_alone(tmp_path: Path) -> None:
    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/")
        await tab.until(IS_LIVE)
        shown = "[...document.querySelectorAll('#rows tr')].filter((row) => !row.hidden).map((row) => row.dataset.disk)"
        await tab.evaluate("document.getElementById('filter').focus()")
        await tab.call("Input.insertText", text="S4YNNE0N00003")
        assert await tab.evaluate(shown) == ["nvme-03"]
        await tab.evaluate("document.getElementById('filter').value = ''; document.getElementById('trouble').click()")
        assert await tab.evaluate(shown) == ["nvme-04", "nvme-05", "hdd-07", "hdd-08", "hdd-09", "hdd-10"]

    browsed(tmp_path, storage_node(), look)


def test_an_operator_pauses_and_starts_where_that_is_enabled(tmp_path: Path) -> None:
    agent = storage_node()
    agent.is_control_enabled = True

    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/#disk=nvme-02&probe=latency")
        await tab.until(IS_LIVE)
        await tab.evaluate("document.querySelector('[aria-label=\"Run now: latency on nvme-02\"]').click()")
        await tab.until("document.getElementById('spoken').textContent === 'latency on nvme-02: started'")
        await tab.evaluate("document.querySelector('[aria-label=\"Pause: latency on nvme-02\"]').click()")
        await tab.until("!!document.querySelector('[data-disk=nvme-02] [data-probe=latency].s-paused')")
        await tab.until("!!document.querySelector('[aria-label=\"Resume: latency on nvme-02\"]')")

    browsed(tmp_path, agent, look)
    assert agent.control is not None
    assert agent.control.started == [("nvme-02", "latency")]
    assert ("nvme-02", "latency") in [(each.disk, each.probe) for each in agent.control.pauses]


def test_nothing_can_be_done_where_that_is_not_enabled(tmp_path: Path) -> None:
    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/")
        await tab.until(IS_LIVE)
        assert await tab.evaluate("document.querySelectorAll('.actions').length") == 0

    browsed(tmp_path, storage_node(), look)


def test_the_matrix_is_there_without_scripts(tmp_path: Path) -> None:
    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/")
        await asyncio.sleep(1)
        tree = await tab.call("Accessibility.getFullAXTree")
        named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree["nodes"]]
        roles = [role for role, _ in named]
        for role, number in (("row", 13), ("columnheader", 5), ("rowheader", 12), ("main", 1), ("banner", 1)):
            assert roles.count(role) == number, role
        assert ("heading", "Needs attention") in named
        assert "button" not in roles, "a button that does nothing"

    browsed(tmp_path, storage_node(), look, is_scripted=False, size=PHONE)


def test_the_browser_says_figures_as_the_server_does(tmp_path: Path) -> None:
    latencies = [4.2e-8, 9e-7, 9.996e-7, 1e-6, 2.4149e-4, 9.9951e-4, 1e-3, 0.0125, 0.1004, 0.12351, 1.0, 99.96]
    durations = [-3, 0, 0.4, 59.6, 119.9, 120, 3599, 7199, 7201, 86399, 172799, 172801, 1e7]

    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/")
        await tab.until(IS_LIVE)
        place = await tab.evaluate("document.querySelector('script[type=module]').src.replace('status.js', 'words.js')")
        for name, values in (("latency", latencies), ("duration", durations)):
            said = await tab.evaluate(f"import('{place}').then((words) => {values}.map(words.{name}))")
            assert said == [getattr(words, name)(each) for each in values]

    browsed(tmp_path, storage_node(), look)


def test_an_agent_that_does_not_answer_is_said(tmp_path: Path) -> None:
    async def look(tab: Tab, root: str) -> None:
        await tab.go(f"{root}/")
        await tab.until(IS_LIVE)
        await tab.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        await tab.until("document.getElementById('fresh').classList.contains('stale')", 40.0)
        assert await tab.evaluate("document.querySelectorAll('#rows tr').length") == 12, "what was known is gone"
        tab.complaints.clear()  # the browser itself says that it is offline

    browsed(tmp_path, storage_node(), look)
