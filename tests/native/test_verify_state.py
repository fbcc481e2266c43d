"""Verify state files: their layouts to the byte, and that no more is checked than they vouch for."""

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from disk_in_memory import Disk
from hypothesis import given
from hypothesis import strategies as st

from iovigil.engines import verify_state
from iovigil.engines.job import Job
from iovigil.engines.options import JobOptions
from iovigil.engines.setup_error import SetupError
from iovigil.engines.stats import Counter, StatsPage
from iovigil.engines.verify_state import NONE, WITH_NUMBERS, WITH_PLACES, VerifyState, decode, encode, load, path_of

READ, WRITE, TRIM = 0, 1, 2
STATE = "local-j-0-verify.state"
BLOCK = 4096
BLOCKS = 64
HEADERS = ["fio-2.2", "fio-3.41"]
BASE: dict[str, Any] = {"verify": "crc32c", "do_verify": False, "name": "j"}

numbers = st.integers(0, NONE - 1)
states = st.builds(
    VerifyState,
    version=st.just(WITH_NUMBERS),
    depth=st.integers(1, 64),
    writes=numbers,
    index=numbers,
    name=st.text("ab/.é", max_size=20),
    random=st.tuples(st.booleans(), st.binary(min_size=40, max_size=40)),
    seed=numbers,
    failed=st.lists(numbers, max_size=80),
)


