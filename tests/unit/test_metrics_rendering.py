"""The rendering of scrapes: what was kept of the one before is, to the byte, what prometheus-client renders anew."""

import dataclasses
import random
import typing
from collections.abc import Callable, Iterator

import pytest
from fake_page import FakePage, histogram_of, result_of
from hypothesis import given
from hypothesis import strategies as st
from ledgers import READ, WRITE_AND_VERIFY, ledger_of, probe
from prometheus_client.utils import floatToGoString

from iovigil.agent.config import ScrubSettings
from iovigil.agent.ledger import DiskEntry, Failure, LastRun, Ledger, ProbeEntry, RunResult, Skip
from iovigil.agent.metrics import exposition, rendering
from iovigil.agent.metrics.exposition import Exposition
from iovigil.agent.metrics.formats import OPENMETRICS, OPENMETRICS_TYPE, TEXT, Format
from iovigil.agent.slowdown.standing import Standing
from iovigil.agent.web_account import Refusal
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Latency, PackedPage, StatsPage

SCRUB = ScrubSettings(n=10, period_s=1000.0, every_s=100.0)
FORMATS = {TEXT: "", OPENMETRICS: "application/openmetrics-text;version=1.0.0"}


class AgingPage(FakePage):
    """A page with an I/O that does not come back."""

    age_ns = 0

    def oldest_inflight_ns(self) -> int:
        self.age_ns += 1_000_000_000
        return self.age_ns


def page_of(number: int) -> StatsPage:
    """A page with figures that follow from the number."""
    values = random.Random(number)
    sums = StatsPage.private().sums()
    for counted in sums["counters"].values():
        counted[:] = [values.randrange(1 << values.randrange(60)) for _ in counted]
    samples = sorted((values.randrange(1, 1 << values.randrange(1, 40)), values.randrange(1, 1000)) for _ in range(9))
    flat = [figure for sample in samples for figure in sample]
    kept = [samples[0][0], samples[-1][0], sum(value * number for value, number in samples), 1e9, *flat]
    for name in sums["latencies"]:
        sums["latencies"][name] = [kept, kept, None, None]
    sums["errors"][0] = {5: number, values.randrange(134): 1}
    sums["mismatches"]["TORN"] = number
    sums["runtime_ns"] = [number, 7, 0, 0]
    if number % 3 == 0:
        sums["scrub"] = [1 << 20, number, 3, 900, 2, 900, 400, 1]
    page = StatsPage.private()
    page.add_sums(sums)
    return page


def new_ledger() -> Ledger:
    names = {"latency": READ, "integrity": WRITE_AND_VERIFY, "all": JobOptions(rw="randrw", fsync=1)}
    entries = [probe(disk, name, options) for disk in ("a", "b", "%s %d") for name, options in names.items()]
    return ledger_of(*entries, probe("a", "scrub", JobOptions(rw="rw"), scrub=SCRUB))


def finish(_ledger: Ledger, entry: ProbeEntry, number: int) -> None:
    failure = None if number % 4 else Failure.IO_ERROR
    entry.finish(result_of(page_of(number), entry.options, ended_unix=1001.5 + number / 7, failure=failure))


def grow(_ledger: Ledger, entry: ProbeEntry, number: int) -> None:
    if entry.live is None:
        entry.begin(StatsPage.private())
    assert entry.live is not None
    entry.live.add(page_of(number))


def abandon(ledger: Ledger, entry: ProbeEntry, number: int) -> None:
    entry.stuck = AgingPage() if number % 2 else None  # type: ignore[assignment]
    ledger.disks[entry.disk].is_stuck = bool(number % 2)


def change_identity(ledger: Ledger, entry: ProbeEntry, number: int) -> None:
    ledger.disks[entry.disk].identity["model"] = f"M%d\x85\u2028{number}\n\\"
    ledger.disks[entry.disk].is_present = bool(number % 2)


def change_target(ledger: Ledger, entry: ProbeEntry, number: int) -> None:
    ledger.disks[entry.disk].target = "device" if number % 2 else "file"


