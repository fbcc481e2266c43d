"""The real fio takes the options that we spell, and reads sizes and times as we do."""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from iovigil.agent.config.embedded import embedded
from iovigil.engines.options import SPECS, OptionError
from iovigil.engines.spelling import NAMES_IN_FIO, parse_option, spell_option, spell_options

pytestmark = pytest.mark.requires_fio

OURS_ALONE: Final = {"verify_header"}
NEWER_THAN_3_33: Final = {
    "log_issue_time", "log_window_value", "steadystate_check_interval", "verify_pattern_interval", "verify_policy",
}  # fmt: skip
JOB: Final = ["--name=x", "--filename=x", "--size=1m"]
# Values to try, where fio has none that means the same as our default.
VALUES: Final = {
    "verify_offset": "100",
    "verify_pattern": '"x"%o',
    "blockalign": "8k",
    "bsrange": "1k-4k,2k-8k",
    "bssplit": "4k/60:64k/40,8k/100",
    "buffer_pattern": '"ab"0x01-2',
    "cgroup": "x",
    "cgroup_weight": "500",
    "cpus_allowed": "0",
    "description": "x",
    "directory": "/tmp",
    "exec_postrun": "true",
    "exec_prerun": "true",
    "fadvise_hint": "random",
    "filename": r"a\:b:c",
    "filesize": "1m",
    "hostname": "x",
    "ignore_error": "EIO:ENOSPC,EIO,84",
    "ioscheduler": "none",
    "numa_cpu_nodes": "0",
    "numa_mem_policy": "prefer:0",
    "percentage_random": "20,30,40",
    "port": "8000",
    "random_distribution": "zoned:60/10:40/80",
    "random_generator": "lfsr",
    "read_iolog": "x",
    "replay_align": "4k",
    "replay_redirect": "x",
    "replay_skip": "read,sync",
    "start_delay": "1s-5s",
    "steadystate": "iops_slope:0.3%",
    "sync_file_range": "wait_before,write:8",
    "verify": "crc32c",
    "verify_async_cpus": "0",
    "verify_interval": "4k",
    "write_bw_log": "x",
    "write_hist_log": "x",
    "write_iolog": "x",
    "write_iops_log": "x",
    "write_lat_log": "x",
}


def fio(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["fio", *words], capture_output=True, text=True, timeout=30, check=False)


def test_fio_has_every_option_and_takes_what_we_spell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A job for each; fio names the jobs whose options it does not take.
    lines = []
    for name, spec in SPECS.items():
        if name in OURS_ALONE | NEWER_THAN_3_33 | {"name", "wait_for"}:
            continue
        value = parse_option(name, VALUES[name]) if name in VALUES else spec.default
        lines += [f"[{name}]", "filename=x", "size=1m"]
        lines += [f"ioengine={engine}" for engine in spec.engines[:1] if engine in engines_of_fio()]
        lines.append(f"{NAMES_IN_FIO.get(name, name)}={spell_option(name, value)}")
    Path("options.fio").write_text("\n".join(lines))
    result = fio("--parse-only", "options.fio")
    assert (result.returncode, result.stderr) == (0, "")


@cache
def engines_of_fio() -> list[str]:
    return fio("--enghelp").stdout.split("\n", 1)[1].split()


@pytest.mark.parametrize("probe", embedded("/tmp").probes, ids=lambda probe: probe.name)
def test_fio_takes_the_option_line_of_a_probe(probe) -> None:
    words = [word for word in spell_options(probe.options) if word.partition("=")[0][2:] not in OURS_ALONE]
    result = fio(*words, "--filename=x", "--parse-only")
    assert (result.returncode, result.stderr) == (0, "")


def run_jobs(jobs: list[list[str]]) -> list[dict[str, Any]]:
    """The results of all jobs of one run."""
    words = [word for job in jobs for word in ("--name=x", *job)]
    return list(json.loads(fio("--output-format=json", *words).stdout)["jobs"])


def test_fio_does_as_many_ios_of_a_size_as_we_read_from_it() -> None:
    # Not fractions: fio 3.33 takes 1.5k for a single byte.
    texts = ["512", "1k", "2kb", "1K", "1ki", "1m"]
    results = run_jobs([["--ioengine=null", "--rw=read", f"--bs={text}", "--size=3m"] for text in texts])
    for text, result in zip(texts, results, strict=True):
        assert result["read"]["total_ios"] == (3 << 20) // parse_option("bs", text)[0], text


def test_fio_gives_each_direction_the_value_that_we_read() -> None:
    texts = ["8k", "8k,16k", ",8k", "8k,", "8k,16k,", ",,8k", "8k,,16k", "8k,16k,32k"]
    cases = [(text, place, way) for text in texts for place, way in enumerate(("read", "write", "trim"))]
    results = run_jobs([["--ioengine=null", f"--rw={way}", f"--bs={text}", "--size=1m"] for text, _, way in cases])
    for (text, place, way), result in zip(cases, results, strict=True):
        assert result[way]["total_ios"] == (1 << 20) // parse_option("bs", text)[place], (text, way)


def test_fio_writes_the_pattern_that_we_read(tmp_path: Path) -> None:
    texts = ["10", "300", "70000", "-1", "-300", "0", "0xfff", '0x123456"ab"-2', '"a:b,c"', "0xff 10"]
    options = ["--rw=write", "--bs=512", "--size=512"]
    run_jobs([[*options, f"--filename={tmp_path}/{n}", f"--buffer_pattern={text}"] for n, text in enumerate(texts)])
    for number, text in enumerate(texts):
        pattern = parse_option("buffer_pattern", text)
        assert (tmp_path / str(number)).read_bytes() == (pattern * 512)[:512], text


def test_fio_takes_the_share_of_a_target_that_we_read(tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.write_bytes(bytes(1 << 20))
    texts = ["20%", "50%", "100%"]
    results = run_jobs([[f"--filename={path}", "--rw=read", "--bs=512", f"--size={text}"] for text in texts])
    for text, result in zip(texts, results, strict=True):
        assert result["read"]["io_bytes"] == (1 << 20) * -parse_option("size", text) // 100 // 512 * 512


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("random_distribution", "zipf:1"),
        ("random_distribution", "zipf:1.2:1.5"),
        ("random_distribution", "pareto:1.0"),
        ("random_distribution", "normal:100"),
        ("random_distribution", "zoned"),
        ("random_distribution", "zoned:60/10:30/20"),
        ("random_distribution", "zoned:60/50:40/60"),
        ("bsrange", "4k"),
        ("ignore_error", "EFOO"),
        ("steadystate", "iops"),
        ("percentile_list", "101"),
        ("io_size", "200%"),
        ("buffer_pattern", "abc"),
        ("buffer_pattern", "5000000000"),
        ("sync_file_range", "foo:8"),
        ("numa_mem_policy", "foo"),
    ],
)
def test_what_fio_refuses_is_refused(name: str, text: str) -> None:
    assert fio(*JOB, "--rw=randwrite", f"--{name}={text}", "--parse-only").returncode == 1
    with pytest.raises(OptionError):
        parse_option(name, text)
