"""Engines in Python: every I/O reaches them, and nothing they do ends the child or shows a traceback."""

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, StatsPage

READ, WRITE, SYNC = 0, 1, 3
BLOCK = 4096
BLOCKS = 64
SIZE = BLOCK * BLOCKS
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "engines"
IMPORTS = (
    "import os\nfrom iovigil.engines.plugin import *\nfrom iovigil.engines.plugin import READ, WRITE, SYNC, BUSY\n"
)


@pytest.fixture(autouse=True)
def _same_path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


class Ran:
    def __init__(self, page: StatsPage, notes: list[str]) -> None:
        self.page = page
        self.notes = notes

    def bytes(self, ddir: int) -> int:
        return self.page.counter(Counter.BYTES, ddir)


def run(engine: Path, target: Path | None = None, **options: Any) -> Ran:
    page = StatsPage.create()
    fd = os.open(target, os.O_RDWR) if target else -1
    try:
        job = Job(
            JobOptions(**{"ioengine": "mine", "size": SIZE, **options}).native(),
            page,
            [(fd, SIZE)],
            location={"module": engine.stem, "file": str(engine), "path": []},
        )
        job.run()
        return Ran(page, job.notes)
    finally:
        if target:
            os.close(fd)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def engine(tmp_path: Path) -> Any:
    """`engine(body, ...)`: the file of an engine whose class has this body, run at once."""

    def made(body: str, target: Path | None = None, **options: Any) -> Ran:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        path = tmp_path / "an_engine.py"
        path.write_text(f"{IMPORTS}class Engine(PythonEngine):\n{lines}")
        return run(path, target, **options)

    return made


@pytest.mark.parametrize("example", ["python_engine.py", "threaded_engine.py"])
@pytest.mark.parametrize("iodepth", [1, 8])
@pytest.mark.parametrize("rw", ["write", "randwrite"])
def test_the_examples_keep_what_they_write(target: Path, example: str, iodepth: int, rw: str) -> None:
    ran = run(EXAMPLES / example, target, rw=rw, iodepth=iodepth, verify="crc32c", fsync=16)
    assert (ran.page.text, ran.notes) == ("", [])
    assert ran.bytes(WRITE) == ran.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE
    assert ran.page.counter(Counter.IOS, SYNC) == BLOCKS // 16
    # Another engine finds the same.
    page = StatsPage.create()
    with target.open("rb") as file:
        Job(JobOptions(verify="crc32c", size=SIZE).native(), page, [(file.fileno(), SIZE)]).run()
    assert page.counter(Counter.VERIFIED_BYTES, READ) == SIZE
    assert page.error == 0


def test_a_request_says_all_that_an_engine_needs(engine: Any, target: Path, tmp_path: Path) -> None:
    ran = engine(
        "def set_up(self):\n"
        "    self.seen = []\n"
        "    assert self.options['bs'] == (4096, 4096, 4096), self.options['bs']\n"
        "    assert self.regions == [(8192, 65536)], self.regions\n"
        "    assert self.depth == 1 and not self.is_stopping and len(self.fds) == 1\n"
        "def submit(self, r):\n"
        "    assert r.buffer is r.buffer and len(r.buffer) == r.length\n"
        "    self.seen.append((r.ddir, r.offset, r.length, r.index, r.file, r.fd == self.fds[0], r.buffer.readonly))\n"
        "    return r.length\n"
        "def tear_down(self):\n"
        f"    open({str(tmp_path / 'seen')!r}, 'w').write(repr(self.seen))\n",
        target, rw="write", offset=8192, size=65536, fsync=16,
    )  # fmt: skip
    assert (ran.page.text, ran.notes) == ("", [])
    del ran
    seen = eval((tmp_path / "seen").read_text())
    writes = [(WRITE, 8192 + BLOCK * place, BLOCK, 0, 0, True, True) for place in range(16)]
    assert seen == [*writes, (SYNC, seen[-1][1], 0, 0, 0, True, True)]


