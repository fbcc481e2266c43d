"""An iolog says the same to us and to fio, whoever recorded it; one that makes no sense is refused by file and line."""

import contextlib
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iovigil.engines import iolog_text
from iovigil.engines.iolog_text import DATASYNC, READ, SYNC, TRIM, WRITE, IologError
from iovigil.engines.options import JobOptions
from iovigil.engines.recorder import Recorder
from iovigil.engines.replay import Replay

US = 1000
BEGIN = 123 * 10**9
FIO_DEADLINE_S = 30
GIB = 1 << 30
V2 = "fio version 2 iolog\n"
V3 = "fio version 3 iolog\n"
ONE_FILE = V2 + "f add\nf open\n"
TIMED = V3 + "0 f add\n0 f open\n"
WORDS = {number: word for word, number in iolog_text.ACTIONS.items()}

Taken = tuple[int, int, int, int, int]
"""ddir, file, offset, length, due in ns after the pass began"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def replay(text: str, names: Sequence[str] | None = ("f",), sizes: Sequence[int] = (0,), **options: Any) -> Replay:
    Path("log").write_text(text)
    return Replay(JobOptions(read_iolog="log", **options).native(), names, sizes)


def played(log: Replay) -> list[Taken]:
    """All of one pass, by a loop that always comes in time."""
    log.begin(BEGIN)
    now = BEGIN
    taken = []
    while (step := log.take(now)) is not None:
        if isinstance(step, int):
            assert step > now
            now = step
        else:
            ddir, file, offset, length, due = step
            taken.append((ddir, file, offset, length, due - BEGIN))
    return taken


def test_a_log_of_version_2_is_replayed_with_its_waits() -> None:
    log = replay(ONE_FILE + "f read 0 4096\nf wait 1500 0\nf write 4096 8192\nf wait 500 0\nf sync 0 0\nf close\n")
    assert played(log) == [(READ, 0, 0, 4096, 0), (WRITE, 0, 4096, 8192, 1500 * US), (SYNC, 0, 0, 0, 2000 * US)]


def test_a_log_of_version_3_is_replayed_at_its_times() -> None:
    log = replay(TIMED + "100 f read 0 4096\n250 f trim 8192 4096\n250 f datasync 8192 0\n900 f close\n")
    assert played(log) == [
        (READ, 0, 0, 4096, 100 * US), (TRIM, 0, 8192, 4096, 250 * US), (DATASYNC, 0, 8192, 0, 250 * US),
    ]  # fmt: skip
    assert (log.count, log.total_bytes) == (3, 8192)


def test_times_count_from_the_first_line() -> None:
    log = replay(V3 + "1700000000 f add\n1700000000 f open\n1700000100 f read 0 512\n")
    assert [due for *_rest, due in played(log)] == [100 * US]


def test_nothing_is_due_before_what_stands_above_it() -> None:
    log = replay(TIMED + "500 f read 0 512\n200 f read 512 512\n600 f read 1024 512\n")
    assert [due for *_rest, due in played(log)] == [500 * US, 500 * US, 600 * US]


def test_a_loop_that_comes_late_is_told_when_the_io_was_due() -> None:
    log = replay(TIMED + "100 f read 0 512\n200 f read 512 512\n")
    log.begin(BEGIN)
    assert log.take(BEGIN + 99 * US) == BEGIN + 100 * US
    assert log.take(BEGIN + 5000 * US) == (READ, 0, 0, 512, BEGIN + 100 * US)
    assert log.take(BEGIN + 5000 * US) == (READ, 0, 512, 512, BEGIN + 200 * US)
    assert log.take(BEGIN + 5000 * US) is None


def test_a_pass_can_be_repeated() -> None:
    log = replay(TIMED + "100 f read 0 512\n200 f write 512 512\n")
    assert played(log) == played(log) != []


@pytest.mark.parametrize(
    ("options", "due_us"),
    [({"replay_no_stall": True}, [0, 0]), ({"replay_time_scale": 200}, [50, 100]),
     ({"replay_time_scale": 50}, [200, 400])],
)  # fmt: skip
def test_times_are_stretched_and_left_out(options: dict[str, Any], due_us: list[int]) -> None:
    log = replay(TIMED + "100 f read 0 512\n200 f read 512 512\n", **options)
    assert [due // US for *_rest, due in played(log)] == due_us


def test_offsets_are_scaled_then_aligned() -> None:
    log = replay(ONE_FILE + "f read 20480 4096\nf write 12288 512\n", replay_scale=3, replay_align=512)
    assert [offset for _ddir, _file, offset, *_rest in played(log)] == [6656, 4096]


def test_directions_are_left_out() -> None:
    text = TIMED + "1 f read 0 512\n2 f write 0 512\n3 f trim 0 512\n4 f sync 0 0\n5 f datasync 0 0\n"
    assert [step[0] for step in played(replay(text, replay_skip=("write", "sync")))] == [READ, TRIM]
    assert [step[0] for step in played(replay(text, replay_skip=("read", "trim")))] == [WRITE, SYNC, DATASYNC]


def test_files_are_those_of_the_job_whatever_the_order_of_the_log() -> None:
    text = V3 + "0 a add\n0 b add\n0 a open\n0 b open\n1 b read 0 512\n2 a read 0 512\n"
    assert [step[1] for step in played(replay(text, ["a", "b"], [0, 0]))] == [1, 0]
    assert [step[1] for step in played(replay(text, ["b", "x", "a"], [0, 0, 0]))] == [0, 2]


def test_everything_goes_to_one_target_when_redirected() -> None:
    text = V3 + "0 a add\n0 b add\n1 b read 0 512\n2 a write 512 512\n"
    assert [step[1] for step in played(replay(text, None, [4096]))] == [0, 0]


def test_trims_do_not_size_buffers() -> None:
    log = replay(TIMED + "1 f trim 0 1048576\n2 f read 0 4096\n3 f write 0 512\n")
    assert (log.longest, log.shortest) == (4096, 512)
    assert (log.does_read, log.does_write, log.does_trim) == (True, True, True)


def test_a_trim_of_a_whole_disk_is_made_of_several() -> None:
    log = replay(TIMED + f"1 f trim 4096 {5 * GIB + 512}\n")
    steps = played(log)
    assert [step[2:4] for step in steps] == [(4096 + i * GIB, GIB) for i in range(5)] + [(4096 + 5 * GIB, 512)]
    assert log.total_bytes == 5 * GIB + 512
    assert (log.longest, log.does_read, log.does_write) == (0, False, False)


@pytest.mark.parametrize("header", [V2, "\n\n  # made by hand\n" + V2])
def test_blank_lines_and_comments_say_nothing(header: str) -> None:
    log = replay(header + "\n# f read 7 7\n   # c\nf add\n\t\nf open\n \nf read 0 4096  \n#\n")
    assert played(log) == [(READ, 0, 0, 4096, 0)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "log: empty; the first line of an iolog is 'fio version 3 iolog'"),
        ("garbage\n", "log:1: the first line of an iolog is 'fio version 3 iolog'"),
        ("fio version 4 iolog\n", "log:1: iolog version '4' is not known; 2 and 3 are"),
        (V2, "log: nothing to replay"),
        (ONE_FILE + "f read 0\n", "log:4: 'f read 0' is not file action [offset length]"),
        (TIMED + "f read 0 512\n", "log:4: timestamp 'f' is not a number in 0..9223372036854775807"),
        (TIMED + "7 f read 0\n", "log:4: '7 f read 0' is not [timestamp] file action [offset length]"),
        (ONE_FILE + "f read x 512\n", "log:4: offset 'x' is not a number"),
        (ONE_FILE + "f read 0 -1\n", "log:4: length '-1' is not a number"),
        (ONE_FILE + "f read 0 ५\n", "log:4: length '५' is not a number"),
        (ONE_FILE + f"f read 0 {'9' * 5000}\n", "log:4: length '9999999999999999999999999999999999999999' is not"),
        (ONE_FILE + "f read 0 0\n", "log:4: a read of 0 bytes"),
        (ONE_FILE + f"f write 0 {GIB + 1}\n", "log:4: a write of 1073741825 bytes is longer than 1073741824"),
        (ONE_FILE + f"f trim {1 << 62} {1 << 62}\n", "log:4: 4611686018427387904 + 4611686018427387904 is beyond"),
        (ONE_FILE + "f erase 0 512\n", "log:4: 'erase' is none of read, write, trim, sync, datasync, wait"),
        (ONE_FILE + "f unlink\n", "log:4: 'unlink' is neither add, open nor close"),
        (ONE_FILE + "g read 0 512\n", "log:4: 'g' has not been added"),
        (ONE_FILE + "g open\n", "log:4: 'g' has not been added"),
        (TIMED + "7 f wait 100 0\n", "log:4: version 3 has timestamps instead of wait"),
        (ONE_FILE + "h add\nh read 0 512\n", "log:5: 'h' is none of the job's files"),
        (ONE_FILE + "f read 0 512\n" + "x" * 10000, "log:5: not a line of text"),
        (ONE_FILE + "f\0 read 0 512\n", "log:4: not a line of text"),
        ("".join([V2, *(f"f{i} add\n" for i in range(1025))]), "log:1026: more than 1024 files"),
    ],
)
def test_what_makes_no_sense_is_refused_by_line(text: str, reason: str) -> None:
    with pytest.raises(IologError) as refused:
        replay(text)
    assert str(refused.value).startswith(reason)


def test_a_trace_of_blktrace_is_refused_by_name() -> None:
    Path("log").write_bytes(b"\x07taea" + bytes(100))
    with pytest.raises(IologError, match="blktrace is not supported"):
        iolog_text.survey("log")


@pytest.mark.parametrize("path", ["-", "/dev/null", "."])
def test_what_cannot_be_read_twice_is_refused(path: str) -> None:
    with pytest.raises(IologError, match=r"cannot be replayed|not a regular file"):
        iolog_text.survey(path)


def test_a_log_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        iolog_text.survey("nothing")


def test_an_io_beyond_its_file_is_refused() -> None:
    text = TIMED + "1 f read 4096 4096\n"
    assert replay(text, sizes=[8192]).count == 1
    with pytest.raises(IologError, match=r"log:4: offset 4096 \+ length 4096 is beyond the 8191 bytes of f"):
        replay(text, sizes=[8191])


def test_a_survey_says_what_the_guard_has_to_know() -> None:
    Path("log").write_text(
        V3 + "0 a add\n0 b add\n0 c add\n0 d add\n0 unused add\n1 a read 0 8192\n2 b write 4096 512\n3 c trim 0 65536\n"
        "4 a read 4096 512\n5 d sync 0 0\n"
    )
    survey = iolog_text.survey("log")
    assert [(use.name, use.end, use.is_changed) for use in survey.files] == [
        ("a", 8192, False), ("b", 4608, True), ("c", 65536, True), ("d", 0, False),
    ]  # fmt: skip
    assert (survey.ios, survey.longest, survey.duration_us) == (5, 8192, 5)
    one = iolog_text.redirected(survey.files, "/dev/x")
    assert (one.name, one.end, one.is_changed) == ("/dev/x", 65536, True)
    reads = iolog_text.survey("log", skip=("write", "trim", "sync"), scale=2, align=4096)
    assert [(use.name, use.end, use.is_changed) for use in reads.files] == [("a", 8192, False)]


ios = st.lists(
    st.tuples(
        st.sampled_from([READ, WRITE, TRIM, SYNC, DATASYNC]), st.integers(0, 2), st.integers(0, 1 << 62),
        st.integers(1, GIB), st.integers(0, 10**10),
    ),
    min_size=1, max_size=50,
)  # fmt: skip
NAMES = ["/tmp/a", "b", "/dev/naïve:1"]


@settings(max_examples=50)
@given(ios)
def test_what_was_recorded_is_what_is_replayed(recorded: list[tuple[int, int, int, int, int]]) -> None:
    recorder = Recorder("recorded", NAMES)
    recorder.begin(BEGIN)
    now = BEGIN
    expected = []
    for ddir, file, offset, length, gap_ns in recorded:
        now += gap_ns
        used = 0 if ddir in (SYNC, DATASYNC) else length
        recorder.add(ddir, file, offset, used, now)
        expected.append((ddir, file, offset, used, (now - BEGIN) // US * US))
    recorder.finish(now)
    assert recorder.notes == []
    log = Replay(JobOptions(read_iolog="recorded").native(), NAMES, [0, 0, 0])
    found = played(log)
    assert [step[:4] for step in found] == [step[:4] for step in expected]
    assert all(abs(step[4] - wanted[4]) < US for step, wanted in zip(found, expected, strict=True))
    survey = iolog_text.survey("recorded")
    assert {use.name for use in survey.files} == {NAMES[file] for _ddir, file, *_rest in recorded}
    for use in survey.files:
        of_file = [step for step in expected if NAMES[step[1]] == use.name]
        assert use.end == max(step[2] + step[3] for step in of_file)
        assert use.is_changed == any(step[0] in (WRITE, TRIM) for step in of_file)


words = st.sampled_from(
    ["f", "g", "add", "open", "close", "read", "write", "trim", "sync", "wait", "0", "512", "4096", "-1", "#", "9" * 30,
     "fio", "version", "iolog", "2", "\x00", "é"]
) | st.text(max_size=5)  # fmt: skip


@settings(max_examples=300)
@given(
    st.sampled_from([V2, V3, ONE_FILE, TIMED, ""]),
    st.lists(st.lists(words, max_size=6).map(" ".join), max_size=10).map("\n".join),
)
def test_any_text_is_replayed_or_refused(start: str, rest: str) -> None:
    Path("log").write_bytes((start + rest).encode("utf-8", "surrogatepass"))
    with contextlib.suppress(IologError):
        log = Replay(JobOptions(read_iolog="log").native(), ["f"], [1 << 20])
        assert all(step[2] + step[3] <= 1 << 20 for step in played(log))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_replayed_or_refused(data: bytes, has_header: bool) -> None:
    Path("log").write_bytes(V3.encode() * has_header + data)
    with pytest.raises(IologError, match="log"):
        Replay(JobOptions(read_iolog="log").native(), [], [])


def test_two_jobs_cannot_record_to_one_file() -> None:
    first = Recorder("x", ["f"])
    with pytest.raises(IologError, match="another job is recording to x"):
        Recorder("x", ["f"])
    first.finish(0)
    Recorder("x", ["f"]).finish(0)
    assert Path("x").read_text() == V3 + "0 f add\n0 f open\n0 f close\n"


@pytest.mark.parametrize("name", ["a b", "", "#x", "tab\there"])
def test_a_name_that_would_not_be_one_word_is_refused(name: str) -> None:
    with pytest.raises(IologError, match="cannot stand in an iolog"):
        Recorder("x", [name])


def fio(*words: str) -> dict[str, Any]:
    done = subprocess.run(
        ["fio", "--name=j", "--ioengine=psync", "--output-format=json", "--verify_state_save=0", *words],
        capture_output=True, timeout=FIO_DEADLINE_S, check=True,
    )  # fmt: skip
    job: dict[str, Any] = json.loads(done.stdout)["jobs"][0]
    return job


def counts(job: dict[str, Any]) -> dict[str, tuple[int, int]]:
    found = {name: (job[name]["total_ios"], job[name]["io_bytes"]) for name in ("read", "write", "trim")}
    return {**found, "sync": (job["sync"]["total_ios"], 0)}


def counted(steps: Sequence[Taken]) -> dict[str, tuple[int, int]]:
    """The same of what was replayed; fio's JSON leaves datasyncs out."""
    found = {}
    for kind in (READ, WRITE, TRIM, SYNC):
        lengths = [length for ddir, _file, _offset, length, _due in steps if ddir == kind]
        found[WORDS[kind]] = len(lengths), sum(lengths)
    return found


