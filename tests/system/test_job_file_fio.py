"""The real fio takes the job files that we take, and means the same by them."""

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from iovigil.agent.fio import command_line
from iovigil.agent.fio.command_line import CommandLineError

pytestmark = pytest.mark.requires_fio

FILES = {
    "one job": "[a]\nsize=1m\n",
    "globals that add up": "[global]\nsize=1m\n[a]\n[global]\nbs=8k\n[b]\nrw=write\n[global]\niodepth=4\n[c]\n",
    "comments": "; one\n# two\n\n  [a] # three\nsize=1m ; four\nbs=8k#five\n",
    "carriage returns": "[a]\r\nsize=1m\r\nbs=8k\r\n",
    "no line end": "[a]\nsize=1m",
    "bare flags": "[a]\nsize=1m\ntime_based\nruntime=1s\nstonewall\nnorandommap\ngroup_reporting\n",
    "bare logs": "[a]\nsize=1m\nwrite_bw_log\nwrite_lat_log\n",
    "equals in a value": "[a]\nsize=1m\ndescription=x=y=z\n",
    "quotes in a value": '[a]\nsize=1m\ndescription="a b"\nbuffer_pattern="abc"0xff\n',
    "blanks in a name": "[a job]\nsize=1m\n",
    "variables": "[a]\nsize=${SIZE}\nbs=${BS}k\n",
    "keywords": "[a]\nsize=16*$pagesize\nbs=$pagesize\nnrfiles=$ncpus\n",
    "include": "[global]\ninclude global.inc\n[a]\ninclude job.inc\n[b]\n",
    "aliases": "[a]\nsize=1m\nreadwrite=randrw\nblocksize=8k\nrwmixwrite=30\nba=8k\nmem=malloc\ntimeout=3\n",
    "triples": "[a]\nsize=1m\nrw=randrw\nbs=4k,8k,16k\nrate_iops=100,,50\npercentage_random=50,60\n",
    "ranges": "[a]\nsize=1m\nrw=randwrite\nbsrange=1k-4k,2k-8k\n",
    "splits": "[a]\nsize=1m\nrw=randread\nbssplit=4k/60:64k/40,8k/50:16k\n",
    "distributions": "[a]\nsize=1m\nrw=randread\nrandom_distribution=zipf:1.2:0.5\n"
    "[b]\nsize=1m\nrw=randread\nrandom_distribution=zoned:60/10:30/20:10/\n",
    "offsets": "[a]\nsize=50%\noffset=20%\noffset_increment=1m\nnumjobs=2\nfilename=target\n",
    "sequences": "[a]\nsize=1m\nrw=randread:8\nrw_sequencer=identical\n[b]\nsize=1m\nrw=read:4k\n"
    "[c]\nsize=1m\nrw=read:-4k\n",
    "zones": "[a]\nsize=1m\nzonemode=strided\nzonesize=64k\nzonerange=128k\nzoneskip=64k\n",
    "rates": "[a]\nsize=1m\nrate=1m,500k\nrate_process=poisson\n"
    "[b]\nsize=1m\nrate_iops=50\nrate_iops_min=10\nratecycle=500\n",
    "latency": "[a]\nsize=1m\nlatency_target=10ms\nlatency_window=1s\nlatency_percentile=99.9\nmax_latency=1s\n",
    "steady state": "[a]\nsize=1m\nsteadystate=iops:2%\nss_dur=10\nss_ramp=2\n",
    "thinking": "[a]\nsize=1m\nthinktime=1ms\nthinktime_spin=100\nthinktime_blocks=4\nthinktime_blocks_type=issue\n",
    "verify": "[a]\nsize=1m\nrw=randwrite\nverify=crc32c\nverify_backlog=8\nverify_fatal=1\ndo_verify=1\n",
    "syncs": "[a]\nsize=1m\nrw=write\nfsync=8\nsync_file_range=wait_before,write:4\nend_fsync=1\nfsync_on_close=1\n",
    "files": "[a]\nsize=4m\nnrfiles=4\nfilesize=1m\nfile_service_type=random:4\ndirectory=.\n"
    "filename_format=x.$jobname.$filenum\n",
    "errors": "[a]\nsize=1m\ncontinue_on_error=all\nignore_error=EIO:ENOSPC,EIO\n",
    "contents": "[a]\nsize=1m\nrw=write\nrefill_buffers\nbuffer_compress_percentage=50\ndedupe_percentage=20\n",
    "process": "[a]\nsize=1m\nnice=5\nprioclass=2\nprio=3\ncpus_allowed=0\ncpus_allowed_policy=split\n",
    "order": "[a]\nsize=1m\n[b]\nsize=1m\nwait_for=a\nstartdelay=1-2\n"
    "[c]\nsize=1m\nstonewall\nexitall\nexit_what=all\n",
    "logs": "[a]\nsize=1m\nwrite_lat_log=x\nlog_avg_msec=100\nlog_offset=1\nwrite_hist_log=y\nlog_hist_msec=500\n",
    "results": "[a]\nsize=1m\npercentile_list=50:99:99.9\nlat_percentiles=1\nunified_rw_reporting=1\ndisk_util=0\n",
}  # fmt: skip
BAD = {
    "option above the first section": "size=1m\n[a]\n",
    "unknown option": "[a]\nsize=1m\nnonsense=1\n",
    "empty value": "[a]\nsize=1m\nbs=\n",
    "formula": "[a]\nsize=(1024*1024)\n",
    "continued line": "[a]\nsize=1m\nbssplit=4k/50:\\\n8k/50\n",
    "not a direction": "[a]\nsize=1m\nrw=reed\n",
}  # fmt: skip
ENVIRON = {"SIZE": "2m", "BS": "8"}


