"""fio's own results follow from its own logs: what reads the logs reads them right."""

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from raw_logs import DDIRS, disagreements, read_histogram_log, read_log, summarise, summed, values

FIO_DEADLINE_S = 30

pytestmark = pytest.mark.requires_fio


def fio(directory: Path, **options: Any) -> dict[str, Any]:
    """The job of its json+; the logs are in the directory."""
    words = [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        ["fio", "--name=j", "--filename=data", "--output-format=json+", *words],
        capture_output=True,
        timeout=FIO_DEADLINE_S,
        check=True,
        cwd=directory,
    )
    job: dict[str, Any] = json.loads(done.stdout)["jobs"][0]
    return job


@pytest.mark.parametrize(
    "options", [{"ioengine": "psync"}, {"ioengine": "libaio", "iodepth": 8}], ids=["sync", "async"]
)
def test_what_fio_reports_is_what_it_logged(tmp_path: Path, options: dict[str, Any]) -> None:
    job = fio(
        tmp_path, rw="randrw", bs="4k", size="4m", write_lat_log="x", log_offset=1, lat_percentiles=1,
        slat_percentiles=1, **options,
    )  # fmt: skip
    for kind in ("slat", "clat", "lat"):
        lines = read_log(tmp_path / f"x_{kind}.1.log", offset=True)
        if kind == "slat" and options["ioengine"] == "psync":
            assert lines == []  # fio measures none with a synchronous engine
            continue
        for ddir, name in enumerate(DDIRS[:2]):
            summary = summarise(values(lines, ddir))
            assert disagreements(summary, job[name][f"{kind}_ns"]) == []
        assert {line.offset for line in lines} == set(range(0, 4 << 20, 4096))
        assert {line.bs for line in lines} == {4096}


def test_a_wrong_result_is_seen(tmp_path: Path) -> None:
    job = fio(tmp_path, rw="randread", bs="4k", size="1m", ioengine="psync", write_lat_log="x")
    lines = read_log(tmp_path / "x_clat.1.log")
    summary = summarise(values(lines, 0))
    assert disagreements(summary, job["read"]["clat_ns"]) == []
    one_more = summarise([*values(lines, 0), 10 * summary.maximum])
    assert {text.split(":")[0] for text in disagreements(one_more, job["read"]["clat_ns"])} >= {
        "N", "max", "mean", "stddev", "bins",
    }  # fmt: skip
    slower = dataclasses.replace(summary, samples=tuple(value * 2 for value in summary.samples))
    assert any(text.startswith("percentile") for text in disagreements(slower, job["read"]["clat_ns"]))


def test_fios_histogram_log_adds_up_to_its_histogram(tmp_path: Path) -> None:
    job = fio(
        tmp_path, rw="randrw", bs="4k", size="1g", ioengine="null", norandommap=1, time_based=1, runtime=1,
        write_hist_log="x", log_hist_msec=100,
    )  # fmt: skip
    lines = read_histogram_log(tmp_path / "x_clat_hist.1.log")
    assert {len(line.counts) for line in lines} == {1856}
    for ddir, name in enumerate(DDIRS[:2]):
        logged = sum(summed(lines, ddir).values())
        # fio does not log what came after the last full interval, which is long on a busy machine.
        assert 0.2 * job[name]["total_ios"] < logged <= job[name]["total_ios"]
