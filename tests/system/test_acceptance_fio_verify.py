"""What is written is read back and checked, and what was damaged is found: of fio and of ours."""

import itertools
from collections.abc import Callable, Container
from pathlib import Path

import pytest
from fio_and_ours import CORRUPT, Program, moved

KIB = 1 << 10
MIB = 1 << 20
SYNC_AND_ASYNC = ["ioengine=psync\n", "ioengine=libaio\niodepth=8\n"]
depths = pytest.mark.parametrize("engine", SYNC_AND_ASYNC, ids=["psync", "libaio"])


@pytest.mark.parametrize("checksum", ["crc32c", "md5"])
def test_one_job_writes_split_lengths_and_another_checks_them(program: Program, checksum: str) -> None:
    ran = program.run(
        job=f"""
        [global]
        filename=data
        size=4m
        bssplit=512/50:64k/50
        verify={checksum}
        verify_fatal=1
        iodepth=4
        [writes]
        rw=write
        do_verify=0
        [writes-behind]
        rw=write
        do_verify=0
        offset=4m
        [checks]
        stonewall
        rw=write
        verify_only=1
        [checks-behind]
        rw=write
        verify_only=1
        offset=4m
        """
    )
    assert [job["error"] for job in ran.jobs] == [0] * 4
    assert ran.jobs[2]["read"]["io_bytes"] == ran.jobs[0]["write"]["io_bytes"]


def test_blocks_of_another_length_than_written_fail(program: Program) -> None:
    common = "filename=data\nsize=1m\nverify=crc32c\n"
    program.run(job=f"[w]\n{common}rw=write\nbs=16k\ndo_verify=0\n")
    ran = program.run(job=f"[r]\n{common}rw=read\nbs=4k\n", status=None)
    assert ran.status > 0
    assert ran.stderr
    assert ran.job["error"] == CORRUPT


@pytest.mark.parametrize("interval", ["1k", "4k", "8k"])
def test_any_interval_of_headers_can_be_checked(program: Program, interval: str) -> None:
    common = "[v]\nfilename=data\nsize=256k\nbs=4k\nrw=write\nverify=crc32c\n"
    ran = program.run(job=f"{common}verify_interval={interval}\n")
    assert ran.job["error"] == 0
    assert ran.job["read"]["io_kbytes"] == 256


def test_an_interval_that_does_not_divide_the_block_is_refused_by_us(ours: Program) -> None:
    """fio rounds it to one that does; ours says what it would have to be."""
    job = "[v]\nfilename=data\nsize=256k\nbs=4k\nrw=write\nverify=crc32c\nverify_interval=3k\n"
    assert "multiple of verify_interval" in ours.refuses(job=job)


@depths
def test_a_backlog_reads_back_everything(program: Program, engine: str) -> None:
    ran = program.run(job=f"[v]\nfilename=data\nsize=8m\nbs=4k\nrw=write\nverify=crc32c\nverify_backlog=32\n{engine}")
    assert ran.job["read"]["io_kbytes"] == ran.job["write"]["io_kbytes"] == 8 * KIB


@pytest.mark.parametrize("backlog", [1, 1024])
@depths
def test_a_mixed_job_with_a_backlog_reads_what_it_reads_and_what_it_wrote(
    program: Program, engine: str, backlog: int
) -> None:
    ran = program.run(
        job=f"[v]\nfilename=data\nsize=32m\nbs=4k\nrw=randrw\nverify=crc32c\nverify_backlog={backlog}\n{engine}"
    )
    read, write = ran.job["read"]["io_kbytes"], ran.job["write"]["io_kbytes"]
    assert read == 32 * KIB
    assert 2 * write == pytest.approx(read, rel=0.06)


def test_threads_beside_the_loop_check_for_as_long_as_the_job_lasts(program: Program) -> None:
    ran = program.run(
        job="""
        [v]
        filename=data
        size=4m
        rw=randwrite
        bs=4k
        verify=crc32c
        verify_async=3
        verify_backlog=64
        time_based
        runtime=2
        """
    )
    assert ran.job["error"] == 0
    assert ran.job["elapsed"] >= 2
    assert ran.job["read"]["io_kbytes"] > 0