def crc32c(data: bytes) -> int:
    """Bit by bit, without the final inversion."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


def with_places(writes: int, places: list[tuple[int, int]], depth: int = 1, **more: Any) -> VerifyState:
    packed = b"".join(struct.pack("<QQ", *place) for place in places)
    return VerifyState(version=WITH_PLACES, depth=depth, writes=writes, places=packed, name="j", **more)


def with_numbers(writes: int, *open_numbers: int) -> VerifyState:
    return VerifyState(version=WITH_NUMBERS, depth=1, writes=writes, failed=open_numbers, name="j")


def test_the_layout_with_places_is_fios() -> None:
    places = [(0, 4096), (1, 0)]
    state = with_places(7, places, depth=2, file_count=2, index=3, random=(True, bytes(range(40))))
    body = struct.pack("<QIIQQ", 2, 2, 2, 7, 3) + struct.pack("<Q", 1) + bytes(range(40)) + bytes(8)
    body += b"j".ljust(64, b"\0") + struct.pack("<QQQQ", 0, 4096, 1, 0) + bytes(2 * 16)
    assert len(body) == 152 + 16 * 4
    assert encode(state) == struct.pack("<QQQ", 3, len(body), crc32c(body)) + body


def test_the_layout_with_numbers_is_fios() -> None:
    state = VerifyState(version=WITH_NUMBERS, depth=3, writes=9, index=1, name="j", in_flight=[8], failed=[2])
    body = struct.pack("<IIQQ", 3, 0, 9, 1) + bytes(56) + b"j".ljust(64, b"\0") + struct.pack("<4Q", 8, NONE, NONE, 2)
    assert len(body) == 144 + 8 * (3 + 1)
    assert encode(state) == struct.pack("<QQQ", 7, len(body), crc32c(body)) + body


@pytest.mark.parametrize("state", [with_places(5, [(0, 4096)]), with_numbers(5)])
def test_a_file_that_says_the_other_version_is_not_believed(state: VerifyState) -> None:
    """The version lies outside what the checksum is of."""
    good = bytearray(encode(state))
    good[0] ^= WITH_PLACES ^ WITH_NUMBERS
    with pytest.raises(ValueError, match=r"corrupt|short"):
        decode(bytes(good))


@given(states)
def test_what_is_encoded_is_decoded(state: VerifyState) -> None:
    again = decode(encode(state))
    assert [getattr(again, name) for name in ("version", "depth", "writes", "index", "name", "random", "seed")] == [
        getattr(state, name) for name in ("version", "depth", "writes", "index", "name", "random", "seed")
    ]
    assert (again.in_flight, again.failed) == (state.in_flight, state.failed)


@given(states, st.data())
def test_a_changed_file_is_never_believed(state: VerifyState, data: st.DataObject) -> None:
    good = bytearray(encode(state))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ValueError, match=r"version|corrupt|short|no verify state"):
        decode(bytes(good))


@given(states, st.data())
def test_a_file_that_is_cut_short_is_never_believed(state: VerifyState, data: st.DataObject) -> None:
    good = encode(state)
    with pytest.raises(ValueError, match=r"version|corrupt|short|no verify state"):
        decode(good[: data.draw(st.integers(0, len(good) - 1))])


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "0 bytes are no verify state"),
        (b"\x09" + bytes(200), "version 9 is none that is known: 3 and 7 are"),
        (encode(with_numbers(5))[:-1] + b"x", "its checksum is wrong"),
        (encode(with_numbers(5))[:60], "cut short"),
    ],
)
def test_a_file_that_is_none_is_refused_in_words(tmp_path: Path, contents: bytes, reason: str) -> None:
    path = tmp_path / "state"
    path.write_bytes(contents)
    with pytest.raises(SetupError) as refused:
        load(str(path))
    assert str(path) in str(refused.value)
    assert reason in str(refused.value)


def test_a_file_that_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="is not there: run the job of this name that writes first"):
        load(str(tmp_path / "state"))
    with pytest.raises(SetupError, match="Is a directory"):
        load(str(tmp_path))


def test_its_name_is_fios() -> None:
    assert path_of("", "j", 0) == "local-j-0-verify.state"
    assert path_of("/d", "a/b", 12) == "/d/local-a.b-12-verify.state"
    assert path_of("", "x" * 80, 0) == f"local-{'x' * 63}-0-verify.state"


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("old")
    verify_state.save(str(path), with_numbers(5))
    assert load(str(path)).writes == 5
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
    with pytest.raises(FileNotFoundError):
        verify_state.save(str(tmp_path / "none" / "state"), with_numbers(5))


# Jobs.


def run(path: Path, disk: Disk, error: int = 0, **options: Any) -> Job:
    """Run a job to its end; `error` is what it ends with, -1 for any."""
    job = Job(
        JobOptions(**{**BASE, **options}).native(), StatsPage.create(), disk.files, 1, None, (), disk.location,
        state_file=(str(path.parent), options.get("name", "j"), 0),
    )  # fmt: skip
    job.run()
    assert error < 0 or job.stats.error == error, job.stats.text
    return job


def checked(path: Path, disk: Disk, **options: Any) -> set[tuple[int, int]]:
    """(file, offset) of what is read back, none of which is wrong."""
    before = len(disk.ios)
    run(path, disk, do_verify=True, verify_state_load=True, **options)
    return {(io.file, io.offset) for io in disk.ios[before:]}


def written(disk: Disk) -> list[tuple[int, int]]:
    return [(io.file, io.offset) for io in disk.ios if io.ddir == WRITE]


WAYS: list[dict[str, Any]] = [{"verify_only": True}, {}]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("order", ["", "rand"])
@pytest.mark.parametrize("iodepth", [1, 8])
@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("way", WAYS, ids=["verify_only", "read"])
def test_no_more_is_checked_than_was_written(
    tmp_path: Path, header: str, order: str, iodepth: int, files: int, way: dict[str, Any]
) -> None:
    disk = Disk([BLOCK * BLOCKS] * files, iodepth, whims=5 if iodepth > 1 else 0)
    run(tmp_path / STATE, disk, rw=f"{order}write", iodepth=iodepth, verify_header=header, number_ios=41)
    state = load(str(tmp_path / STATE))
    assert (state.writes, state.version) == (41, verify_state.VERSIONS[header])
    places = written(disk)
    rw = f"{order}write" if way else f"{order}read"
    assert checked(tmp_path / STATE, disk, rw=rw, iodepth=iodepth, **way) == set(places)


@pytest.mark.parametrize("way", WAYS, ids=["verify_only", "read"])
@pytest.mark.parametrize("loops", [1, 3])
def test_writes_whose_outcome_is_open_are_left_out_in_every_loop(
    tmp_path: Path, loops: int, way: dict[str, Any]
) -> None:
    disk = Disk([BLOCK * BLOCKS])
    path = tmp_path / STATE
    run(path, disk, rw="randwrite", loops=loops)
    places = written(disk)[:BLOCKS]
    count = BLOCKS * (loops - 1) + 50
    rw = "randwrite" if way else "randread"
    every = set(places) if loops > 1 else set(places[:50])
    verify_state.save(str(path), with_numbers(count, count - 1, count - 3, count + 5))
    assert checked(path, disk, rw=rw, loops=loops, **way) == every - {places[49], places[47]}
    # Of the last four writes only two are among the completed.
    verify_state.save(str(path), with_places(count, [places[48], places[46]], depth=4))
    assert checked(path, disk, rw=rw, loops=loops, **way) == every - {places[49], places[47]}


def test_what_was_written_again_after_a_failure_is_checked(tmp_path: Path) -> None:
    disk = Disk([BLOCK * BLOCKS])
    run(tmp_path / STATE, disk, rw="write", loops=2)
    verify_state.save(str(tmp_path / STATE), with_numbers(BLOCKS + 10, 3, 40))
    # 3 was written again by the second loop, 40 was not.
    assert checked(tmp_path / STATE, disk, rw="write", verify_only=True, loops=2) == set(written(disk)) - {
        (0, 40 * BLOCK)
    }


def test_a_torn_block_that_was_in_flight_is_no_corruption(tmp_path: Path) -> None:
    disk = Disk([BLOCK * BLOCKS])
    run(tmp_path / STATE, disk, rw="write")
    disk.contents[0][9 * BLOCK + 512 : 10 * BLOCK] = bytes(BLOCK - 512)
    verify_state.save(str(tmp_path / STATE), with_numbers(10, 9))
    assert len(checked(tmp_path / STATE, disk, rw="write", verify_only=True)) == 9
    verify_state.save(str(tmp_path / STATE), with_numbers(10))
    run(tmp_path / STATE, disk, errno.EILSEQ, rw="write", do_verify=True, verify_only=True, verify_state_load=True)


@pytest.mark.parametrize("generator", ["auto", "tausworthe", "tausworthe64", "lfsr"])
def test_choices_that_are_not_repeated_can_be_made_again(tmp_path: Path, generator: str) -> None:
    disk = Disk([BLOCK * BLOCKS])
    common: dict[str, Any] = {"rw": "randwrite", "randrepeat": False, "random_generator": generator}
    run(tmp_path / STATE, disk, number_ios=20, **common)
    assert checked(tmp_path / STATE, disk, verify_only=True, **common) == set(written(disk))


def test_the_file_of_another_job_is_refused(tmp_path: Path) -> None:
    disk = Disk([BLOCK * BLOCKS])
    path = tmp_path / STATE
    run(path, disk, rw="randwrite")
    check: dict[str, Any] = {"rw": "randwrite", "verify_only": True, "verify_state_load": True}
    with pytest.raises(SetupError, match="another randseed"):
        run(path, disk, randseed=7, **check)
    other = path.rename(tmp_path / "local-other-0-verify.state")
    job = run(path, disk, do_verify=True, **{**check, "name": "other"})
    assert job.notes == [f"verify_state_load: {other} was saved by a job of another name, j"]
    verify_state.save(str(path), with_places(5, [(0, 0), (1, 0)], file_count=2))
    with pytest.raises(SetupError, match="a job with 2 files, and this one has 1"):
        run(path, disk, **check)
    verify_state.save(str(path), with_numbers(5))
    with pytest.raises(SetupError, match="does not tell the seed"):
        run(path, disk, **check, randrepeat=False)


@pytest.mark.parametrize("header", HEADERS)
def test_failed_writes_are_told_of(tmp_path: Path, header: str) -> None:
    disk = Disk([BLOCK * BLOCKS])
    # The file ends before the disk: the last eight writes fail.
    disk.sizes[0] = BLOCK * (BLOCKS - 8)
    path = tmp_path / STATE
    files = [(-1, BLOCK * BLOCKS)]
    options = {**BASE, "rw": "randwrite", "verify_header": header, "continue_on_error": "write"}
    disk_ios = disk.ios
    job = Job(
        JobOptions(**options).native(),
        StatsPage.create(),
        files,
        1,
        None,
        (),
        failing(disk),
        state_file=(str(path.parent), "j", 0),
    )
    job.run()
    failed = [number for number, io in enumerate(disk_ios) if io.offset >= disk.sizes[0]]
    assert len(failed) == 8
    state = load(str(path))
    if header == "fio-3.41":
        assert (state.writes, state.in_flight, state.failed) == (BLOCKS, (), tuple(failed))
    else:
        assert state.writes == failed[0]


def failing(disk: Disk) -> Any:
    """The disk's engine, with an error for what lies behind its end."""
    location = disk.location
    takes = disk.takes

    def refuse(request: Any) -> Any:
        io = takes(request)
        if io.offset >= disk.sizes[0]:
            raise OSError(errno.EIO, "behind the end")
        return io

    disk.takes = refuse  # type: ignore[method-assign]
    return location


