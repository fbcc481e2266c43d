"""Terse output: the fields of fio, in its order."""

import subprocess

import pytest
from fake_page import FakePage, entry_for, histogram_of

from iovigil.agent.fio import terse
from iovigil.engines.options import JobOptions
from iovigil.engines.stats import Counter, Latency, RateSamples

READ, WRITE = range(2)
FIELDS = {2: 161, 3: 121, 4: 162, 5: 180}
DISK = {
    "name": "vda", "read_ios": 1, "write_ios": 2, "read_merges": 3, "write_merges": 4, "read_ticks": 5,
    "write_ticks": 6, "in_queue": 7, "util": 12.345,
}  # fmt: skip


def page() -> FakePage:
    return FakePage(
        counters={(Counter.IOS, READ): 1000, (Counter.BYTES, READ): 4096_000},
        runtimes_ns={READ: 500_000_000},
        histograms={
            (Latency.CLAT, READ): histogram_of(1_999, 64_000),
            (Latency.LAT, READ): histogram_of(1_000, 3_000, 60_000, 3_000_000_000),
        },
        bw={READ: RateSamples(3, 10.0, 20.0, 15.0, 2.0)},
        depth=[1, 0, 0, 0, 0, 0, 0],
    )


def fields(version: int = 3, options: JobOptions | None = None, **more: object) -> list[str]:
    lines = terse.render([entry_for(page(), options)], version, **more).splitlines()  # type: ignore[arg-type]
    assert len(lines) == 1
    return lines[0].split(";")


@pytest.mark.parametrize("version", terse.VERSIONS)
def test_every_version_has_as_many_fields_as_in_fio(version: int) -> None:
    assert len(fields(version)) == FIELDS[version]
    assert fields(version)[0] == str(version)


def test_the_first_fields_of_a_direction_are_size_rates_and_time() -> None:
    assert fields()[2:9] == ["probe", "0", "0", "4000", "8000", "2000", "500"]


def test_latencies_are_in_microseconds() -> None:
    clat = fields()[13:17]
    assert clat[:2] == ["1", "64"]
    assert float(clat[2]) == pytest.approx(32.9995)


def test_shares_of_latency_go_from_microseconds_to_seconds() -> None:
    shares = fields()[-22:]
    assert [place for place, share in enumerate(shares) if share != "0.00%"] == [0, 1, 5, 21]
    assert set(shares) == {"0.00%", "25.00%"}


def test_percentiles_fill_twenty_places() -> None:
    places = fields(options=JobOptions(name="probe", percentile_list=(50.0, 99.0)))[17:37]
    assert places == ["50.000000%=1", "99.000000%=64", *["0%=0"] * 18] or places[2:] == ["0%=0"] * 18
    none = fields(options=JobOptions(name="probe", clat_percentiles=False))[17:37]
    assert none == ["0%=0"] * 20


def test_disks_errors_and_the_description_come_last() -> None:
    options = JobOptions(name="probe", continue_on_error="all", description="why")
    assert fields(options=options, disk_util=[DISK])[121:] == [
        "vda", "1", "2", "3", "4", "5", "6", "7", "12.35%", "0", "0", "why",
    ]  # fmt: skip


@pytest.mark.requires_fio
@pytest.mark.parametrize("version", terse.VERSIONS)
@pytest.mark.parametrize("unified", ["none", "mixed", "both"])
@pytest.mark.parametrize("more", [{}, {"continue_on_error": "all"}, {"description": "why"}])
def test_fields_are_as_many_as_in_the_real_fio(version: int, unified: str, more: dict[str, str]) -> None:
    given = {"name": "probe", "ioengine": "null", "size": "1m", "unified_rw_reporting": unified, **more}
    words = [f"--{name}={value}" for name, value in given.items()]
    run = subprocess.run(
        ["fio", *words, "--output-format=terse", f"--terse-version={version}"],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    options = JobOptions(name="probe", unified_rw_reporting=unified, **more)  # type: ignore[arg-type]
    ours = terse.render([entry_for(page(), options)], version)
    assert [line.count(";") for line in ours.splitlines()] == [line.count(";") for line in run.stdout.splitlines()]
    for our_line, their_line in zip(ours.splitlines(), run.stdout.splitlines(), strict=True):
        for our_field, their_field in zip(our_line.split(";"), their_line.split(";"), strict=True):
            assert our_field.count("%") == their_field.count("%")
            assert our_field.count("=") == their_field.count("=")