@pytest.mark.parametrize(
    "options", ["", "verify_async=2\n", "verify_backlog=8\n", "verify_backlog=8\nverify_async=2\n"]
)
def test_data_that_an_engine_does_not_keep_is_found_wrong_by_us(ours: Program, options: str) -> None:
    """fio pretends with ioengine=null that every check went well."""
    assert "corruption" in ours.refuses(job=f"[v]\nioengine=null\nsize=1m\nrw=write\nverify=crc32c\n{options}")


def test_experimental_verify_reads_back_what_was_written(program: Program) -> None:
    job = "[v]\nfilename=data\nsize=128k\nbs=4k\nrw=write\nverify=crc32c\nexperimental_verify=1\n"
    ran = program.run(job=job)
    assert (ran.job["read"]["io_kbytes"], ran.job["write"]["io_kbytes"]) == (128, 128)


def test_experimental_verify_reads_back_what_every_loop_wrote(ours: Program) -> None:
    """fio 3.33 reads back only what the first one wrote."""
    job = "[v]\nfilename=data\nsize=128k\nbs=4k\nrw=write\nverify=crc32c\nexperimental_verify=1\nloops=8\n"
    ran = ours.run(job=job)
    assert (ran.job["read"]["io_kbytes"], ran.job["write"]["io_kbytes"]) == (8 * 128, 8 * 128)


def test_experimental_verify_goes_on_for_as_long_as_the_job_lasts(ours: Program) -> None:
    """fio 3.33 reads nothing back."""
    job = "[v]\nfilename=data\nsize=128k\nbs=4k\nrw=write\nverify=crc32c\nexperimental_verify=1\n"
    ran = ours.run(job=f"{job}time_based\nruntime=1\n")
    assert ran.job["error"] == 0
    assert ran.job["read"]["io_kbytes"] > 128
    assert ran.job["write"]["io_kbytes"] > 128


def test_a_check_is_repeated_by_every_loop(ours: Program) -> None:
    """fio 3.33 checks only once."""
    common = "[v]\nfilename=data\nsize=4k\nbs=4k\nverify=crc32c\n"
    ours.run(job=f"{common}rw=write\ndo_verify=0\n")
    assert ours.run(job=f"{common}rw=read\nloops=2\n").job["read"]["io_kbytes"] == 8


@pytest.mark.parametrize(
    "shape",
    ["filename=data\n", "filename=a:b:c:d\nioengine=libaio\niodepth=8\nloops=4\n"],
    ids=["one file", "four files, libaio, loops"],
)
def test_a_reader_checks_what_the_state_file_tells_of(program: Program, shape: str) -> None:
    common = f"[j]\n{shape}size=512k\nbs=4k\nverify=crc32c\n"
    program.run(job=f"{common}rw=write\ndo_verify=0\nverify_state_save=1\n")
    assert (program.directory / "local-j-0-verify.state").exists()
    ran = program.run(job=f"{common}rw=read\nverify_state_load=1\n")
    assert ran.job["error"] == 0
    # fio 3.33 reads one loop of four.
    assert ran.job["read"]["io_kbytes"] in (512, 2048)


RWS = ["write", "readwrite", "randwrite", "randrw"]
FORMS = {
    "plain": "",
    "backlog": "verify_backlog=16\n",
    "threads": "verify_async=2\n",
    "interval": "verify_interval=1k\n",
    "mixed lengths": "bsrange=4k-16k\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("rw", RWS)
@pytest.mark.parametrize("form", FORMS)
def test_what_a_job_wrote_passes_its_check(program: Program, rw: str, form: str) -> None:
    job = f"[v]\nfilename=data\nsize=1m\nbs=4k\nrw={rw}\nverify=crc32c\nioengine=libaio\niodepth=8\n{FORMS[form]}"
    ran = program.run(job=job)
    assert ran.job["error"] == 0
    if "write" in rw and rw != "readwrite":
        assert ran.job["read"]["io_bytes"] == ran.job["write"]["io_bytes"]
    assert ran.job["read"]["io_bytes"] + ran.job["write"]["io_bytes"] >= MIB


@pytest.mark.parametrize("rw", ["read", "randread"])
@depths
def test_reads_check_what_another_job_wrote(program: Program, rw: str, engine: str) -> None:
    common = f"[v]\nfilename=data\nsize=1m\nbs=4k\nverify=crc32c\n{engine}"
    program.run(job=f"{common}rw=write\ndo_verify=0\n")
    ran = program.run(job=f"{common}rw={rw}\n")
    assert (ran.job["error"], ran.job["read"]["io_kbytes"]) == (0, 1024)


def flip_a_byte(path: Path) -> None:
    """Of the data of a block in the middle."""
    with path.open("r+b") as file:
        file.seek(512 * KIB + 1000)
        found = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([found[0] ^ 0x10]))