def test_a_directory_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    disk = Disk([BLOCK * BLOCKS])
    job = run(tmp_path / "none" / STATE, disk, rw="write")
    (note,) = job.notes
    assert note.startswith(f"verify_state_save: {tmp_path}/none/{STATE}: No such file or directory")
    assert job.stats.is_complete


@pytest.mark.parametrize(
    "options",
    [{"verify_state_save": False}, {"rw": "read"}, {"verify": "none"}, {"verify_only": True, "do_verify": True}],
)
def test_jobs_that_do_not_write_or_do_not_want_to_tell_leave_no_file(tmp_path: Path, options: dict[str, Any]) -> None:
    disk = Disk([BLOCK * BLOCKS])
    run(tmp_path / STATE, disk, rw="write", name="first")
    run(tmp_path / STATE, disk, **{"rw": "write", **options})
    assert [entry.name for entry in tmp_path.iterdir()] == ["local-first-0-verify.state"]


@pytest.mark.parametrize("header", HEADERS)
def test_a_job_that_was_stopped_before_it_wrote_leaves_the_file_that_is_there(tmp_path: Path, header: str) -> None:
    disk = Disk([BLOCK * BLOCKS])
    run(tmp_path / STATE, disk, rw="write", verify_header=header)
    before = (tmp_path / STATE).read_bytes()
    page = StatsPage.create()
    page.request_stop()
    Job(JobOptions(**BASE, rw="write").native(), page, disk.files, 1, None, (), disk.location,
        state_file=(str(tmp_path), "j", 0)).run()  # fmt: skip
    assert (tmp_path / STATE).read_bytes() == before


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(("options", "told"), [({"fsync": 16}, 32), ({"fdatasync": 10}, 40), ({}, 0)])
def test_what_no_sync_has_followed_is_not_vouched_for(
    tmp_path: Path, header: str, options: dict[str, Any], told: int
) -> None:
    disk = Disk([BLOCK * BLOCKS])
    common = {"verify_header": header, "verify_policy": "fsynced", **options}
    run(tmp_path / STATE, disk, rw="randwrite", number_ios=47, **common)
    state = load(str(tmp_path / STATE))
    assert state.writes == told
    assert checked(tmp_path / STATE, disk, rw="randwrite", verify_only=True) == set(written(disk)[:told])
    run(tmp_path / STATE, disk, rw="randwrite", number_ios=47, end_fsync=True, **common)
    assert load(str(tmp_path / STATE)).writes == 47


