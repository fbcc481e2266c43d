"""The stats page: found again by others, refused when it is not ours, readable after its writer is gone."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import iovigil
from iovigil.engines.job import Job
from iovigil.engines.latency import Histogram
from iovigil.engines.stats import Counter, Latency, Mismatch, PackedPage, RunState, StatsPage

READ, WRITE = 0, 1
ROOT = Path(iovigil.__file__).parent.parent

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from iovigil.engines.stats import PackedPage, RunState, StatsPage
from iovigil.engines.job import Job
from iovigil.engines.latency import Histogram
page = StatsPage.attach(int(sys.argv[2]))
page.state = RunState.RUNNING
Job(eval(sys.argv[3]), page, []).run()
"""


def null_options(**changes: object) -> dict[str, object]:
    from iovigil.engines.options import JobOptions

    return JobOptions(**{"ioengine": "null", "size": 1 << 20, **changes}).native()  # type: ignore[arg-type]


def finished(**changes: object) -> StatsPage:
    """A page that a real job has filled, in this process: the null engine touches nothing."""
    page = StatsPage.create()
    Job(null_options(**changes), page, []).run()
    return page


def test_a_page_attached_by_another_shows_the_same() -> None:
    page = StatsPage.create()
    other = StatsPage.attach(os.dup(page.fileno()))
    page.state = RunState.RUNNING
    page.text = "what went wrong"
    assert other.state == RunState.RUNNING
    assert other.text == "what went wrong"
    other.spawned_ns = 42
    assert page.spawned_ns == 42


def page_of_bytes(content: bytes) -> int:
    fd = os.memfd_create("not-a-page")
    os.write(fd, content)
    return fd


def bytes_of(page: StatsPage) -> bytes:
    return os.pread(page.fileno(), 1 << 24, 0)


@pytest.mark.parametrize("change", [-1, 1, 8])
def test_a_page_of_another_size_is_refused(change: int) -> None:
    good = bytes_of(StatsPage.create())
    fd = page_of_bytes((good + bytes(8))[: len(good) + change])
    with pytest.raises(ValueError, match=f"stats page: {len(good) + change} bytes, expected {len(good)}"):
        StatsPage.attach(fd)


@pytest.mark.parametrize(("at", "form"), [(0, "<Q"), (8, "<I"), (12, "<I")], ids=["magic", "version", "size"])
def test_a_page_of_another_layout_is_refused(at: int, form: str) -> None:
    content = bytearray(bytes_of(StatsPage.create()))
    (value,) = struct.unpack_from(form, content, at)
    struct.pack_into(form, content, at, value + 1)
    with pytest.raises(ValueError, match="another layout"):
        StatsPage.attach(page_of_bytes(bytes(content)))


def test_a_new_page_is_empty() -> None:
    for page in (StatsPage.create(), StatsPage.private()):
        assert page.state == RunState.NOT_CREATED
        assert not page.is_complete
        assert (page.error, page.first_error, page.total_errors, page.text) == (0, 0, 0, "")
        assert all(page.counter(counter, ddir) == 0 for counter in Counter for ddir in range(4))
        assert all(page.histogram(kind, ddir).count == 0 for kind in Latency for ddir in range(4))
        assert all(page.mismatch(kind) == 0 for kind in Mismatch)
        assert page.mismatches() == []
        assert page.oldest_inflight_ns() == 0
        assert page.runtime_ns(READ) == 0


@pytest.mark.parametrize("text", ["", "short", "ä" * 300, "x" * 511, "x" * 512, "x" * 5000])
def test_a_text_is_cut_to_its_place(text: str) -> None:
    page = StatsPage.create()
    page.text = "longer than the next one, which must not show through"
    page.text = text
    kept = page.text
    assert len(kept.encode()) <= 514  # the half of a character that was cut counts for up to three bytes
    assert text.startswith(kept.rstrip("\N{REPLACEMENT CHARACTER}"))
    assert page.total_errors == 0


def test_sums_of_pages_are_sums_of_all_that_is_counted() -> None:
    first, second = finished(rw="read"), finished(rw="randwrite", loops=3)
    total = StatsPage.private()
    total.add(first)
    total.add(second)
    assert total.counter(Counter.IOS, READ) == 256
    assert total.counter(Counter.IOS, WRITE) == 3 * 256
    assert total.counter(Counter.BYTES, WRITE) == 3 << 20
    for page, ddir in ((first, READ), (second, WRITE)):
        assert total.runtime_ns(ddir) == page.runtime_ns(ddir)
        for kind in Latency:
            assert total.histogram(kind, ddir).bins() == page.histogram(kind, ddir).bins()
            assert total.histogram(kind, ddir).min_ns == page.histogram(kind, ddir).min_ns
            assert total.histogram(kind, ddir).max_ns == page.histogram(kind, ddir).max_ns
            assert total.histogram(kind, ddir).sum_ns == page.histogram(kind, ddir).sum_ns
    assert total.depth_levels() == [a + b for a, b in zip(first.depth_levels(), second.depth_levels(), strict=True)]
    assert total.state == RunState.NOT_CREATED
    assert not total.is_complete


