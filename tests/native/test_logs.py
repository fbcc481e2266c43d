"""The logs hold every I/O or every window, in lines that tools made for fio's read."""

import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fio_formats import bucket
from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.engines.job import Job
from iovigil.engines.logs import Logs
from iovigil.engines.options import JobOptions
from iovigil.engines.spelling import parse_options
from iovigil.engines.stats import Counter, Latency, StatsPage

READ, WRITE, TRIM, SYNC = range(4)
MS = 1_000_000
SECOND = 1000 * MS
EPOCH = 7 * SECOND
KINDS = ("bw", "iops", "slat", "clat", "lat")
ALL: dict[str, Any] = {"write_bw_log": "x", "write_iops_log": "x", "write_lat_log": "x"}
FIO_DEADLINE_S = 30


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def native(**options: Any) -> dict[str, Any]:
    result: dict[str, Any] = parse_options({"size": "1m", **options}).native()
    return result


def started(number: int = 1, capacity: int = 1 << 16, **options: Any) -> Logs:
    logs = Logs(native(**options), number, capacity)
    logs.begin(EPOCH)
    return logs


def add(
    logs: Logs, at_ms: float, ddir: int = READ, offset: int = 0, length: int = 4096, slat: int = 0, clat: int = 0
) -> bool:
    """An I/O that completed so many ms after measuring began."""
    done = EPOCH + round(at_ms * MS)
    return logs.add(ddir, offset, length, done - clat - slat, done - clat, done)


def finish(logs: Logs, at_ms: float = 0.0) -> None:
    logs.finish(StatsPage.private(), EPOCH + round(at_ms * MS))


def text(name: str) -> str:
    return Path(name).read_text()


def names() -> set[str]:
    return {path.name for path in Path().iterdir()}


def test_nothing_is_written_unless_asked_for(tmp_path: Path) -> None:
    logs = started()
    assert not logs.is_wanted
    add(logs, 1)
    assert logs.tick(StatsPage.private(), EPOCH) == 0
    finish(logs)
    assert list(tmp_path.iterdir()) == []


def test_every_io_is_a_line() -> None:
    logs = started(**ALL)
    add(logs, 0, READ, slat=100, clat=1_000_000)
    add(logs, 12.9, WRITE, length=8192, slat=250, clat=2_000_000)
    add(logs, 20, TRIM, length=4096, slat=1, clat=2)
    finish(logs)
    assert text("x_lat.1.log") == "0, 1000100, 0, 4096, 0\n12, 2000250, 1, 8192, 0\n20, 3, 2, 4096, 0\n"
    assert text("x_clat.1.log") == "0, 1000000, 0, 4096, 0\n12, 2000000, 1, 8192, 0\n20, 2, 2, 4096, 0\n"
    assert text("x_slat.1.log") == "0, 100, 0, 4096, 0\n12, 250, 1, 8192, 0\n20, 1, 2, 4096, 0\n"
    assert text("x_iops.1.log") == "0, 1, 0, 4096, 0\n12, 1, 1, 8192, 0\n20, 1, 2, 4096, 0\n"
    # KiB/s over the I/O's own time: 4 KiB in a ms, 8 KiB in two.
    assert text("x_bw.1.log") == "0, 4000, 0, 4096, 0\n12, 4000, 1, 8192, 0\n20, 2000000000, 2, 4096, 0\n"


def test_syncs_are_not_logged() -> None:
    logs = started(**ALL)
    add(logs, 1, SYNC, length=0)
    finish(logs)
    assert text("x_lat.1.log") == ""


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "5, 300, 1, 512, 0\n"),
        ({"log_offset": 1}, "5, 300, 1, 512, 65536, 0\n"),
        ({"log_issue_time": 1}, "5, 300, 1, 512, 0, 4999700\n"),
        ({"log_offset": 1, "log_issue_time": 1}, "5, 300, 1, 512, 65536, 0, 4999700\n"),
        ({"prioclass": 1}, "5, 300, 1, 512, 1\n"),
        ({"log_window_value": "both"}, "5, 300, 1, 512, 0\n"),
    ],
)
def test_a_line_has_the_columns_that_were_asked_for(options: dict[str, Any], line: str) -> None:
    logs = started(write_lat_log="x", **options)
    add(logs, 5, WRITE, offset=65536, length=512, slat=20, clat=300)
    finish(logs)
    assert text("x_clat.1.log") == line