class VolatileDisk(Disk):
    """Keeps for good only what was completed before a sync that has ended; may fail after so many completions."""

    def __init__(self, whims: int, lasts: int = 1 << 30) -> None:
        super().__init__([BLOCK * BLOCKS], 8, whims, is_moody=True)
        self.lasts = lasts
        self.at_sync: dict[int, bytes] = {}
        self.kept = bytes(BLOCK * BLOCKS)

    def takes(self, request: Any) -> Any:
        io = super().takes(request)
        if io.ddir > TRIM:
            self.at_sync[request.index] = bytes(self.contents[0])
        return io

    def does(self, request: Any, io: Any) -> int:
        self.lasts -= 1
        if self.lasts < 0:
            raise OSError(errno.EIO, "power failure")
        if io.ddir > TRIM:
            # Each block is written once: what one sync has kept stays, whichever of them ends last.
            synced = self.at_sync.pop(request.index)
            places = [slice(at, at + BLOCK) for at in range(0, len(synced), BLOCK)]
            self.kept = b"".join(max(self.kept[place], synced[place]) for place in places)
        return super().does(request, io)


@pytest.mark.parametrize("header", HEADERS)
@given(whims=st.integers(1, 1 << 30), lasts=st.integers(1, 100))
def test_what_fsyncs_vouch_for_outlives_a_power_failure(
    tmp_path_factory: pytest.TempPathFactory, header: str, whims: int, lasts: int
) -> None:
    disk = VolatileDisk(whims, lasts)
    path = tmp_path_factory.mktemp("state") / STATE
    options: dict[str, Any] = {"iodepth": 8, "fsync": 5, "verify_policy": "fsynced", "verify_header": header}
    run(path, disk, -1, rw="randwrite", **options)
    after = Disk([BLOCK * BLOCKS])
    after.contents[0][:] = disk.kept
    if not path.exists():
        assert not written(disk)
        return
    read = checked(path, after, rw="randwrite", iodepth=8, verify_only=True)
    assert read <= set(written(disk)[: load(str(path)).writes])