def test_adding_a_page_twice_doubles_it() -> None:
    page, total = finished(), StatsPage.private()
    total.add(page)
    total.add(page)
    assert total.counter(Counter.IOS, READ) == 2 * page.counter(Counter.IOS, READ)
    assert total.histogram(Latency.LAT, READ).count == 2 * 256


def test_adding_an_empty_page_changes_nothing() -> None:
    page, total = finished(), StatsPage.private()
    total.add(page)
    total.add(StatsPage.private())
    assert total.histogram(Latency.LAT, READ).min_ns == page.histogram(Latency.LAT, READ).min_ns
    assert total.counter(Counter.IOS, READ) == 256


def test_a_copy_is_the_page_of_that_moment() -> None:
    page = finished()
    copy = page.copy()
    page.text = "later"
    page.state = RunState.REAPED
    assert copy.text == ""
    assert copy.state == RunState.EXITED
    assert copy.counter(Counter.IOS, READ) == page.counter(Counter.IOS, READ)
    assert copy.usage == page.usage
    page.close()
    assert copy.histogram(Latency.LAT, READ).count == 256


def test_a_copy_is_no_descriptor_and_may_outlive_all() -> None:
    page = finished()
    copy = page.copy()
    assert copy.fileno() == -1
    fd = page.fileno()
    page.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    page.close()


def start_writer(page: StatsPage) -> subprocess.Popen[bytes]:
    options = null_options(time_based=True, runtime=20_000_000, rate_iops=(1000, 0, 0))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WRITER, ROOT, str(page.fileno()), repr(options)],
        pass_fds=(page.fileno(),),
    )


def killed_while_it_ran() -> StatsPage:
    page = StatsPage.create()
    writer = start_writer(page)
    try:
        end = time.monotonic() + 10
        while page.counter(Counter.IOS, READ) < 20 and time.monotonic() < end:
            time.sleep(0.005)
    finally:
        writer.kill()
        assert writer.wait(10) == -signal.SIGKILL
    return page


def test_a_page_outlives_its_writer() -> None:
    page = killed_while_it_ran()
    ios = page.counter(Counter.IOS, READ)
    assert ios >= 20
    assert page.counter(Counter.BYTES, READ) in (4096 * ios, 4096 * (ios - 1))
    assert abs(page.histogram(Latency.LAT, READ).count - ios) <= 1
    assert page.state == RunState.RUNNING
    assert not page.is_complete
    assert page.counter(Counter.IOS, READ) == ios


def test_the_copy_of_a_killed_page_does_not_go_on_running() -> None:
    copy = killed_while_it_ran().copy()
    first = copy.runtime_ns(READ)
    assert first > 0
    time.sleep(0.02)
    assert copy.runtime_ns(READ) == first


def test_the_time_of_a_killed_run_is_in_the_sum() -> None:
    copy = killed_while_it_ran().copy()
    total = StatsPage.private()
    total.add(copy)
    assert total.runtime_ns(READ) == pytest.approx(copy.runtime_ns(READ), abs=50_000_000)
    assert total.runtime_ns(READ) > 0


def test_reading_while_it_is_written_shows_counters_that_only_grow() -> None:
    page = StatsPage.create()
    writer = start_writer(page)
    try:
        end, last, views = time.monotonic() + 10, 0, 0
        while last < 200 and time.monotonic() < end:
            ios = page.counter(Counter.IOS, READ)
            assert ios >= last
            assert page.histogram(Latency.LAT, READ).count >= last - 1  # the one just being booked
            last, views = ios, views + 1
    finally:
        writer.kill()
        writer.wait(10)
    assert last >= 200
    assert views > 10


def test_sums_that_were_kept_are_added_to_the_last_bit() -> None:
    total = StatsPage.private()
    for page in (finished(rw="read"), finished(rw="randwrite", loops=3), finished(rw="randrw", rate_iops=(9**6, 0, 0))):
        total.add(page)
    again = StatsPage.private()
    again.add_sums(msgspec.msgpack.decode(msgspec.msgpack.encode(total.sums()), strict=False))
    assert again.sums() == total.sums()
    for kind in Latency:
        for ddir in (READ, WRITE):
            before, after = total.histogram(kind, ddir), again.histogram(kind, ddir)
            assert after.bins() == before.bins()
            for what in ("count", "min_ns", "max_ns", "sum_ns", "mean_ns", "stddev_ns"):
                assert getattr(after, what) == getattr(before, what)
    for ddir in (READ, WRITE):
        for counter in Counter:
            assert again.counter(counter, ddir) == total.counter(counter, ddir)
        assert again.runtime_ns(ddir) == total.runtime_ns(ddir)
    again.add_sums(total.sums())
    assert again.counter(Counter.IOS, READ) == 2 * total.counter(Counter.IOS, READ)