@pytest.fixture(autouse=True)
def _scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    Path("global.inc").write_text("size=1m\ninclude deeper.inc\n")
    Path("deeper.inc").write_text("bs=8k\n")
    Path("job.inc").write_text("iodepth=4\n")
    Path("target").write_bytes(bytes(4 << 20))


def fio(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["fio", *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", FILES)
def test_fio_takes_the_job_files_that_we_take(name: str) -> None:
    Path("job.fio").write_text(FILES[name])
    jobs = command_line.parse(["job.fio"]).jobs
    result = fio("--parse-only", "--showcmd", "job.fio")
    assert (result.returncode, result.stderr) == (0, "")
    # fio shows names without quotes.
    assert all(f"--name={job.options.name} " in f"{result.stdout} " for job in jobs)
    assert result.stdout.count("--name=") == len(jobs)


@pytest.mark.parametrize("name", BAD)
def test_fio_refuses_what_we_refuse(name: str) -> None:
    Path("job.fio").write_text(BAD[name])
    assert fio("--parse-only", "job.fio").returncode != 0
    with pytest.raises(CommandLineError):
        command_line.parse(["job.fio"])


def results(name: str) -> list[dict[str, Any]]:
    result = fio("--output-format=json", "--ioengine=null", name)
    return list(json.loads(result.stdout[result.stdout.index("{") :])["jobs"])


@pytest.mark.parametrize("name", ["globals that add up", "comments", "variables", "keywords", "include", "aliases"])
def test_fio_does_as_many_ios_as_we_read_from_a_file(name: str) -> None:
    Path("job.fio").write_text(FILES[name].replace("timeout=3\n", ""))
    jobs = command_line.parse(["job.fio"]).jobs
    for job, result in zip(jobs, results("job.fio"), strict=True):
        size, bs = job.options.size, job.options.bs[0]
        assert result["read"]["total_ios"] + result["write"]["total_ios"] == size // bs, job.options.name
        if job.options.direction == "randrw":
            assert result["read"]["total_ios"] > result["write"]["total_ios"]


def test_the_options_that_fio_shows_of_a_job_are_those_that_we_show() -> None:
    Path("job.fio").write_text("[global]\nsize=1m\nbs=8k\n[a]\nreadwrite=randread\nblocksize=16k\ndescription=x y\n")
    (job,) = command_line.parse(["job.fio"]).jobs
    (result,) = results("job.fio")
    shown = result["job options"]
    assert {name: value for name, value in shown.items() if name in job.written} == job.written


def test_the_command_line_that_we_show_of_a_file_means_the_same_to_fio() -> None:
    Path("job.fio").write_text(FILES["globals that add up"])
    command = command_line.parse(["job.fio"])
    words = shlex.split(command_line.shown(command))[2:]
    of_file = [(job["jobname"], job["read"]["total_ios"], job["write"]["total_ios"]) for job in results("job.fio")]
    result = fio("--output-format=json", "--ioengine=null", *words)
    of_words = [
        (job["jobname"], job["read"]["total_ios"], job["write"]["total_ios"])
        for job in json.loads(result.stdout[result.stdout.index("{") :])["jobs"]
    ]
    assert of_words == of_file
