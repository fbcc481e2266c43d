"""Jobs on fio's command line."""

import argparse
import contextlib
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import iovigil
from iovigil.agent.cli import run
from iovigil.agent.fio import command_line, usage
from iovigil.agent.fio.command_line import COMMAND_OPTIONS, Command, CommandLineError
from iovigil.engines.options import SPECS, JobOptions


def parse(line: str) -> Command:
    return command_line.parse(line.split(), {})


def options(line: str) -> JobOptions:
    (job,) = parse(line).jobs
    return job.options


def refusal(line: str) -> str:
    with pytest.raises(CommandLineError) as refused:
        parse(line)
    return str(refused.value)


def test_options_are_read_as_fio_spells_them() -> None:
    line = "--name=probe --filename=/srv/x --rw=randread --bs=64k --size=1GiB --runtime=30 --rate_iops=100,50"
    assert options(line) == JobOptions(
        name="probe",
        filename=("/srv/x",),
        rw="randread",
        bs=(65536,) * 3,
        size=1 << 30,
        runtime=30_000_000,
        rate_iops=(100, 50, 50),
    )


@pytest.mark.parametrize("value", ["--bs=8k", "--bs 8k", "--blocksize=8k", "--blocksize 8k"])
def test_a_value_follows_an_equals_sign_or_a_blank(value: str) -> None:
    assert options(f"--name=p --filename=f {value} --rw=write").bs == (8192,) * 3


@pytest.mark.parametrize(
    ("words", "direct"), [("--direct", True), ("--direct=1", True), ("--direct 1", True), ("--direct 0", False)]
)
def test_a_flag_needs_no_value(words: str, direct: bool) -> None:
    found = options(f"--name=p --filename=f {words} --rw=write")
    assert found.direct is direct
    assert found.rw == "write"


def test_options_before_the_name_are_defaults_of_the_job() -> None:
    command = parse("--bs=8k --rw=write --name=p --filename=f --bs=16k")
    (job,) = command.jobs
    assert (job.options.bs, job.options.rw) == ((16384,) * 3, "write")
    assert command.global_options == {"bs": "8k", "rw": "write"}
    assert job.written == {"name": "p", "filename": "f", "bs": "16k"}
    assert job.inherited == {"bs": "8k", "rw": "write"}


def test_each_name_starts_a_job() -> None:
    command = parse("--size=1m --name=a --bs=8k --name=b --name=global --bs=16k --name=c --rw=write")
    assert [(job.options.name, job.options.bs[0], job.options.rw) for job in command.jobs] == [
        ("a", 8192, "read"), ("b", 4096, "read"), ("c", 16384, "write"),
    ]  # fmt: skip


def test_given_options_keep_their_spelling_and_lose_their_alias() -> None:
    (job,) = parse("--name=p --filename=f --readwrite=randread --time_based --timeout=2s").jobs
    assert job.written == {"name": "p", "filename": "f", "rw": "randread", "time_based": "1", "runtime": "2s"}


def test_options_are_shown_under_fio_s_own_names() -> None:
    (job,) = parse("--name=p --filename=f --blockalign=8k --start_delay=1 --ratecycle=500").jobs
    assert job.written == {"name": "p", "filename": "f", "ba": "8k", "startdelay": "1", "rate_cycle": "500"}


def test_an_option_that_says_the_opposite_keeps_its_name_with_its_value() -> None:
    (job,) = parse("--buffered=1 --name=p --filename=f --buffered=0 --rwmixwrite=30 --rw=randrw").jobs
    assert (job.options.direct, job.options.rwmixread) == (True, 70)
    assert job.written == {"name": "p", "filename": "f", "buffered": "0", "rwmixwrite": "30", "rw": "randrw"}


@pytest.mark.parametrize("line", ["--bs=4k --blocksize=8k", "--rwmixread=10 --bs=4k --rwmixwrite=30 --bs=8k"])
def test_the_last_of_two_values_counts_as_in_fio(line: str) -> None:
    found = options(f"--name=p --filename=f {line}")
    assert found.bs[0] == 8192
    assert found.rwmixread in (50, 70)