def test_where_a_scrub_stands_is_kept_and_not_added() -> None:
    page, figures = StatsPage.private(), [1 << 30, 4096, 7, 1000, 6, 999, 500, 3]
    assert page.sums()["scrub"] == []
    for _ in range(2):
        page.add_sums({**page.sums(), "scrub": figures})
    assert page.scrub == tuple(figures)
    page.add_sums({**page.sums(), "scrub": []})
    assert page.scrub == tuple(figures)
    with pytest.raises(ValueError, match="values to unpack"):
        page.add_sums({**page.sums(), "scrub": [1, 2]})


def test_kept_latencies_of_any_size_fall_into_their_buckets() -> None:
    page = StatsPage.private()
    values_ns = [0, 1, 127, 128, 129, 1000, 10**6, 10**9, 60 * 10**9, 2**63]
    sums = page.sums()
    sums["latencies"]["CLAT"][READ] = [0, 2**63, 5, 1.0, *(n for value_ns in values_ns for n in (value_ns, 1))]
    page.add_sums(sums)
    expected = Histogram()
    for value_ns in values_ns:
        expected.record(value_ns)
    assert page.histogram(Latency.CLAT, READ).bins() == expected.bins()


def test_a_page_in_a_file_is_found_again_by_another_and_never_replaces_one(tmp_path: Path) -> None:
    path = tmp_path / "page"
    page = StatsPage.create(path)
    Job(null_options(rw="read"), page, []).run()
    again = StatsPage.attach(os.open(path, os.O_RDWR))
    assert again.counter(Counter.IOS, READ) == 256
    with pytest.raises(FileExistsError):
        StatsPage.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_blocks * 512 >= path.stat().st_size, "what is not there yet could be a SIGBUS"


def told_by(page: StatsPage) -> tuple[object, ...]:
    """Everything that a page can be asked for, but for what goes on by the clock."""
    return (
        page.sums(),
        [page.bw_samples(ddir) for ddir in range(4)],
        [page.iops_samples(ddir) for ddir in range(4)],
        [page.histogram(kind, ddir).bins() for kind in Latency for ddir in range(4)],
        [page.histogram(kind, ddir).stddev_ns for kind in Latency for ddir in range(4)],
        (page.depth_levels(), page.submits(), page.completes(), page.latency_depth),
        (page.mismatches(), page.text, page.state, page.error, page.first_error, page.is_complete, page.scrub),
        (page.spawned_ns, page.first_io_ns, page.epoch_ns, page.ended_ns, page.usage, page.inherited_bytes),
    )


def test_a_packed_page_is_the_same_when_it_is_unpacked() -> None:
    for page in (StatsPage.private(), finished(), finished(rw="randrw", iodepth=4), StatsPage.create()):
        page.text = "what went wrong"
        kept = page.copy()
        assert told_by(kept.packed().page()) == told_by(kept)
        assert kept.packed().page().packed() == kept.packed()


@given(words=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 2**64 - 1)), max_size=50))
def test_no_word_of_a_page_is_lost_when_it_is_packed(words: list[tuple[int, int]]) -> None:
    page = StatsPage.create()
    size = len(bytes_of(page))
    for place, word in words:
        os.pwrite(page.fileno(), struct.pack("<Q", word), 8 * (place % (size // 8)))
    unpacked, again = page.packed().page(), StatsPage.create()
    # Sums know of some words only: that the packed form of both is one knows of all.
    assert unpacked.packed() == page.packed()
    os.pwrite(again.fileno(), bytes_of(page), 0)
    assert again.packed() == page.packed()
    for place, word in words:
        os.pwrite(again.fileno(), struct.pack("<Q", word ^ 1), 8 * (place % (size // 8)))
        assert again.packed() != page.packed() or bytes_of(again) == bytes_of(page)


def test_a_packed_page_takes_little_memory() -> None:
    page = finished(rw="randrw", iodepth=4, size=1 << 26)
    assert len(page.packed()) < 12_000
    assert len(PackedPage()) == 0


def test_a_packed_page_does_not_follow_the_one_that_it_was_made_of() -> None:
    page = finished()
    packed = page.packed()
    ios = page.counter(Counter.IOS, READ)
    page.add(finished())
    unpacked = packed.page()
    unpacked.add(page)
    assert packed.page().counter(Counter.IOS, READ) == ios


def test_a_packed_page_of_nothing_is_an_empty_page() -> None:
    assert told_by(PackedPage().page()) == told_by(StatsPage.private())