@pytest.mark.requires_fio
def test_we_replay_what_fio_recorded(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a", "b")]
    job = fio(
        "--rw=randrw", "--bsrange=512-16k", "--size=256k", f"--filename={':'.join(names)}", "--fdatasync=5",
        "--fsync=3", "--write_iolog=log", "--rate_iops=1000", "--randseed=7",
    )  # fmt: skip
    log = Replay(JobOptions(read_iolog="log").native(), names, [256 << 10] * 2)
    steps = played(log)
    assert counted(steps) == counts(job)
    assert {step[1] for step in steps} == {0, 1}
    # Its times are microseconds: a tenth of a second of I/O at its rate is not 100 s.
    assert 0.5 * job["job_runtime"] < steps[-1][4] / 1e6 < 2 * job["job_runtime"] + 500


@pytest.mark.requires_fio
def test_fio_replays_what_we_recorded(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a", "b")]
    for name in names:
        Path(name).write_bytes(bytes(1 << 20))
    recorder = Recorder("log", names)
    recorder.begin(BEGIN)
    for number in range(200):
        ddir = (READ, WRITE, WRITE, SYNC, READ, DATASYNC)[number % 6]
        length = 0 if ddir in (SYNC, DATASYNC) else 512 << number % 5
        recorder.add(ddir, number // 7 % 2, number * 512, length, BEGIN + number * 2_000_000)
    recorder.finish(BEGIN + 200 * 2_000_000)
    job = fio("--read_iolog=log")
    steps = played(Replay(JobOptions(read_iolog="log").native(), names, [1 << 20] * 2))
    assert counts(job) == counted(steps)
    assert 300 < job["job_runtime"] < 3000


@pytest.mark.requires_fio
def test_our_lines_are_written_as_fios(tmp_path: Path) -> None:
    name = str(tmp_path / "a")
    fio("--rw=write", "--size=64k", f"--filename={name}", "--fsync=4", "--write_iolog=fios")
    fios = Path("fios").read_text().splitlines()
    recorder = Recorder("ours", [name])
    recorder.begin(BEGIN)
    for step in played(Replay(JobOptions(read_iolog="fios").native(), [name], [0])):
        recorder.add(step[0], 0, step[2], step[3], BEGIN + step[4])
    recorder.finish(BEGIN)
    ours = Path("ours").read_text().splitlines()
    assert ours[0] == fios[0]
    assert [line.split(" ")[1:] for line in ours[1:]] == [line.split(" ")[1:] for line in fios[1:]]