def reload(_ledger: Ledger, entry: ProbeEntry, number: int) -> None:
    entry.options = WRITE_AND_VERIFY if number % 2 else READ
    entry.interval_s, entry.engine = float(number), f"engine{number % 3}"


def remove(ledger: Ledger, entry: ProbeEntry, _number: int) -> None:
    del ledger.probes[entry.disk, entry.probe]


def open_anew(ledger: Ledger, entry: ProbeEntry, _number: int) -> None:
    ledger.probes[entry.disk, entry.probe] = probe(entry.disk, entry.probe, entry.options)


def rearrange(ledger: Ledger, _entry: ProbeEntry, _number: int) -> None:
    ledger.probes = dict(reversed(ledger.probes.items()))


def book_small_things(ledger: Ledger, entry: ProbeEntry, number: int) -> None:
    entry.skip(list(Skip)[number % len(Skip)], 1000.0 + number, number)
    entry.is_paused = not entry.is_paused
    entry.pending_bytes, entry.unverified_bytes, entry.fallbacks = number, number + 1, number % 2
    ledger.start_delays.note(number / 10)
    ledger.web.refuse(Refusal.MALFORMED)
    ledger.workers_running = number


EVENTS: tuple[Callable[[Ledger, ProbeEntry, int], None], ...] = (
    finish, grow, abandon, change_identity, change_target, reload, remove, open_anew, rearrange, book_small_things,
)  # fmt: skip


def anew(form: Format, ledger: Ledger) -> bytes:
    return form.encode(exposition.collect(ledger))


def set_ages(ledger: Ledger) -> None:
    """Ages go on with each look; the two that are compared look at the same moment."""
    for entry in ledger.probes.values():
        if entry.stuck is not None:
            typing.cast(AgingPage, entry.stuck).age_ns = 7


@given(
    events=st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 1 << 20), st.integers(0, 200)), max_size=25),
    form=st.sampled_from(list(FORMATS)),
)
def test_a_scrape_is_what_prometheus_client_renders_of_the_same_ledger(
    events: list[tuple[Callable[[Ledger, ProbeEntry, int], None], int, int]], form: Format
) -> None:
    ledger, kept = new_ledger(), Exposition()
    assert kept.render(ledger, FORMATS[form])[0] == anew(form, ledger)
    for happen, place, number in events:
        if ledger.probes:
            happen(ledger, list(ledger.probes.values())[place % len(ledger.probes)], number)
        set_ages(ledger)
        rendered = kept.render(ledger, FORMATS[form])[0]
        set_ages(ledger)
        assert rendered == anew(form, ledger), happen.__name__


def test_only_what_has_changed_is_filled_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[tuple[str, str]] = []
    monkeypatch.setattr(
        "iovigil.agent.metrics.run.fill", lambda _scrape, entry: filled.append((entry.disk, entry.probe))
    )
    ledger, kept = new_ledger(), Exposition()
    kept.render(ledger, "")
    assert sorted(filled) == sorted(ledger.probes)
    filled.clear()
    kept.render(ledger, "")
    assert filled == []
    finish(ledger, ledger.probes["a", "latency"], 1)
    ledger.probes["b", "latency"].begin(StatsPage.private())
    ledger.disks["%s %d"].target = "device"
    for _ in range(2):
        kept.render(ledger, "")
    once = [("a", "latency"), *(key for key in ledger.probes if key[0] == "%s %d")]
    assert sorted(filled) == sorted([*once, ("b", "latency"), ("b", "latency")]), "a live page may change at any time"