def test_a_default_that_a_job_cannot_use_is_passed_over_and_its_own_is_refused() -> None:
    command = parse("--fsync=1 --fixedbufs=0 --size=1m --name=r --rw=read --name=w --rw=write")
    assert [job.options.fsync for job in command.jobs] == [1, 1]
    assert refusal("--size=1m --name=r --fsync=1") == "--fsync: is for jobs that write; rw is read"


def test_options_of_the_command_are_no_options_of_the_job() -> None:
    command = parse(
        "--max-jobs=16 --output-format=json,normal --output=o.json --name=p --filename=f --eta=never --readonly "
        "--status-interval=500ms --idle-prof=percpu --bandwidth-log --terse-version=5 --aux-path=/tmp"
    )
    assert command.global_options == {}
    (job,) = command.jobs
    assert command == Command(
        jobs=(job,),
        output_formats=("json", "normal"),
        terse_version=5,
        output="o.json",
        status_interval_s=0.5,
        eta="never",
        is_readonly=True,
        idle_prof="percpu",
        bandwidth_log=True,
        aux_path="/tmp",
    )
    assert job.written == {"name": "p", "filename": "f"}


@pytest.mark.parametrize(
    ("line", "formats"),
    [
        ("", ("normal",)),
        ("--output-format=json+,json,terse", ("terse", "json", "json+")),
        ("--minimal", ("terse",)),
        ("--append-terse", ("terse", "normal")),
    ],
)
def test_results_are_wanted_in_several_forms(line: str, formats: tuple[str, ...]) -> None:
    assert parse(f"{line} --name=p --filename=f").output_formats == formats


def test_an_option_without_effect_is_taken_with_a_warning() -> None:
    command = parse("--thread --name=p --filename=f --gtod_cpu=1 --kb_base=1024 --bs=8k")
    assert command.jobs[0].options.bs[0] == 8192
    assert command.warnings == (
        "--thread has no effect: each job is a process of its own",
        "--gtod_cpu has no effect: the TSC is read directly: no thread need keep the time",
    )
    assert refusal("--warnings-fatal --name=p --filename=f --thread") == command.warnings[0]


def test_a_colon_of_a_device_name_needs_no_backslash_but_may_have_one() -> None:
    name = "/dev/disk/by-path/pci-0000:00"
    assert options(r"--name=p --filename=/dev/disk/by-path/pci-0000\:00").filename == (name,)
    assert options("--name=p --filename=/dev/disk/by-path/pci-0000:00").filename == (name,)