def test_files_are_named_by_job() -> None:
    first, second = started(1, **ALL), started(27, **ALL)
    assert first.is_wanted
    assert second.is_wanted
    assert names() == {f"x_{kind}.{number}.log" for kind in KINDS for number in (1, 27)}


def test_jobs_that_share_a_log_do_not_overwrite_each_other() -> None:
    shared: dict[str, Any] = {"write_iops_log": "x", "per_job_logs": 0}
    first, second = started(1, **shared), started(2, **shared)
    for logs, ddir in ((first, READ), (second, WRITE)):
        add(logs, 1, ddir)
    finish(second)
    finish(first)
    assert text("x_iops.log") == "1, 1, 1, 4096, 0\n1, 1, 0, 4096, 0\n"


def test_a_log_of_an_earlier_run_is_replaced() -> None:
    Path("x_iops.1.log").write_text("old\n" * 100)
    finish(started(write_iops_log="x"))
    assert text("x_iops.1.log") == ""


@pytest.mark.parametrize(
    ("disabled", "kinds"),
    [("disable_lat", {"clat", "slat"}), ("disable_clat", {"lat", "slat"}), ("disable_slat", {"lat", "clat"}),
     ("gtod_reduce", set())],
)  # fmt: skip
def test_what_is_not_measured_is_not_logged(disabled: str, kinds: set[str]) -> None:
    options: dict[str, Any] = {"write_lat_log": "x", disabled: 1}
    finish(started(**options))
    assert names() == {f"x_{kind}.1.log" for kind in kinds}


def test_unix_times_are_the_wall_clocks() -> None:
    logs = Logs(native(write_iops_log="x", log_unix_epoch=1, log_issue_time=1), 1)
    before_ns, epoch = time.time_ns(), time.monotonic_ns()
    logs.begin(epoch)
    logs.add(READ, 0, 4096, epoch + 1000, epoch + 2000, epoch + 3 * MS)
    logs.finish(StatsPage.private(), epoch + 4 * MS)
    at_ms, _, _, _, _, issued_ns = map(int, text("x_iops.1.log").split(", "))
    assert abs(at_ms - (before_ns + 3 * MS) / 1e6) < 1000
    assert abs(issued_ns - (before_ns + 2000)) < SECOND


def test_a_window_is_one_line_for_each_direction_that_did_something() -> None:
    logs = started(**ALL, log_avg_msec=100)
    page = StatsPage.private()
    assert logs.tick(page, EPOCH) == EPOCH + 100 * MS
    for at, clat in ((10, 1000), (20, 2000), (99, 6000)):
        add(logs, at, READ, clat=clat, slat=10)
    add(logs, 50, WRITE, length=1 << 20, clat=5)
    assert logs.tick(page, EPOCH + 99 * MS) == EPOCH + 100 * MS
    assert logs.tick(page, EPOCH + 100 * MS) == EPOCH + 200 * MS
    assert logs.tick(page, EPOCH + 200 * MS) == EPOCH + 300 * MS  # an empty one leaves no line
    add(logs, 201, READ, clat=77)
    finish(logs, 250)
    assert text("x_clat.1.log") == "100, 3000, 0, 0, 0\n100, 5, 1, 0, 0\n250, 77, 0, 0, 0\n"
    assert text("x_slat.1.log") == "100, 10, 0, 0, 0\n100, 0, 1, 0, 0\n250, 0, 0, 0, 0\n"
    assert text("x_lat.1.log") == "100, 3010, 0, 0, 0\n100, 5, 1, 0, 0\n250, 77, 0, 0, 0\n"
    # 3 I/Os of 4 KiB in a tenth of a second; one in the half window at the end.
    assert text("x_iops.1.log") == "100, 30, 0, 0, 0\n100, 10, 1, 0, 0\n250, 20, 0, 0, 0\n"
    assert text("x_bw.1.log") == "100, 120, 0, 0, 0\n100, 10240, 1, 0, 0\n250, 80, 0, 0, 0\n"


def test_the_rates_of_a_sliver_at_the_end_are_not_told() -> None:
    logs = started(write_iops_log="x", write_lat_log="x", log_avg_msec=100)
    add(logs, 50)
    add(logs, 100.1, clat=7)
    finish(logs, 101)
    assert text("x_iops.1.log") == "100, 9, 0, 0, 0\n"
    assert text("x_clat.1.log") == "100, 0, 0, 0, 0\n101, 7, 0, 0, 0\n"