def changed_fields() -> Iterator[tuple[str, object, bool]]:
    """Each field of an account, another value of it, and whether it is shown."""
    page = page_of(5)
    result = result_of(page, READ)
    yield "disk", "other", True
    yield "probe", "other", True
    yield "options", WRITE_AND_VERIFY, True
    yield "interval_s", 31.0, True
    yield "timeout_s", 16.0, True
    yield "scrub", SCRUB, True
    yield "engine", "psync", True
    yield "packed_totals", page.packed(), True
    yield "live", page, True
    yield "runs", 1, True
    yield "failures", dict.fromkeys(Failure, 1), True
    yield "skips", dict.fromkeys(Skip, 1), True
    yield "last_skip", Skip.OVERLAP, False
    yield "last_skip_unix", 1.0, False
    yield "is_paused", True, True
    yield "longest_gap_s", 77.0, True
    yield "fallbacks", 1, True
    yield "last", LastRun.of(result), True
    yield "last_success_unix", 1.0, True
    yield "last_mismatch_unix", 1.0, True
    yield "pending_bytes", 1, True
    yield "unverified_bytes", 1, True
    yield "stuck", AgingPage(), True
    yield "hung_since_s", 5.0, True
    yield "slowdown", Standing(foreign_busy_ratio=0.5), True


GO_ON_BY_THEMSELVES = ("live", "stuck", "hung_since_s")


@pytest.mark.parametrize(("name", "value", "is_shown"), list(changed_fields()), ids=lambda value: str(value)[:20])
def test_a_change_of_any_field_of_an_account_is_seen(name: str, value: object, is_shown: bool) -> None:
    ledger, kept = ledger_of(probe()), Exposition()
    (entry,) = ledger.probes.values()
    before = kept.render(ledger, "")[0], entry.state()
    setattr(entry, name, value)
    assert (entry.state() is None) == (name in GO_ON_BY_THEMSELVES)
    assert entry.state() != before[1]
    rendered = kept.render(ledger, "")[0]
    assert (rendered != before[0]) == is_shown
    if name in ("stuck", "hung_since_s"):
        assert kept.render(ledger, "")[0] != rendered, "an age goes on"
    else:
        assert rendered == anew(TEXT, ledger)


def test_the_fields_tried_are_all_there_are() -> None:
    assert [name for name, _, _ in changed_fields()] == [each.name for each in dataclasses.fields(ProbeEntry)]


@pytest.mark.parametrize("books", ["failures", "skips"])
def test_a_count_in_a_dictionary_is_seen(books: str) -> None:
    ledger, kept = ledger_of(probe()), Exposition()
    (entry,) = ledger.probes.values()
    before = kept.render(ledger, "")[0]
    for reason in getattr(entry, books):
        getattr(entry, books)[reason] += 1
        rendered = kept.render(ledger, "")[0]
        assert rendered not in (before, b"")
        assert rendered == anew(TEXT, ledger)
        before = rendered


# A state is compared by value. What can change in its place has to be copied for that, or it is never seen.
UNCHANGEABLE = {str, int, float, bool, type(None), JobOptions, ScrubSettings, PackedPage, Skip, LastRun, Standing}
COPIED = {dict}
NEVER_COMPARED = {StatsPage}
MADE_BY_TESTS = {RunResult}


@pytest.mark.parametrize("account", [ProbeEntry, DiskEntry])
def test_an_account_holds_nothing_that_changes_unseen(account: type) -> None:
    for name, kind in typing.get_type_hints(account).items():
        if name == "return":
            continue
        options = typing.get_args(kind) if typing.get_origin(kind) is not dict else (dict,)
        for option in options or (kind,):
            known = UNCHANGEABLE | COPIED | NEVER_COMPARED | MADE_BY_TESTS
            assert option in known, f"{account.__name__}.{name}: by_value() has to know {option}"


OTHER = {str: "other", bool: True, int: 7, float: 7.5, dict: {"model": "M"}}


@pytest.mark.parametrize("each", dataclasses.fields(DiskEntry), ids=lambda each: each.name)
def test_a_change_of_any_field_of_a_disk_is_seen(each: dataclasses.Field[object]) -> None:
    ledger, kept = ledger_of(probe()), Exposition()
    (disk,) = ledger.disks.values()
    disk.is_present = False
    before = kept.render(ledger, "")[0], disk.state()
    setattr(disk, each.name, OTHER[type(getattr(disk, each.name))])
    assert disk.state() != before[1]
    assert kept.render(ledger, "")[0] == anew(TEXT, ledger)
    if each.name == "identity":
        disk.identity["model"] = "N"
        assert b'model="N"' in kept.render(ledger, "")[0]


