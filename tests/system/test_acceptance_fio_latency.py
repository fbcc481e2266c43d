"""The latencies of our results are those of our own logs, computed again from every I/O."""

from collections.abc import Sequence

import pytest
from fio_and_ours import Job, Program
from raw_logs import DDIRS, Line, disagreements, summarise, values

KINDS = ("slat", "clat", "lat")
ENGINES = [
    pytest.param(name, marks=pytest.mark.requires_io_uring if name == "io_uring" else ())
    for name in ("psync", "io_uring", "libaio", "posixaio", "null")
]
COMMON = """
[l]
filename=data
bs=4k
size=1m
write_lat_log=log
log_offset=1
slat_percentiles=1
clat_percentiles=1
lat_percentiles=1
"""


def told(job: Job, direction: str, kind: str) -> dict[str, object]:
    latency: dict[str, object] = job[direction][f"{kind}_ns"]
    return latency


def same_for_all(logs: dict[str, list[Line]]) -> None:
    """A line of each log is the same I/O: submission and completion add up to the whole."""
    by_kind = [sorted(logs[kind], key=lambda line: (line.offset, line.ddir)) for kind in KINDS]
    for slat, clat, lat in zip(*by_kind, strict=True):
        assert slat.offset == clat.offset == lat.offset
        assert abs(slat.value + clat.value - lat.value) <= 1


@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize("rw", ["read", "randwrite", "randtrim", "randrw"])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_figure_is_that_of_the_log(ours: Program, engine: str, rw: str, depth: int) -> None:
    ran = ours.run(job=f"{COMMON}ioengine={engine}\nrw={rw}\niodepth={depth}\n", form="json+")
    logs = {kind: ran.log(f"log_{kind}.1.log", offset=True) for kind in KINDS}
    assert len(logs["lat"]) == 256
    assert len(logs["clat"]) == 256
    for ddir, direction in enumerate(DDIRS):
        for kind in KINDS:
            latencies = values(logs[kind], ddir)
            assert (len(latencies) > 0) == (direction in rw or (rw == "randrw" and direction != "trim")) or not logs[
                kind
            ]
            if latencies:
                reported = told(ran.job, direction, kind)
                assert reported["N"] == ran.job[direction]["total_ios"] == len(latencies)
                assert "bins" in reported
                assert "percentile" in reported
                assert disagreements(summarise(latencies), reported) == []
        whole = told(ran.job, direction, "lat")["mean"]
        parts = [told(ran.job, direction, kind)["mean"] for kind in KINDS[:2]]
        assert whole == pytest.approx(sum(parts), abs=1)  # type: ignore[arg-type]
    if logs["slat"]:
        same_for_all(logs)


@pytest.mark.parametrize("unified", ["mixed", "both"])
@pytest.mark.parametrize("depth", [1, 8])
def test_directions_as_one_are_all_the_lines_of_the_log(ours: Program, depth: int, unified: str) -> None:
    job = f"{COMMON}ioengine=libaio\nrw=randrw\niodepth={depth}\nunified_rw_reporting={unified}\n"
    ran = ours.run(job=job, form="json+")
    assert ("read" in ran.job) == (unified == "both")
    assert ran.job["mixed"]["total_ios"] == 256
    for kind in KINDS:
        latencies = [line.value for line in ran.log(f"log_{kind}.1.log", offset=True)]
        assert disagreements(summarise(latencies), told(ran.job, "mixed", kind)) == []


def test_bins_are_only_in_json_plus(program: Program) -> None:
    for form in ("json", "json+"):
        ran = program.run(job="[p]\nioengine=null\nsize=1m\nrw=read\n", form=form)
        assert ("bins" in told(ran.job, "read", "clat")) == (form == "json+")


@pytest.mark.parametrize("listed", ["50:99.5:100", "0.1:1:25"])
def test_percentiles_are_those_that_were_asked_for(program: Program, listed: str) -> None:
    ran = program.run(
        job=f"[p]\nioengine=null\nsize=1m\nrw=read\nwrite_lat_log=log\nlog_offset=1\npercentile_list={listed}\n"
    )
    reported = ran.job["read"]["clat_ns"]
    assert [float(name) for name in reported["percentile"]] == [float(one) for one in listed.split(":")]
    latencies = [line.value for line in ran.log("log_clat.1.log", offset=True)]
    assert disagreements(summarise(latencies), reported) == []


@pytest.mark.parametrize("wanted", [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 1)])
def test_only_the_percentiles_that_were_asked_for_are_there(program: Program, wanted: Sequence[int]) -> None:
    options = "".join(f"{kind}_percentiles={is_on}\n" for kind, is_on in zip(KINDS, wanted, strict=True))
    job = program.run(job=f"[p]\nfilename=data\nsize=256k\nrw=read\nioengine=libaio\n{options}").job
    assert [int("percentile" in told(job, "read", kind)) for kind in KINDS] == list(wanted)


@pytest.mark.parametrize("engine", ["psync", "null", "libaio\niodepth=8", "posixaio\niodepth=4"])
@pytest.mark.parametrize("rw", ["read", "randrw"])
def test_the_means_of_submission_and_completion_make_that_of_the_whole(program: Program, engine: str, rw: str) -> None:
    if not program.is_ours and "iodepth" not in engine:
        pytest.skip("fio leaves its look at the clock out of both parts with an engine that answers at once")
    job = program.run(job=f"[m]\nfilename=data\nsize=4m\nbs=4k\nrw={rw}\nioengine={engine}\n").job
    for direction in ("read", "write"):
        slat, clat, lat = (job[direction][f"{kind}_ns"]["mean"] for kind in KINDS)
        assert slat + clat == pytest.approx(lat, abs=1)


@pytest.mark.parametrize(("sync", "every"), [("fsync", 4), ("fdatasync", 16)])
@pytest.mark.parametrize("engine", ["psync", "libaio\niodepth=4"])
def test_syncs_are_counted_and_timed_apart(program: Program, engine: str, sync: str, every: int) -> None:
    job = program.run(job=f"[s]\nfilename=data\nsize=256k\nbs=4k\nrw=write\n{sync}={every}\nioengine={engine}\n").job
    latency = job["sync"]["lat_ns"]
    assert job["write"]["total_ios"] == 64
    # The one that comes after the last write is left out by some depths.
    assert 64 // every - 1 <= latency["N"] <= 64 // every
    percentiles = list(latency["percentile"].values())
    assert percentiles == sorted(percentiles)
    assert latency["min"] <= latency["mean"] <= latency["max"]
    assert percentiles[-1] <= latency["max"] * 129 / 128
    assert percentiles[0] >= latency["min"] * 127 / 128
    assert sum(job["write"]["clat_ns"]["percentile"].values()) > 0