@pytest.mark.parametrize(
    ("body", "number", "note"),
    [
        ("raise OSError(61, 'no data')", errno.ENODATA, ""),
        ("raise TimeoutError(110, 'late')", errno.ETIMEDOUT, ""),
        ("raise OSError('no number')", errno.EIO, "submit: OSError: no number (an_engine.py, line 6)"),
        ("return -28", errno.ENOSPC, ""),
        ("return 1 / 0", errno.EIO, "submit: ZeroDivisionError: division by zero (an_engine.py, line 6)"),
        ("raise SystemExit(1)", errno.EIO, "submit: SystemExit: 1 (an_engine.py, line 6)"),
        ("raise KeyboardInterrupt", errno.EIO, "submit: KeyboardInterrupt (an_engine.py, line 6)"),
        ("return None", errno.EIO, "submit answered None for an I/O of 4096 bytes"),
        ("return True", errno.EIO, "submit answered True for an I/O of 4096 bytes"),
        ("return 4096.0", errno.EIO, "submit answered 4096.0 for an I/O of 4096 bytes"),
        ("return 4097", errno.EIO, "submit answered 4097 for an I/O of 4096 bytes"),
        ("return -4096", errno.EIO, "submit answered -4096 for an I/O of 4096 bytes"),
        ("return 1 << 100", errno.EIO, "submit answered 1267650600228229401496703205376 for an I/O of 4096 bytes"),
        ("class X:\n        def __repr__(s): raise ValueError\n    return X()", errno.EIO, "something of type X"),
        ("class E(Exception):\n        def __str__(s): raise ValueError\n    raise E", errno.EIO, "submit: E (an"),
    ],
)  # fmt: skip
def test_what_goes_wrong_in_an_engine_is_an_error_of_the_io(
    engine: Any, body: str, number: int, note: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = engine(f"def submit(self, request):\n    {body}", continue_on_error="all")
    assert ran.page.errors(READ) == {number: BLOCKS}
    assert len(ran.notes) == bool(note)  # once, however often it happens
    assert note in "".join(ran.notes)
    assert capfd.readouterr() == ("", "")


def test_an_engine_without_submit_is_told_so(engine: Any) -> None:
    ran = engine("pass")
    assert "an engine needs a method submit(request)" in ran.notes[0]
    assert ran.page.error == errno.EIO


def test_a_short_transfer_is_taken_up_where_it_ended(engine: Any) -> None:
    ran = engine("def submit(self, request):\n    return min(request.length, 1000)")
    assert ran.bytes(READ) == SIZE
    assert ran.page.counter(Counter.SHORT_IOS, READ) == 4 * BLOCKS


@pytest.mark.parametrize("body", ["raise OSError(5, 'no')", "1 / 0", "raise SystemExit"])
def test_a_failure_to_set_up_refuses_the_job(engine: Any, body: str) -> None:
    with pytest.raises(OSError, match="the engine cannot be set up: ") as refused:
        engine(f"def set_up(self):\n    {body}\ndef submit(self, r): return r.length")
    assert "\n" not in str(refused.value)


COLLECTING = """
is_asynchronous = True
def set_up(self):
    self.waiting = []
def submit(self, request):
    {submit}
    self.waiting.append(request)
def collect(self, wanted, timeout_s):
    {collect}
"""


def asynchronous(submit: str = "pass", collect: str = "pass") -> str:
    return COLLECTING.format(submit=submit, collect=collect)


ALL = "done, self.waiting = self.waiting, []\n    for r in done: r.result = r.length\n    return done"


@pytest.mark.parametrize("iodepth", [1, 7, 64])
def test_several_may_be_in_flight(engine: Any, iodepth: int) -> None:
    ran = engine(asynchronous(collect=f"assert len(self.waiting) <= {iodepth}\n    {ALL}"), iodepth=iodepth)
    assert (ran.page.text, ran.notes) == ("", [])
    assert ran.bytes(READ) == SIZE


def test_busy_is_offered_again(engine: Any) -> None:
    ran = engine(asynchronous("if len(self.waiting) >= 3: return BUSY", ALL), iodepth=8)
    assert (ran.page.text, ran.notes, ran.bytes(READ)) == ("", [], SIZE)
    assert max(place for place, ios in enumerate(ran.page.depth_levels()) if ios) == 1  # 2 to 3 deep


def test_busy_with_nothing_in_flight_would_never_end(engine: Any) -> None:
    ran = engine(asynchronous("return BUSY", ALL), iodepth=8)
    assert ran.page.error == errno.EIO
    assert "submit answered <object" in ran.notes[0]


def test_errors_are_those_of_the_requests(engine: Any) -> None:
    collect = ALL.replace("r.result = r.length", "r.result = -61 if r.offset == 8192 else r.length")
    ran = engine(asynchronous(collect=collect), iodepth=4, continue_on_error="read")
    assert ran.page.errors(READ) == {errno.ENODATA: 1}
    assert ran.bytes(READ) == SIZE - BLOCK


@pytest.mark.parametrize(
    ("collect", "note"),
    [
        ("return [3]", "collect: ValueError: 3 is no request in flight"),
        ("return 3", "collect: TypeError: 'int' object is not iterable"),
        ("1 / 0", "collect: ZeroDivisionError"),
        ("for r in self.waiting: r.result = r.length\n    return self.waiting", "is no request in flight"),
        ("return [r for r in self.waiting if self.waiting.remove(r) is None]", "collect answered None for an I/O"),
    ],
)
def test_what_goes_wrong_in_collect_ends_the_job(engine: Any, collect: str, note: str) -> None:
    ran = engine(asynchronous(collect=collect), iodepth=1)
    assert ran.page.error == errno.EIO
    assert note in ran.notes[0]


def test_tear_down_comes_once_and_may_fail(engine: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "trace"
    ran = engine(
        "def submit(self, r): return r.length\n"
        f"def tear_down(self):\n    open({str(trace)!r}, 'a').write('x')\n    1 / 0"
    )
    assert ran.bytes(READ) == SIZE
    assert trace.read_text() == "x"
    assert capfd.readouterr() == ("", "")
