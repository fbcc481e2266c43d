"""The status page as the server writes it, without a browser: what stands on it, and what it needs."""

import re
import time

from fake_page import FakePage, result_of
from ledgers import READ, ledger_of, probe
from status_site import FakeAgent, storage_node
from test_api import ask_once

from iovigil.agent.ledger import Failure, Ledger
from iovigil.agent.web import words


def text_of(agent: FakeAgent, path: str = "/") -> str:
    return ask_once(agent, path, headers={"Accept-Encoding": "identity"}).body.decode()


def cells(page: str) -> dict[tuple[str, str], str]:
    """What stands in each cell of the matrix."""
    found = {}
    for disk, row in re.findall(r'<tr role="row" class="[^"]*" data-disk="([^"]*)">(.*?)</tr>', page, re.DOTALL):
        for probe_name, cell in re.findall(r'<td [^>]*data-probe="([^"]*)">(.*?)</td>', row, re.DOTALL):
            found[disk, probe_name] = " ".join(re.sub(r"<[^>]*>", " ", cell).split())
    return found


def test_the_matrix_is_whole_without_scripts() -> None:
    told = cells(text_of(storage_node()))
    assert len(told) == 42
    assert told["nvme-00", "integrity"].startswith("running")
    assert told["nvme-03", "integrity"].startswith("verifying")
    assert "corruption" in told["nvme-04", "integrity"]
    assert told["hdd-07", "latency"].startswith("stuck")
    assert "Input/output error" in told["hdd-08", "throughput"]
    assert "the disk is not there" in told["hdd-09", "scrub"]
    assert "backplane is being replaced" in told["hdd-10", "latency"]
    assert re.search(r"ok 408 µs \d+ s ago · next in \d+ min", told["nvme-00", "latency"])


def test_what_a_disk_says_is_text() -> None:
    entry = probe("data1")
    message = "data1: <script>alert(1)</script> & more"
    entry.last = result_of(FakePage(), READ, ended_unix=time.time() - 200, failure=Failure.IO_ERROR, message=message)
    page = text_of(FakeAgent(ledger_of(entry)))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "<script>alert" not in page


def test_data_corruption_is_not_forgotten_after_a_good_run() -> None:
    entry = probe()
    entry.last_mismatch_unix = time.time() - 7300
    entry.last = result_of(FakePage(), READ, ended_unix=time.time())
    page = text_of(FakeAgent(ledger_of(entry)))
    assert "corruption 2 h ago" in cells(page)["data0", "latency"]
    assert "data corruption was found" in page


def test_a_refused_configuration_and_an_empty_one_are_said() -> None:
    page = text_of(FakeAgent(Ledger(last_reload_successful=False)))
    assert "No disk is configured" in page
    assert "check-config" in page


def test_the_page_takes_nothing_from_elsewhere() -> None:
    agent = storage_node(12, 3)
    answer = ask_once(agent, "/")
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self';")
    page = text_of(agent)
    assert " style=" not in page
    assert "http://" not in page
    assert "https://" not in page
    files = set(re.findall(r'(?:src|href)="(/static/[^"]*)"', page))
    assert {name.rsplit("/", 1)[-1] for name in files} == {"icon.svg", "status.css", "status.js", "theme.js"}
    for name in files:
        file = ask_once(agent, name)
        assert file.status == 200
        assert "immutable" in file.headers["Cache-Control"]
    assert ask_once(agent, "/static/other/status.css").headers["Cache-Control"] == "no-cache"
    for name in ("../page.py", "%2e%2e%2fpage.py", "index.html", "none.js"):
        assert ask_once(agent, f"/static/x/{name}").status == 404


def test_figures_are_short_and_have_a_unit() -> None:
    assert [words.latency(each) for each in (2.5, 0.0125, 0.000241, 0.123456, 9e-7)] == [
        "2.5 s",
        "12.5 ms",
        "241 µs",
        "123 ms",
        "900 ns",
    ]
    assert [words.duration(each) for each in (-1, 59, 119, 121, 7199, 7201, 172800)] == [
        "0 s",
        "59 s",
        "119 s",
        "2 min",
        "120 min",
        "2 h",
        "2 d",
    ]