@pytest.mark.parametrize("header", HEADERS)
@given(whims=st.integers(1, 1 << 30), lasts=st.integers(1, 60))
def test_writes_that_never_came_back_are_not_checked(
    tmp_path_factory: pytest.TempPathFactory, header: str, whims: int, lasts: int
) -> None:
    disk = VolatileDisk(whims, lasts)
    path = tmp_path_factory.mktemp("state") / STATE
    run(path, disk, -1, rw="randwrite", iodepth=8, verify_header=header)
    after = Disk([BLOCK * BLOCKS])
    after.contents[0][:] = disk.contents[0]
    read = checked(path, after, rw="randwrite", iodepth=8, verify_only=True)
    completed = {at for at in range(0, BLOCK * BLOCKS, BLOCK) if any(disk.contents[0][at : at + BLOCK])}
    assert {offset for _, offset in read} <= completed
    # What came back together with the error is lost too. A file with places ends where the first one is open.
    assert header == "fio-2.2" or len(read) >= len(completed) - 8


def test_mixed_jobs_count_their_writes(tmp_path: Path) -> None:
    disk = Disk([BLOCK * BLOCKS])
    job = run(tmp_path / STATE, disk, rw="randrw", number_ios=40)
    assert load(str(tmp_path / STATE)).writes == job.stats.counter(Counter.IOS, WRITE) < 40
    assert checked(tmp_path / STATE, disk, rw="randrw", verify_only=True) == set(written(disk))


def test_a_state_is_not_written_through_what_somebody_laid_in_its_way(tmp_path: Path) -> None:
    """The name of the unfinished file can be foretold, and its directory may be everybody's."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / STATE
    (tmp_path / f"{STATE}.{os.getpid()}.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        verify_state.save(str(path), with_numbers(1))
    assert victim.read_text() == "precious"