def test_keywords_are_the_system_s() -> None:
    assert options("--name=p --filename=f --bs=2*$pagesize").bs[0] % 8192 == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "--name is missing"),
        ("--rw=read --filename=f", "--name is missing"),
        ("--name=", "--name needs a value"),
        ("nothere.fio", "nothere.fio: cannot be read: No such file or directory"),
        ("-x --name=p", "-x: is not an option: they begin with two dashes"),
        ("--name=p --filename=f --iodepht=4", "--iodepht: is not an option; did you mean iodepth?"),
        ("--name=p --filename=f --outptu=x", "--outptu: is not an option; did you mean --output?"),
        ("--name=p --filename=f --opendir=/srv", "--opendir: is not supported: name the files with filename=a:b"),
        ("--name=p --filename=f --bs", "--bs: needs a value"),
        ("--name=p --filename=f --rw --bs=4k", "--rw: needs a value"),
        ("--name=p --filename=f --bs=4x", "--bs: 4x is not a size"),
        ("--name=p --filename=f --rw=reed", "--rw: reed is not one of read, write"),
        ("--name=p --filename=f --time_based", "job p: runtime: is missing"),
        ("--time_based --runtime=1 --ramp_time=1 --name=p --filename=f --runtime=0", "--runtime: is missing"),
        ("--name=p --rw=read", "job p: size is missing: without a filename the job makes files"),
        ("--name=p --ioengine=null --time_based --runtime=1", "job p: size is missing: ioengine=null has no file"),
        ("--name=p --filename=f --output-format=xml", "--output-format: xml is none of normal, json, json+, terse"),
        ("--name=p --filename=f --terse-version=6", "--terse-version: 6 is none of 2, 3, 4, 5"),
        ("--name=p --filename=f --eta=maybe", "--eta: maybe is none of auto, always, never"),
        ("--name=p --filename=f --idle-prof=maybe", "--idle-prof: maybe is none of system, percpu, calibrate"),
        ("--name=p --filename=f --status-interval=0", "--status-interval: 0 is not above 0"),
        ("--name=p --filename=f --output", "--output needs a value: --output=FILE"),
        ("--name=p --filename=f --parse-only=maybe", "--parse-only: maybe is neither yes nor no"),
        ("--name=p --filename=f --server", "--server: is not supported"),
        ("--name=p --filename=f --crctest", "--crctest: is not supported"),
        ("--name=p --filename=f --max-jobs=0", "--max-jobs: 0 is not a number of jobs"),
        ("--name=p --filename=f --numjobs=4 --max-jobs=3", "--max-jobs: 4 jobs, clones counted, are more than 3"),
        ("--readonly --name=p --filename=f --rw=randwrite", "--rw: randwrite writes, and --readonly forbids it"),
        ("--name=p --filename=f --rw=randrw --readonly=1", "--rw: randrw writes, and --readonly forbids it"),
        ("--name=p --filename=f --rw=trim --readonly", "--rw: trim trims, and --readonly forbids it"),
        ("--rw=randtrimwrite --readonly --name=p --filename=f", "randtrimwrite writes, and --readonly forbids it"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(line: str, expected: str) -> None:
    assert expected in refusal(line)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    wrong = refusal("--iodepth=0 --name=p --filename=f --bs=4x --name=q --zzz=1").splitlines()
    assert [line.split(":")[0] for line in wrong] == ["--iodepth", "--bs", "--zzz"]


def test_job_files_come_after_all_options_and_wait_for_what_is_before_them(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[one]\nrw=write\n[two]\n")
    (tmp_path / "b").write_text("[three]\nbs=8k\n")
    command = parse(f"{tmp_path}/a {tmp_path}/b --size=1m --name=zero --bs=16k")
    found = [(job.options.name, job.options.size, job.options.bs[0], job.options.stonewall) for job in command.jobs]
    assert found == [
        ("zero", 1 << 20, 16384, False),
        ("one", 1 << 20, 4096, True),
        ("two", 1 << 20, 4096, False),
        ("three", 1 << 20, 8192, True),
    ]
    assert [job.options.stonewall for job in parse(f"--size=1m {tmp_path}/a").jobs] == [False, False]


def test_a_section_is_chosen_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("[global]\nsize=1m\n[one]\n[two]\n[three]\n")
    command = parse(f"--section=three {tmp_path}/a --section=one")
    assert [job.options.name for job in command.jobs] == ["one", "three"]
    (tmp_path / "b").write_text("[four]\nsize=1m\n")
    assert [job.options.name for job in parse(f"{tmp_path}/a {tmp_path}/b --section=four").jobs] == ["four"]
    assert refusal(f"{tmp_path}/a --section=five") == "--section: there is no section five: there are one, two, three"


def test_a_job_waits_for_one_job_above_it() -> None:
    assert parse("--size=1m --name=a --name=b --wait_for=a").jobs[1].options.wait_for == "a"
    for line, reason in (
        ("--name=a --name=b --wait_for=c", "c is the name of no job above this one"),
        ("--name=b --wait_for=a --name=a", "a is the name of no job above this one"),
        ("--name=a --name=a --name=b --wait_for=a", "a is the name of several jobs above this one"),
    ):
        assert refusal(f"--size=1m {line}") == f"--wait_for: {reason}"


def test_jobs_are_shown_as_a_command_line_that_means_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(
        "[global]\nsize=1m\n[a job]\nrw=randrw\nrwmixwrite=30\ndescription=x y\n[two]\nthread\ntime_based\nruntime=1s\n"
    )
    (tmp_path / "b").write_text("[three]\nsize=2m\n")
    command = parse(f"{tmp_path}/a {tmp_path}/b --showcmd")
    assert command.showcmd
    line = command_line.shown(command)
    again = command_line.parse(shlex.split(line)[2:], {})
    assert [job.options for job in again.jobs] == [job.options for job in command.jobs]
    assert line.startswith(
        "iovigil run '--name=a job' --size=1m --rw=randrw --rwmixwrite=30 '--description=x y' --name="
    )


@given(st.lists(st.sampled_from(sorted({*SPECS, *COMMAND_OPTIONS, "name"})).flatmap(
    lambda name: st.sampled_from([f"--{name}", f"--{name}=1", f"--{name}=x", "1", "--", "-", f"--{name}="])
), max_size=8))  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_any_words_are_a_command_or_refused(words: list[str]) -> None:
    with contextlib.suppress(CommandLineError):
        # A dash alone would read what the test's own standard input has.
        command_line.parse([word for word in words if word != "-"], {})


def test_the_usage_tells_every_option_within_80_columns() -> None:
    lines = usage.usage().splitlines()
    described = {line.split("=")[0].strip().split()[0] for line in lines if line.startswith("  --")}
    assert {f"--{name}" for name in (*SPECS, *COMMAND_OPTIONS)} <= described
    assert max(len(line) for line in lines if not line.startswith("  --")) <= 80


@pytest.mark.parametrize("word", ["--help", "-h", "--version", "--cmdhelp=all", "--cmdhelp", "--enghelp=io_uring"])
def test_help_is_asked_for(word: str) -> None:
    assert command_line.asks_for_help(["--name=p", word])
    assert usage.answer(["--name=p", word])


def test_nothing_else_asks_for_help() -> None:
    assert not command_line.asks_for_help(["--name=help", "--description", "help", "help.fio"])


def test_an_option_is_described() -> None:
    assert usage.answer(["--version"]) == f"iovigil-{iovigil.__version__}\n"
    text = usage.answer(["--cmdhelp=blocksize"])
    assert text.splitlines() == [
        "          bs: Length of one I/O.",
        "     aliases: blocksize",
        "       value: SIZE[,SIZE[,SIZE]]",
        "     default: 4k",
        "       range: 1 to 1g",
    ]
    assert "fixedbufs" in usage.answer(["--enghelp=io_uring"])
    assert "null" in usage.answer(["--enghelp"])
    with pytest.raises(CommandLineError, match="--cmdhelp: opendir: is not supported"):
        usage.answer(["--cmdhelp=opendir"])
    with pytest.raises(CommandLineError, match="--enghelp: syslet-rw was never merged"):
        usage.answer(["--enghelp=syslet-rw"])


@pytest.mark.parametrize("line", ["--name=p --direct --bs 4k", "--help", "job.fio -- --x", ""])
def test_argparse_hands_every_word_on_as_it_stands(line: str) -> None:
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    assert parser.parse_args(line.split()).words == line.split()


def test_a_mistake_ends_with_status_1_and_one_line_per_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(argparse.Namespace(words=["--name=p", "--filename=f", "--foo=1"])) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == "iovigil run: --foo: is not an option of a job\n"


def test_an_output_file_that_cannot_be_written_is_found_before_the_job_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--name=p", "--ioengine=null", "--size=1m", "--output=/nonexistent/o.json"]
    assert run.main(argparse.Namespace(words=words)) == 1
    assert "--output: /nonexistent/o.json: No such file or directory" in capsys.readouterr().err


def test_parse_only_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run.main(argparse.Namespace(words=["--name=p", "--filename=/nonexistent/x", "--parse-only", "--thread"])) == 0
    )
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == "iovigil run: --thread has no effect: each job is a process of its own\n"
