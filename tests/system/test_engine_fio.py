"""Our engine beside the real fio: each verifies what the other wrote, rejects what the other rejects, counts alike."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from engine_runs import ENGINES, KIB, MIB, READ, SYNC, WRITE, Outcome, data_file, run_job

from iovigil.engines.stats import Counter, Mismatch

SIZE = MIB
BLOCK = 4 * KIB
BAD_BLOCK = 37
FIO_DEADLINE_S = 30

requires_fio = pytest.mark.requires_fio
engines = pytest.mark.parametrize("engine", ENGINES)
orders = pytest.mark.parametrize("order", ["", "rand"], ids=["sequential", "random"])
sizes = pytest.mark.parametrize("bs", ["4k", "64k"])
layouts = pytest.mark.parametrize("layout", ["fio-3.41", "fio-2.2"])

# A byte in each field of both headers, and in the data.
FIELDS = {
    "fio-2.2": {"magic": 0, "type": 2, "length": 5, "seed": 11, "offset": 17, "time": 26, "thread": 32, "numberio": 34,
                "header-crc": 36, "checksum": 41, "first-byte": 44, "middle": 2048, "last-byte": BLOCK - 1},
    "fio-3.41": {"magic": 1, "version": 2, "type": 3, "length": 5, "seed": 8, "offset": 16, "time": 28, "numberio": 32,
                 "thread": 40, "padding": 42, "header-crc": 47, "checksum": 48, "first-byte": 52, "middle": 2048,
                 "last-byte": BLOCK - 1},
}  # fmt: skip


def fio(path: Path | None, **options: Any) -> tuple[int, dict[str, Any]]:
    """The real one: its exit status and the job of its JSON."""
    words = [f"--{name}={value}" for name, value in options.items()]
    target = [f"--filename={path}"] if path else []
    done = subprocess.run(
        ["fio", "--name=j", "--output-format=json", "--verify_state_save=0", *target, *words],
        capture_output=True,
        text=True,
        timeout=FIO_DEADLINE_S,
        check=False,
        cwd=path.parent if path else "/",
    )
    text = done.stdout[done.stdout.index("\n{") if not done.stdout.startswith("{") else 0 :]
    return done.returncode, json.JSONDecoder().raw_decode(text.lstrip())[0]["jobs"][0]


def written_by_us(path: Path, **options: Any) -> Outcome:
    done = run_job(path, **{"rw": "randwrite", "bs": BLOCK, "verify": "crc32c", "end_fsync": 1, **options})
    assert done.status == 0, done.show()
    return done


def change_byte(path: Path, at: int, flip: int = 0x04) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        (old,) = file.read(1)
        file.seek(at)
        file.write(bytes([old ^ flip]))


@engines
@layouts
@orders
@sizes
def test_we_verify_what_we_wrote(tmp_path: Path, engine: str, layout: str, order: str, bs: str) -> None:
    path = data_file(tmp_path / "data", SIZE)
    common: dict[str, Any] = {"ioengine": engine, "iodepth": 8, "bs": bs, "verify": "crc32c"}
    done = written_by_us(path, **common, rw=f"{order}write", verify_header=layout)
    # The write job has read it all back itself ...
    assert done.bytes(WRITE) == SIZE
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE
    assert done.page.unverified_bytes == 0
    # ... and a later one, which knows nothing of it, finds it good.
    done = run_job(path, **common, rw=f"{order}read")
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE
    assert done.mismatches == {}


@requires_fio
@engines
@orders
@sizes
def test_fio_verifies_what_we_wrote(tmp_path: Path, engine: str, order: str, bs: str) -> None:
    path = data_file(tmp_path / "data", SIZE)
    written_by_us(path, ioengine=engine, iodepth=8, rw=f"{order}write", bs=bs, verify_header="fio-2.2")
    status, job = fio(path, rw="read", bs=bs, size=SIZE, verify="crc32c", verify_fatal=1)
    assert (status, job["error"]) == (0, 0)
    assert job["read"]["io_bytes"] == SIZE


@requires_fio
@engines
@orders
@sizes
def test_we_verify_what_fio_wrote(tmp_path: Path, engine: str, order: str, bs: str) -> None:
    path = data_file(tmp_path / "data", SIZE)
    status, _ = fio(path, rw=f"{order}write", bs=bs, size=SIZE, verify="crc32c", do_verify=0, end_fsync=1)
    assert status == 0
    done = run_job(path, ioengine=engine, iodepth=8, rw=f"{order}read", bs=bs, verify="crc32c")
    assert done.status == 0, done.show()
    assert done.page.counter(Counter.VERIFIED_BYTES, READ) == SIZE
    assert done.mismatches == {}


@pytest.mark.parametrize(
    ("layout", "field"), [(layout, field) for layout, fields in FIELDS.items() for field in fields]
)
def test_one_flipped_byte_is_found_where_it_is(tmp_path: Path, layout: str, field: str) -> None:
    path = data_file(tmp_path / "data", SIZE)
    written_by_us(path, verify_header=layout)
    at = BAD_BLOCK * BLOCK + FIELDS[layout][field]
    change_byte(path, at)
    done = run_job(path, rw="read", bs=BLOCK, verify="crc32c")
    assert done.status == 1, done.show()
    assert done.page.error == 84
    assert done.page.first_error == 84
    assert done.page.total_errors == 1
    kind = Mismatch.CHECKSUM if field in ("checksum", "first-byte", "middle", "last-byte") else Mismatch.HEADER
    assert done.mismatches == {kind: 1}
    (record,) = done.page.mismatches()
    assert (record.kind, record.offset, record.length) == (kind, BAD_BLOCK * BLOCK, BLOCK)
    assert record.first_byte == at
    assert done.messages == (f"error: {done.page.text}",)
    # All was read, the rest was good, and the job came to its end.
    assert done.ios(READ) == SIZE // BLOCK
    assert done.page.is_complete


@pytest.mark.requires_io_uring
def test_one_flipped_byte_is_found_among_many_in_flight(tmp_path: Path) -> None:
    path = data_file(tmp_path / "data", SIZE)
    written_by_us(path)
    at = BAD_BLOCK * BLOCK + 1234
    change_byte(path, at)
    done = run_job(path, rw="randread", ioengine="io_uring", iodepth=32, bs=BLOCK, verify="crc32c")
    assert done.status == 1
    assert [record.first_byte for record in done.page.mismatches()] == [at]


@requires_fio
def test_fio_rejects_what_we_reject(tmp_path: Path) -> None:
    """One block damaged in each field of the header and of the data."""
    path = data_file(tmp_path / "data", 16 * BLOCK)
    written_by_us(path, verify_header="fio-2.2")
    places = [block * BLOCK + at for block, at in enumerate(FIELDS["fio-2.2"].values())]
    for at in places:
        change_byte(path, at)
    ours = run_job(path, rw="read", bs=BLOCK, verify="crc32c")
    assert [record.first_byte for record in ours.page.mismatches()] == places
    # Only with continue_on_error does fio count bad blocks, and then its exit status is 0.
    assert fio(path, rw="read", bs=BLOCK, size=16 * BLOCK, verify="crc32c")[0] == 1
    _, theirs = fio(path, rw="read", bs=BLOCK, size=16 * BLOCK, verify="crc32c", continue_on_error="verify")
    assert (theirs["error"], theirs["total_err"]) == (84, len(places))


@requires_fio
def test_flipped_bytes_in_what_fio_wrote_are_found_where_they_are(tmp_path: Path) -> None:
    path = data_file(tmp_path / "data", 16 * BLOCK)
    assert fio(path, rw="randwrite", bs=BLOCK, size=16 * BLOCK, verify="crc32c", do_verify=0)[0] == 0
    places = [block * BLOCK + at for block, at in enumerate(FIELDS["fio-2.2"].values())]
    for at in places:
        change_byte(path, at)
    done = run_job(path, rw="read", bs=BLOCK, verify="crc32c")
    assert done.status == 1
    assert [record.first_byte for record in done.page.mismatches()] == places


@requires_fio
def test_blocks_of_another_size_than_written_are_rejected_by_both(tmp_path: Path) -> None:
    path = data_file(tmp_path / "data", 16 * BLOCK)
    written_by_us(path, verify_header="fio-2.2")
    done = run_job(path, rw="read", bs="8k", verify="crc32c")
    assert done.status == 1
    assert done.mismatches == {Mismatch.HEADER: 8}
    assert fio(path, rw="read", bs="8k", size=16 * BLOCK, verify="crc32c")[0] == 1


COUNTED: dict[str, dict[str, Any]] = {
    "size": {"rw": "read", "size": "512k"},
    "random-size-not-of-blocks": {"rw": "randread", "size": 100_000},
    "io_size-below-size": {"rw": "read", "size": "1m", "io_size": "256k"},
    "io_size-above-size": {"rw": "randread", "size": "256k", "io_size": "1m"},
    "io_size-not-of-blocks": {"rw": "write", "size": "256k", "io_size": 50_000},
    "number_ios": {"rw": "read", "size": "1m", "number_ios": 77},
    "number_ios-above": {"rw": "randwrite", "size": "256k", "number_ios": 1000},
    "loops": {"rw": "randread", "size": "256k", "loops": 3},
    "bs": {"rw": "write", "size": "1m", "bs": "16k"},
    "odd-bs": {"rw": "randread", "size": "1m", "bs": 3000},
    "offset": {"rw": "read", "offset": "256k", "size": "512k"},
    "fsync": {"rw": "randwrite", "size": "256k", "fsync": 7},
    "verify": {"rw": "randwrite", "size": "256k", "verify": "crc32c", "verify_header": "fio-2.2"},
    "rate": {"rw": "read", "size": "256k", "rate": "2m"},
}


@requires_fio
@pytest.mark.parametrize("case", COUNTED)
def test_the_same_job_counts_as_much_as_fio(tmp_path: Path, case: str) -> None:
    path = data_file(tmp_path / "data", SIZE)
    options = {"bs": "4k", **COUNTED[case]}
    status, theirs = fio(path, **{name: value for name, value in options.items() if name != "verify_header"})
    assert status == 0
    for engine in ("psync", "sync", "pvsync2"):
        ours = run_job(path, **options, ioengine=engine)
        assert ours.status == 0, ours.show()
        for ddir, name in ((READ, "read"), (WRITE, "write")):
            assert (ours.ios(ddir), ours.bytes(ddir)) == (theirs[name]["total_ios"], theirs[name]["io_bytes"])
            assert ours.page.counter(Counter.SHORT_IOS, ddir) == theirs[name]["short_ios"] == 0
        assert ours.ios(SYNC) == theirs["sync"]["total_ios"]


@engines
@pytest.mark.parametrize("case", COUNTED)
def test_a_job_counts_the_same_on_every_engine(tmp_path: Path, engine: str, case: str) -> None:
    path = data_file(tmp_path / "data", SIZE)
    options = {"bs": "4k", **COUNTED[case]}
    one, other = run_job(path, **options), run_job(path, **options, ioengine=engine, iodepth=7)
    assert (one.status, other.status) == (0, 0), other.show()
    for ddir in (READ, WRITE, SYNC):
        assert (one.ios(ddir), one.bytes(ddir)) == (other.ios(ddir), other.bytes(ddir))


@requires_fio
def test_a_region_that_is_not_whole_blocks_is_left_at_its_last_whole_one(tmp_path: Path) -> None:
    """A sequential fio reads a block more, beyond the end of the region."""
    path = data_file(tmp_path / "data", SIZE)
    ours = run_job(path, rw="read", bs=BLOCK, size=100_000)
    assert ours.bytes(READ) == 100_000 // BLOCK * BLOCK
    _, theirs = fio(path, rw="read", bs=BLOCK, size=100_000)
    assert theirs["read"]["io_bytes"] == ours.bytes(READ) + BLOCK


@requires_fio
@pytest.mark.parametrize("rw", ["rw", "randrw"])
@pytest.mark.parametrize("share", [30, 70])
def test_a_mix_is_mixed_as_by_fio(tmp_path: Path, rw: str, share: int) -> None:
    path = data_file(tmp_path / "data", 4 * MIB)
    options: dict[str, Any] = {"rw": rw, "rwmixread": share, "bs": 1024, "size": "4m"}
    ours = run_job(path, **options)
    status, theirs = fio(path, **options)
    assert (ours.status, status) == (0, 0)
    for done in ([ours.ios(READ), ours.ios(WRITE)], [theirs["read"]["total_ios"], theirs["write"]["total_ios"]]):
        assert sum(done) == 4096
        assert done[0] / 4096 == pytest.approx(share / 100, abs=0.03)