def test_a_page_that_is_written_to_meanwhile_is_looked_at_each_time() -> None:
    ledger, kept = ledger_of(probe()), Exposition()
    (entry,) = ledger.probes.values()
    entry.stuck = AgingPage()  # type: ignore[assignment]
    first, second = kept.render(ledger, "")[0], kept.render(ledger, "")[0]
    assert b'iovigil_oldest_inflight_io_seconds{disk="data0",probe="latency"} 1.0\n' in first
    assert b'iovigil_oldest_inflight_io_seconds{disk="data0",probe="latency"} 2.0\n' in second
    entry.stuck = None
    assert b'iovigil_oldest_inflight_io_seconds{disk="data0",probe="latency"} 0.0\n' in kept.render(ledger, "")[0]


def test_what_could_not_be_filled_in_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, kept = ledger_of(probe()), Exposition()
    kept.render(ledger, "")
    (entry,) = ledger.probes.values()
    entry.runs = 5
    with monkeypatch.context() as broken:
        broken.setattr("iovigil.agent.metrics.scrub.fill", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            kept.render(ledger, "")
    assert kept.render(ledger, "")[0] == anew(TEXT, ledger)


def test_a_format_that_nobody_asks_for_any_more_is_forgotten() -> None:
    now_s = 1000.0
    kept, ledger = Exposition(lambda: now_s), new_ledger()
    for form in FORMATS:
        kept.render(ledger, FORMATS[form])
    assert set(kept._renderings) == set(FORMATS)
    now_s += exposition.FORGET_S + 1
    assert kept.render(ledger, FORMATS[OPENMETRICS])[1] == OPENMETRICS_TYPE
    assert set(kept._renderings) == {OPENMETRICS}


def test_nothing_is_kept_of_what_is_on_the_books_no_more() -> None:
    ledger, kept = new_ledger(), Exposition()
    kept.render(ledger, "")
    for key in [key for key in ledger.probes if key[0] == "a"]:
        del ledger.probes[key]
    del ledger.disks["a"]
    assert b'disk="a"' not in kept.render(ledger, "")[0]
    assert ("a", "latency") not in kept._renderings[TEXT]._parts


def test_a_probe_that_is_prepared_when_its_run_ends_costs_the_scrape_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, kept = new_ledger(), Exposition()
    kept.render(ledger, "")
    entry = ledger.probes["a", "latency"]
    finish(ledger, entry, 3)
    kept.prepare(ledger, entry)
    with monkeypatch.context() as broken:
        broken.setattr("iovigil.agent.metrics.run.fill", lambda *_: 1 / 0)
        rendered = kept.render(ledger, "")[0]
    assert rendered == anew(TEXT, ledger)


def test_the_first_scrape_of_a_prometheus_finds_all_of_it_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, kept = new_ledger(), Exposition()
    kept.begin(ledger)
    with monkeypatch.context() as broken:
        broken.setattr("iovigil.agent.metrics.run.fill", lambda *_: 1 / 0)
        rendered, content_type = kept.render(ledger, FORMATS[OPENMETRICS])
    assert (rendered, content_type) == (anew(OPENMETRICS, ledger), OPENMETRICS_TYPE)


def test_nothing_is_prepared_that_nobody_asks_for() -> None:
    ledger, kept = new_ledger(), Exposition()
    kept.prepare(ledger, ledger.probes["a", "latency"])
    assert kept._renderings == {}


def test_values_are_written_as_prometheus_client_writes_them() -> None:
    for value in (0, 1, True, 0.5, 1e-6, 1e16, 123456789, 1 << 63, float("inf"), float("-inf"), float("nan"), -1.5):
        assert rendering.written(value) == floatToGoString(value)


def test_a_distribution_is_told_in_the_order_of_the_model() -> None:
    page = FakePage(histograms={(Latency.CLAT, 0): histogram_of(900, 2_000_000, 2_000_000)})
    ledger = ledger_of(probe(totals=page))
    for form, accept in FORMATS.items():
        assert Exposition().render(ledger, accept)[0] == anew(form, ledger)