def overwrite(length: int) -> Callable[[Path], None]:
    def mangle(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(512 * KIB)
            file.write(b"\x5a" * length)

    return mangle


MANGLES = {"a byte": flip_a_byte, "four bytes": overwrite(4), "a block": overwrite(4096)}


# {what verify says: more that it needs}; `with headers` is what fio 3.33 makes of a pattern alone.
FORMATS = {
    **dict.fromkeys(("crc32c", "crc32", "crc64", "crc16", "crc7", "md5", "sha1", "sha256", "sha512", "xxhash"), ""),
    **dict.fromkeys(("sha3-224", "sha3-256", "sha3-384", "sha3-512", "crc32c-intel", "meta", "null"), ""),
    "pattern": "verify_pattern=0x5a%o\n",
    "with headers": "verify_pattern=0x5a%o\n",
}
# fio 3.33 finds a byte only near the ends of the data, and so do we of what it wrote.
UNSEEN = {"a byte": {"meta", "null"}, "four bytes": {"null"}, "a block": {"null"}}


def one_job_each(options: str, left_out: Container[str] = ()) -> str:
    """A section and a file for every format."""
    return options + "".join(
        f"[{name}]\nfilename={name}\n{more}" + (f"verify={name}\n" if name != "with headers" else "")
        for name, more in FORMATS.items()
        if name not in left_out
    )


WORKING_TOGETHER = {
    "plain": "",
    "threads": "verify_async=2\n",
    "backlog": "verify_backlog=16\n",
    "interval": "verify_interval=1k\n",
    "deep": "ioengine=libaio\niodepth=8\nverify_backlog=16\nverify_async=1\n",
    "offset": "verify_offset=512\n",
}


# Each of six directions with two of six forms.
DIRECTIONS_AND_FORMS = [
    (rw, form)
    for (row, rw), (column, form) in itertools.product(
        enumerate(["write", "readwrite", "randwrite", "randrw", "read", "randread"]), enumerate(WORKING_TOGETHER)
    )
    if (row + column) % 3 == 0
]


@pytest.mark.slow
@pytest.mark.parametrize(("rw", "form"), DIRECTIONS_AND_FORMS)
def test_every_format_passes_its_check(program: Program, rw: str, form: str) -> None:
    left_out = {"pattern", "null"} if form == "offset" else ()
    common = f"[global]\nsize=256k\nbs=4k\nverify_fatal=1\n{WORKING_TOGETHER[form]}"
    if "read" in rw:
        program.run(job=one_job_each(f"{common}rw=write\ndo_verify=0\n", left_out))
    ran = program.run(job=one_job_each(f"{common}rw={rw}\n", left_out))
    assert {job["jobname"]: job["error"] for job in ran.jobs} == dict.fromkeys(FORMATS.keys() - set(left_out), 0)
    for job in ran.jobs:
        done = {name: job[name]["io_kbytes"] for name in ("read", "write")}
        assert done["read"] >= 256 or rw in ("readwrite", "randrw"), job["jobname"]
        assert sum(done.values()) >= 256


READ, VERIFY_ONLY = "rw=randread\n", "rw=randwrite\nverify_only=1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mangle", "check"),
    [("a byte", READ), ("a byte", VERIFY_ONLY), ("four bytes", VERIFY_ONLY), ("a block", READ)],
)
def test_damage_is_found_in_every_format(program: Program, mangle: str, check: str) -> None:
    common = "[global]\nsize=1m\nbs=4k\n"
    program.run(job=one_job_each(f"{common}rw=randwrite\n"))
    ran = program.run(job=one_job_each(common + check))
    assert {job["jobname"]: job["error"] for job in ran.jobs} == dict.fromkeys(FORMATS, 0)
    for name in FORMATS:
        MANGLES[mangle](program.directory / name)
    ran = program.run(job=one_job_each(common + check), status=None)
    assert ran.status > 0
    unseen = UNSEEN[mangle] | ({"sha512"} if mangle == "a byte" and not program.is_ours else set())
    assert {job["jobname"] for job in ran.jobs if job["error"] != CORRUPT} == unseen
    assert {job["error"] for job in ran.jobs if job["jobname"] in unseen} == {0}