@pytest.mark.parametrize(
    ("value", "line"),
    [("avg", "100, 3000, 0, 0, 0, 0\n"), ("max", "100, 6000, 0, 0, 0, 0\n"), ("both", "100, 3000, 6000, 0, 0, 0, 0\n")],
)
def test_of_a_window_the_average_or_the_maximum_is_logged(value: str, line: str) -> None:
    logs = started(write_lat_log="x", log_avg_msec=100, log_window_value=value, log_offset=1)
    for at, clat in ((10, 1000), (20, 2000), (99, 6000)):
        add(logs, at, clat=clat)
    finish(logs, 100)
    assert text("x_clat.1.log") == line


def test_a_window_closes_when_an_io_ends_beyond_it() -> None:
    logs = started(write_iops_log="x", log_avg_msec=100)
    add(logs, 10)
    add(logs, 350)  # nobody looked in between
    add(logs, 399)
    add(logs, 400)
    finish(logs, 500)
    times = [line.split(", ")[0] for line in text("x_iops.1.log").splitlines()]
    assert times == ["350", "400", "500"]


ios = st.lists(
    st.tuples(
        st.integers(READ, TRIM), st.integers(0, (1 << 64) - 1), st.integers(1, 1 << 30), st.integers(0, 10**12),
        st.integers(0, 10**12), st.integers(0, 10**9),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=50)
@given(ios, st.integers(1, 10))
def test_no_io_is_lost_however_little_room_there_is(all_ios: list[tuple[int, ...]], capacity: int) -> None:
    logs = Logs(native(**ALL, log_offset=1, log_issue_time=1), 1, capacity)
    logs.begin(EPOCH)
    expected: dict[str, list[tuple[int, ...]]] = {kind: [] for kind in KINDS}
    at = EPOCH
    for number, (ddir, offset, length, slat, clat, gap) in enumerate(all_ios):
        issued = at + gap
        at = issued + clat
        start = issued - slat if issued - slat > 0 else 0
        was_slow = logs.add(ddir, offset, length, start, issued, at)
        assert was_slow == (number >= capacity and (number - capacity) % min(capacity, 512) == 0)
        rest = (ddir, length, offset, 0, issued - EPOCH)
        ms = (at - EPOCH) // MS
        for kind, value in (("iops", 1), ("slat", issued - start), ("clat", clat), ("lat", at - start)):
            expected[kind].append((ms, value, *rest))
        expected["bw"].append((ms, int(length * 1e9 / 1024 / (clat or 1)), *rest))
    logs.finish(StatsPage.private(), at)
    assert logs.notes == []
    for kind in KINDS:
        found = [tuple(map(int, line.split(", "))) for line in text(f"x_{kind}.1.log").splitlines()]
        if kind == "bw":
            assert [f[2:] for f in found] == [e[2:] for e in expected[kind]]
            assert all(abs(f[1] - e[1]) <= 1 + e[1] / 10**12 for f, e in zip(found, expected[kind], strict=True))
        else:
            assert found == expected[kind]


def test_a_full_disk_is_said_and_ends_the_log_at_a_whole_count() -> None:
    """In a process of its own: RLIMIT_FSIZE is the disk that is full."""
    program = f"""
import resource, signal, sys
sys.path[:0] = {sys.path!r}
from test_logs import *
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
logs = started(write_iops_log="x", capacity=1000)
for number in range(100_000):
    add(logs, 1)
finish(logs)
print(*logs.notes)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=FIO_DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    lost = 100_000 * len("1, 1, 0, 4096, 0\n") - (1 << 20)
    assert done.stdout == f"x_iops.1.log: File too large; the last {lost} bytes of the log were lost\n"
    assert Path("x_iops.1.log").stat().st_size == 1 << 20


def test_a_log_that_cannot_be_made_is_known_at_once() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Logs(native(write_bw_log="nowhere/x"), 1)


def test_logging_a_million_ios_takes_little_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    logs = started(write_lat_log="x", capacity=1 << 12)
    for _ in range(300_000):
        logs.add(READ, 0, 4096, EPOCH, EPOCH, EPOCH + 1)
    finish(logs)
    assert text("x_lat.1.log").count("\n") == 300_000
    # Lines of three files in buffers, a ring of samples; the text itself is 5 MB each.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


def ran(**options: Any) -> StatsPage:
    """The page of a job on the null engine."""
    page = StatsPage.private()
    page.calibrate((0, 0, 0, 0))
    Job(JobOptions(**{"ioengine": "null", "size": 1 << 20, **options}).native(), page, []).run()
    return page


@pytest.mark.parametrize("coarseness", [0, 3, 6])
def test_histogram_lines_add_up_to_the_histogram(coarseness: int) -> None:
    logs = started(write_hist_log="x", log_hist_msec=100, log_hist_coarseness=coarseness)
    page = StatsPage.private()
    assert logs.tick(page, EPOCH) == EPOCH + 100 * MS
    add(logs, 90, READ, length=512)
    page.add(ran(rw="read"))
    assert logs.tick(page, EPOCH + 101 * MS) == EPOCH + 200 * MS
    assert logs.tick(page, EPOCH + 205 * MS) == EPOCH + 300 * MS  # nothing new
    page.add(ran(rw="read"))
    page.add(ran(rw="write"))
    logs.finish(page, EPOCH + 250 * MS)
    lines = [list(map(int, line.split(", "))) for line in text("x_clat_hist.1.log").splitlines()]
    assert [line[:3] for line in lines] == [[101, READ, 512], [250, READ, 512], [250, WRITE, 0]]
    assert {len(line) - 3 for line in lines} == {1856 >> coarseness}
    for ddir in (READ, WRITE):
        expected: dict[int, int] = {}
        for middle, count in page.histogram(Latency.CLAT, ddir).bins().items():
            place = bucket(middle) >> coarseness
            expected[place] = expected.get(place, 0) + count
        found: dict[int, int] = {}
        for line in lines:
            for place, count in enumerate(line[3:]):
                if line[1] == ddir and count:
                    found[place] = found.get(place, 0) + count
        assert found == expected
        assert sum(found.values()) == page.counter(Counter.IOS, ddir)


def shape(line: str) -> str:
    return re.sub(r"\d+", "N", line)


@pytest.mark.requires_fio
@pytest.mark.parametrize(
    "options", [{}, {"log_offset": 1}, {"log_avg_msec": 10}, {"log_avg_msec": 10, "log_offset": 1}]
)
def test_lines_have_the_form_of_fios(options: dict[str, Any]) -> None:
    Path("fio").mkdir()
    words = [f"--{name}={value}" for name, value in {**ALL, **options}.items()]
    subprocess.run(
        ["fio", "--name=j", "--ioengine=null", "--iodepth=4", "--rw=randrw", "--size=4m", "--rate_iops=1000", *words],
        cwd="fio", check=True, capture_output=True, timeout=FIO_DEADLINE_S,
    )  # fmt: skip
    logs = started(**ALL, **options)
    for number in range(100):
        add(logs, number, number % 2, clat=100)
    finish(logs, 100)
    assert {path.name for path in Path().glob("x_*")} == {path.name for path in Path("fio").glob("x_*")}
    for kind in KINDS:
        ours, fios = (Path(place, f"x_{kind}.1.log").read_text().splitlines() for place in ("", "fio"))
        assert {shape(line) for line in ours} == {shape(line) for line in fios} != set()
        assert {line.split(", ")[2] for line in ours} == {line.split(", ")[2] for line in fios} == {"0", "1"}
        if options.get("log_avg_msec"):
            rest = {tuple(line.split(", ")[3:]) for line in ours}
            assert rest == {tuple(line.split(", ")[3:]) for line in fios} == {("0",) * len(next(iter(rest)))}


@pytest.mark.requires_fio
def test_histogram_lines_have_the_form_of_fios() -> None:
    Path("fio").mkdir()
    subprocess.run(
        ["fio", "--name=j", "--ioengine=null", "--rw=read", "--size=1g", "--time_based", "--runtime=1",
         "--write_hist_log=x", "--log_hist_msec=100"],
        cwd="fio", check=True, capture_output=True, timeout=FIO_DEADLINE_S,
    )  # fmt: skip
    logs = started(write_hist_log="x", log_hist_msec=100)
    add(logs, 1)
    logs.finish(ran(rw="read"), EPOCH + SECOND)
    ours, fios = (Path(place, "x_clat_hist.1.log").read_text().splitlines()[0] for place in ("", "fio"))
    assert shape(ours) == shape(fios)
    assert ours.split(", ")[1:3] == fios.split(", ")[1:3] == ["0", "4096"]
