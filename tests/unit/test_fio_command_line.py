"""One job on fio's command line."""

import argparse

import pytest

from iovigil.agent.cli import run
from iovigil.agent.fio import command_line
from iovigil.agent.fio.command_line import Command, CommandLineError
from iovigil.engines.options import SPECS, JobOptions


def parse(line: str) -> Command:
    return command_line.parse(line.split())


def refusal(line: str) -> str:
    with pytest.raises(CommandLineError) as refused:
        parse(line)
    return str(refused.value)


def test_options_are_read_as_fio_spells_them() -> None:
    command = parse("--name=probe --filename=/srv/x --rw=randread --bs=64k --size=1GiB --runtime=30 --rate_iops=100,50")
    assert command.options == JobOptions(
        name="probe", rw="randread", bs=65536, size=1 << 30, runtime=30_000_000, rate_iops=(100, 50)
    )
    assert command.filename == "/srv/x"


@pytest.mark.parametrize("value", ["--bs=8k", "--bs 8k", "--blocksize=8k", "--blocksize 8k"])
def test_a_value_follows_an_equals_sign_or_a_blank(value: str) -> None:
    assert parse(f"--name=p --filename=f {value} --rw=write").options.bs == 8192


@pytest.mark.parametrize(
    ("words", "direct"), [("--direct", True), ("--direct=1", True), ("--direct 1", True), ("--direct 0", False)]
)
def test_a_flag_needs_no_value(words: str, direct: bool) -> None:
    command = parse(f"--name=p --filename=f {words} --rw=write")
    assert command.options.direct is direct
    assert command.options.rw == "write"


def test_options_before_the_name_are_defaults_of_the_job() -> None:
    command = parse("--bs=8k --rw=write --name=p --filename=f --bs=16k")
    assert (command.options.bs, command.options.rw) == (16384, "write")
    assert command.global_options == {"bs": "8k", "rw": "write"}
    assert command.job_options == {"name": "p", "filename": "f", "bs": "16k"}


def test_given_options_keep_their_spelling_and_lose_their_alias() -> None:
    command = parse("--name=p --filename=f --readwrite=randread --time_based --timeout=2s")
    assert command.job_options == {
        "name": "p", "filename": "f", "rw": "randread", "time_based": "1", "runtime": "2s"
    }  # fmt: skip


def test_the_last_of_two_values_counts_as_in_fio() -> None:
    assert parse("--name=p --filename=f --bs=4k --blocksize=8k").options.bs == 8192


def test_options_of_the_command_are_no_options_of_the_job() -> None:
    command = parse("--max-jobs=16 --output-format=json --output=o.json --name=p --filename=f --eta=never --readonly")
    assert (command.output_format, command.output, command.is_eta_wanted) == ("json", "o.json", False)
    assert command.global_options == {}
    assert command.job_options == {"name": "p", "filename": "f"}


def test_a_colon_of_a_device_name_needs_no_backslash_but_may_have_one() -> None:
    assert parse(r"--name=p --filename=/dev/disk/by-path/pci-0000\:00").filename == "/dev/disk/by-path/pci-0000:00"
    assert parse("--name=p --filename=/dev/disk/by-path/pci-0000:00").filename == "/dev/disk/by-path/pci-0000:00"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", "--name is missing"),
        ("--rw=read --filename=f", "--name is missing"),
        ("--name=p --filename=f --name=q", "--name: more than one job at a time is not supported yet"),
        ("job.fio", "job.fio: job files are not supported yet"),
        ("--name=p --filename=f job.fio", "job.fio: job files are not supported yet"),
        ("--name=p --filename=f --iodepht=4", "--iodepht: is not an option; did you mean iodepth?"),
        ("--name=p --filename=f --outptu=x", "--outptu: is not an option; did you mean --output?"),
        ("--name=p --filename=f --numjobs=4", "--numjobs: is an option of fio that iovigil does not support yet"),
        ("--name=p --filename=f --bs", "--bs needs a value: --bs=SIZE"),
        ("--name=p --filename=f --rw --bs=4k", "--rw needs a value: --rw=read|write"),
        ("--name=p --filename=f --bs=4x", "--bs: 4x is not a size"),
        ("--name=p --filename=f --rw=reed", "--rw: reed is not one of read, write"),
        ("--name=p --filename=f --time_based", "--runtime: is missing"),
        ("--name=p --rw=read", "--filename is missing"),
        ("--name=p --filename=/dev/a:/dev/b", "names several files"),
        ("--name=p --ioengine=null --time_based --runtime=1", "--size is missing: ioengine=null has no file"),
        ("--name=p --filename=f --output-format=terse", "--output-format: 'terse' is none of normal, json, json+"),
        ("--name=p --filename=f --eta=maybe", "--eta: 'maybe' is none of auto, never"),
        ("--readonly --name=p --filename=f --rw=randwrite", "--rw: randwrite writes, and --readonly forbids it"),
        ("--name=p --filename=f --rw=randrw --readonly=1", "--rw: randrw writes, and --readonly forbids it"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(line: str, expected: str) -> None:
    assert expected in refusal(line)


def test_everything_that_is_wrong_with_the_job_is_said_at_once() -> None:
    assert [line.split(":")[0] for line in refusal("--name=p --filename=f --bs=4x --iodepth=0").splitlines()] == [
        "--bs",
        "--iodepth",
    ]


def test_the_usage_tells_every_option_within_80_columns() -> None:
    lines = command_line.usage().splitlines()
    described = {line.split("=")[0].strip() for line in lines if line.startswith("  --")}
    assert {f"--{name}" for name in SPECS} <= described
    assert max(len(line) for line in lines if not line.startswith("  --")) <= 80


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