@pytest.mark.parametrize("length", [3, 255, 512])
@pytest.mark.parametrize("verify", ["verify=pattern\n", "", "verify=crc32c\n"], ids=["bare", "headers", "crc32c"])
def test_a_pattern_from_a_file_is_what_the_file_holds(program: Program, verify: str, length: int) -> None:
    pattern = bytes((7 * at + at // 256) % 256 for at in range(length))
    (program.directory / "pattern").write_bytes(pattern)
    program.run(job=f"[v]\nfilename=data\nsize=16k\nbs=4k\nrw=write\nverify_pattern='pattern'\n{verify}")
    data = (program.directory / "data").read_bytes()
    data_at = 0 if "=pattern" in verify else 64  # behind header and checksum, whichever they are
    for at in range(0, len(data), 4096):
        assert data[at + data_at : at + 4096] == (pattern * 4096)[data_at:4096]


def test_a_pattern_of_16_kib_from_a_file(ours: Program) -> None:
    """fio 3.33 takes the first 512 bytes of it."""
    pattern = bytes((at * at // 7 + at) % 251 for at in range(16 * KIB))
    (ours.directory / "pattern").write_bytes(pattern)
    job = "[v]\nfilename=data\nsize=64k\nbs=16k\nrw=write\nverify=pattern\nverify_pattern='pattern'\n"
    ours.run(job=job)
    assert (ours.directory / "data").read_bytes() == 4 * pattern


MIXED = {
    '0xff%o"ab"-1': (b"\xff", 8, b"ab\xff\xff\xff\xff"),
    "0x0123": (b"\x01\x23",),
    "0xabc": (b"\x0a\xbc",),
    "17": (b"\x11",),
    "258": (b"\x02\x01",),
    "%o%o": (8, 8),
    '"%o"': (b"%o",),
    "'part'\"+\"'part'": (b"from a file+from a file",),
}


@pytest.mark.parametrize("text", MIXED)
def test_a_pattern_of_several_parts_is_laid_over_every_block(program: Program, text: str) -> None:
    (program.directory / "part").write_bytes(b"from a file")
    common = "filename=data\nsize=32k\nbs=4k\nverify=pattern\n"
    program.run(job=f"[v]\n{common}offset=8k\nrw=write\nverify_interval=1k\nverify_pattern={text}\n")
    data = (program.directory / "data").read_bytes()
    for at in range(8 * KIB, 32 * KIB, 4 * KIB):
        laid = b"".join(at.to_bytes(8, "little") if part == 8 else bytes(part) for part in MIXED[text])
        assert data[at : at + 4096] == (laid * 4096)[:4096]


@pytest.mark.parametrize("text", ["", "abc", "%x", '0xab"cd', "'part", "'not there'"])
def test_what_is_no_pattern_is_refused(program: Program, text: str) -> None:
    assert "verify_pattern" in program.refuses(
        job=f"[v]\nfilename=data\nsize=4k\nrw=write\nverify=pattern\nverify_pattern={text}\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("mangle", MANGLES.values(), ids=MANGLES)
@pytest.mark.parametrize(("rw", "engine"), list(zip(["write", "randwrite"], SYNC_AND_ASYNC, strict=True)))
def test_damage_is_found(program: Program, rw: str, mangle: Callable[[Path], None], engine: str) -> None:
    common = f"[v]\nfilename=data\nsize=1m\nbs=4k\nrw={rw}\nverify=crc32c\nverify_fatal=1\n{engine}"
    program.run(job=common)
    check = f"{common}verify_only=1\n"
    assert program.run(job=check).job["error"] == 0
    mangle(program.directory / "data")
    ran = program.run(job=check, status=None)
    assert ran.status > 0
    assert ran.stderr
    assert ran.job["error"] == CORRUPT


@pytest.mark.parametrize("mangle", MANGLES.values(), ids=MANGLES)
def test_damage_is_found_by_a_job_that_only_reads(program: Program, mangle: Callable[[Path], None]) -> None:
    common = "[v]\nfilename=data\nsize=1m\nbs=4k\nverify=crc32c\n"
    program.run(job=f"{common}rw=write\n")
    mangle(program.directory / "data")
    ran = program.run(job=f"{common}rw=randread\n", status=None)
    assert ran.status > 0
    assert ran.job["error"] == CORRUPT


@pytest.mark.parametrize("errors", ["verify", "all", "io"])
def test_damage_that_is_passed_over_is_counted_and_never_a_success(ours: Program, errors: str) -> None:
    """fio 3.33 exits with 0 as if nothing had been wrong."""
    common = f"[v]\nfilename=data\nsize=1m\nbs=4k\nverify=crc32c\ncontinue_on_error={errors}\n"
    ours.run(job=f"{common}rw=write\n")
    overwrite(64 * KIB)(ours.directory / "data")
    ran = ours.run(job=f"{common}rw=read\n", status=None)
    assert ran.status != 0
    assert ran.job["read"]["io_kbytes"] == 1024
    assert sum(ran.job["iovigil"]["mismatches"].values()) == 16


CHOICES = {"seq": "", "rand": "rand", "norandommap": "rand", "stride": ":4k"}


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("way", ["write", "verify_only", "rw", "read"])
def test_headers_are_those_of_the_write_that_came_last(program: Program, choice: str, way: str) -> None:
    """Whichever order the blocks were written in, and whether the same job or a later one looks."""
    if way == "rw" and choice == "norandommap" and not program.is_ours:
        pytest.skip("fio 3.33 takes its own blocks for damaged: it draws another rand_seed than it wrote")
    direction = "rw" if way == "rw" else "write"
    rw = direction + CHOICES[choice] if choice == "stride" else CHOICES[choice] + direction
    common = "[v]\nfilename=data\nsize=1m\nbs=4k\nverify=crc32c\nioengine=libaio\niodepth=8\n"
    common += "norandommap=1\n" if choice == "norandommap" else ""
    first = program.run(job=f"{common}rw={rw}\ndo_verify={int(way in ('write', 'rw'))}\n")
    assert first.job["error"] == 0
    if way == "verify_only":
        assert program.run(job=f"{common}rw={rw}\nverify_only=1\n").job["error"] == 0
    if way == "read":
        again = rw.replace("write", "read")
        assert program.run(job=f"{common}rw={again}\n").job["error"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("rw", ["write", "randwrite"])
@pytest.mark.parametrize("io_size", ["512k", "3m"])
@depths
def test_blocks_that_are_written_again_are_checked_for_the_last_time(
    program: Program, rw: str, io_size: str, engine: str
) -> None:
    job = f"[v]\nfilename=data\nsize=1m\nbs=4k\nrw={rw}\nverify=crc32c\nio_size={io_size}\n{engine}"
    ran = program.run(job=job)
    assert ran.job["error"] == 0
    if program.is_ours or io_size == "512k":  # fio 3.33 does not write as much as asked when it verifies
        assert ran.job["write"]["io_kbytes"] == {"512k": 512, "3m": 3072}[io_size]
        assert ran.job["read"]["io_kbytes"] == min(ran.job["write"]["io_kbytes"], 1024)


@pytest.mark.parametrize("map_of", ["norandommap=1", "norandommap=1\nverify_backlog=8", "bsrange=4k-64k"])
@depths
def test_writes_that_overlap_are_checked_for_the_last_of_them(ours: Program, map_of: str, engine: str) -> None:
    job = f"[v]\nfilename=data\nsize=1m\nbs=4k\nrw=randwrite\nverify=crc32c\nio_size=2m\n{map_of}\n{engine}"
    assert ours.run(job=job).job["error"] == 0


OVERLAPS = {
    "in order": "rw=write\n",
    "at random": "rw=randwrite\n",
    "without a map": "rw=randwrite\nnorandommap=1\n",
    "one after another": "rw=randwrite\nnorandommap=1\nserialize_overlap=1\n",
    "lengths": "rw=randwrite\nbsrange=4k-16k\n",
    "backlog": "rw=randwrite\nverify_backlog=8\n",
    "backlog without a map": "rw=randwrite\nnorandommap=1\nverify_backlog=8\n",
    "experimental": "rw=randwrite\nexperimental_verify=1\n",
    "threads": "rw=randwrite\nverify_async=2\n",
    "mixed in order": "rw=rw\n",
    "mixed": "rw=randrw\n",
    "mixed without a map": "rw=randrw\nnorandommap=1\n",
    "pattern": "rw=randwrite\nnorandommap=1\nverify_pattern=0x11%o\n",
}


@depths
@pytest.mark.parametrize("writes", OVERLAPS)
def test_of_writes_in_one_place_the_last_is_expected(ours: Program, writes: str, engine: str) -> None:
    """fio 3.33 takes mixed ones without a map to be damaged."""
    common = f"[v]\nfilename=data\nsize=256k\nbs=4k\nio_size=768k\nverify=md5\n{OVERLAPS[writes]}{engine}"
    job = ours.run(job=common).job
    assert job["error"] == 0
    if not writes.startswith("mixed"):
        assert job["write"]["io_kbytes"] == 768
    if "iodepth" not in engine:
        assert ours.run(job=f"{common}verify_only=1\n").job["error"] == 0


TRIMS = "size=4m\nbs=4k\nrw=randwrite\nverify=crc32c\ntrim_percentage=30\ntrim_backlog=16\n"


@depths
def test_trimmed_blocks_read_as_zeroes(ours: Program, engine: str) -> None:
    """fio 3.33 ends in an assertion of its own when trim_percentage is given to a job that does not trim."""
    job = ours.run(job=f"[t]\nfilename=data\n{TRIMS}{engine}").job
    assert job["trim"]["total_ios"] > 0
    data = (ours.directory / "data").read_bytes()
    zeroes = sum(not any(data[at : at + 4096]) for at in range(0, len(data), 4096))
    assert zeroes == job["trim"]["total_ios"]
    assert job["iovigil"]["verified_bytes"] == 4 * MIB


@pytest.mark.parametrize("verify", ["crc32c", "sha3-256", "meta", "pattern\nverify_pattern=%o"])
@pytest.mark.parametrize("mangle", ["a byte", "a block"])
def test_what_is_not_zero_where_it_was_trimmed_is_found(ours: Program, verify: str, mangle: str) -> None:
    """By the same job, asked to verify only: it knows which of its blocks it trimmed."""
    common = f"[t]\nfilename=data\n{TRIMS}verify={verify}\n"
    ours.run(job=common)
    check = f"{common}verify_only=1\n"
    assert ours.run(job=check).job["error"] == 0
    with (ours.directory / "data").open("r+b") as file:
        data = file.read()
        trimmed = [at for at in range(4096, len(data), 4096) if not any(data[at : at + 4096])]
        file.seek(trimmed[5] + 77)
        file.write(b"\x10" * (1 if mangle == "a byte" else 4000))
    ran = ours.run(job=check, status=None)
    assert ran.job["error"] == CORRUPT
    assert sum(ran.job["iovigil"]["mismatches"].values()) == 1


def test_a_later_check_of_a_job_that_trimmed_is_refused_by_us(ours: Program) -> None:
    """Of a deep queue it hangs on what ended first, which blocks were trimmed: others would be taken for lost ones."""
    assert "trim_percentage" in ours.refuses(job=f"[t]\nfilename=data\n{TRIMS}verify_only=1\niodepth=4\n")


@pytest.mark.requires_fio
@pytest.mark.parametrize(
    ("rw", "options"),
    [
        *itertools.product(["write", "randwrite"], ["", "verify_backlog=32\n", "do_verify=0\n", "loops=2\n"]),
        *itertools.product(["write", "randwrite"], ["verify_interval=1k\n", "io_size=512k\n", "nrfiles=4\n"]),
    ],
)
def test_both_count_as_much(both: tuple[Program, Program], rw: str, options: str) -> None:
    name = "" if "nrfiles" in options else "filename=data\n"
    job = f"[v]\n{name}size=1m\nbs=4k\nrw={rw}\nverify=crc32c\n{options}"
    ours, theirs = (program.run(job=job) for program in both)
    assert moved(ours.job) == moved(theirs.job)
