"""fio's job files: what is read from them, and where a mistake is said to be."""

import contextlib
import io
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iovigil.agent.fio import command_line, job_file
from iovigil.agent.fio.command_line import Command, CommandLineError


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(text: str, environ: dict[str, str] | None = None) -> Command:
    Path("job.fio").write_text(text)
    return command_line.parse(["job.fio"], environ or {})


def refusal(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(CommandLineError) as refused:
        read(text, environ)
    return str(refused.value).split("\n")


def test_a_global_section_holds_for_the_sections_below_it() -> None:
    command = read("[global]\nsize=1m\n[a]\n[global]\nbs=8k\niodepth=2\n[b]\niodepth=4\n")
    a, b = command.jobs
    assert (a.options.name, a.options.bs[0], a.options.iodepth) == ("a", 4096, 1)
    assert (b.options.name, b.options.bs[0], b.options.iodepth) == ("b", 8192, 4)
    assert (a.options.size, b.options.size) == (1 << 20, 1 << 20)
    assert b.written == {"iodepth": "4"}
    assert b.inherited == {"size": "1m", "bs": "8k", "iodepth": "2"}
    assert command.global_options == b.inherited


def test_comments_and_blanks_say_nothing() -> None:
    (job,) = read("; one\n# two\n\n   [a]  # three\n  size=1m ; four\n\tbs = 8k#five\r\n").jobs
    assert (job.options.size, job.options.bs[0]) == (1 << 20, 8192)
    assert job.written == {"size": "1m", "bs": "8k"}


def test_a_value_is_all_that_follows_the_first_equals_sign() -> None:
    (job,) = read('[a]\nsize=1m\ndescription="a b"  c=d\n').jobs
    assert job.options.description == '"a b"  c=d'


def test_a_bare_word_is_a_flag_that_is_set() -> None:
    (job,) = read("[a]\nsize=1m\ntime_based\nruntime=1s\nstonewall\nwrite_lat_log\n").jobs
    assert (job.options.time_based, job.options.stonewall, job.options.write_lat_log) == (True, True, "a")


def test_a_name_in_the_section_is_the_job_s_own() -> None:
    assert read("[a]\nsize=1m\nname=zed\n").jobs[0].options.name == "zed"


def test_two_sections_of_one_name_are_two_jobs() -> None:
    assert [job.options.size for job in read("[a]\nsize=1m\n[a]\nsize=2m\n").jobs] == [1 << 20, 2 << 20]


def test_variables_are_those_of_the_environment() -> None:
    (job,) = read("[a]\nsize=${SIZE}\nfilename=/x/${A}-${A}\n", {"SIZE": "8m", "A": "#1"}).jobs
    assert (job.options.size, job.options.filename) == (8 << 20, ("/x/#1-#1",))
    assert refusal("[a]\nsize=1m\nbs=${NOPE}\n") == ["job.fio:3: bs: the environment has no NOPE"]


def test_keywords_are_the_system_s_and_may_be_reckoned_with() -> None:
    page, cpus = os.sysconf("SC_PAGE_SIZE"), os.cpu_count() or 1
    (job,) = read("[a]\nbs=$pagesize\nsize=16*$pagesize\nnrfiles=$ncpus\ndescription=$ncpus + 2, $jobname\n").jobs
    assert (job.options.bs[0], job.options.size, job.options.nrfiles) == (page, 16 * page, cpus)
    assert job.options.description == f"{cpus + 2}, $jobname"
    assert refusal("[a]\nsize=$pagesize/0\n") == ["job.fio:2: size: divides by zero"]


def test_a_file_may_include_options() -> None:
    Path("global.inc").write_text("size=1m\ninclude deeper.inc\n")
    Path("deeper.inc").write_text("bs=8k\n")
    Path("job.inc").write_text("; of a job\nthread\niodepth=4\n")
    command = read("[global]\ninclude global.inc\n[a]\ninclude job.inc\n[b]\n")
    assert [(job.options.bs[0], job.options.iodepth) for job in command.jobs] == [(8192, 4), (8192, 1)]
    assert command.warnings == ("job.inc:2: thread has no effect: each job is a process of its own",)


def test_an_included_file_is_looked_for_beside_the_file_too() -> None:
    Path("sub").mkdir()
    Path("sub/job.fio").write_text("[a]\ninclude x.inc\n")
    Path("sub/x.inc").write_text("size=1m\n")
    assert command_line.parse(["sub/job.fio"], {}).jobs[0].options.size == 1 << 20
    # As in fio, what is here goes first.
    Path("x.inc").write_text("size=2m\n")
    assert command_line.parse(["sub/job.fio"], {}).jobs[0].options.size == 2 << 20


def test_files_that_include_each_other_are_refused() -> None:
    Path("a.inc").write_text("bs=8k\ninclude b.inc\n")
    Path("b.inc").write_text("include a.inc\n")
    assert refusal("[a]\nsize=1m\ninclude a.inc\n") == ["b.inc:1: include: a.inc includes itself"]
    assert refusal("[a]\ninclude job.fio\n") == ["job.fio:2: include: job.fio includes itself"]


def test_includes_that_double_have_an_end() -> None:
    for number in range(15):
        Path(f"{number}.inc").write_text(f"include {number + 1}.inc\ninclude {number + 1}.inc\n" * 4)
    Path("15.inc").write_text("bs=4k\n")
    (problem,) = refusal("[a]\ninclude 0.inc\n")
    assert "more than 100000 lines" in problem


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"[a]\nsize=1m\nbs=8k\n")))
    assert command_line.parse(["-"], {}).jobs[0].options.bs[0] == 8192


NO_SIZE = (
    "job a: size is missing: without a filename the job makes files, and has to know how long; "
    "or give a filename, the device or file to work on"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["job.fio: has no job: write [name] above its options"]),
        ("[global]\nsize=1m\n", ["job.fio: has no job: write [name] above its options"]),
        ("bs=4k\n[a]\nsize=1m\n", ["job.fio:1: bs=4k stands above the first [section]"]),
        ("[a\nsize=1m\n", ["job.fio:1: [a is not a section: write [name] on a line of its own"]),
        ("[]\nsize=1m\n", ["job.fio:1: [] is not a section: write [name] on a line of its own"]),
        ("[a] b\nsize=1m\n", ["job.fio:1: '[a] b' is not a section: write [name] on a line of its own"]),
        ("[a]\nsize=1m\n8k/50\n", ["job.fio:3: 8k/50 is not an option: write name=value"]),
        ("[a]\nsize=1m\n=3\n", ["job.fio:3: =3 is not an option: write name=value"]),
        ("[a]\nsize=1m\nbs\n", ["job.fio:3: bs: needs a value"]),
        ("[a]\nsize=1m\nbs=\n", ["job.fio:3: bs: needs a value"]),
        ("[a]\nsize=1m\nblokcsize=1\n", ["job.fio:3: blokcsize: is not an option; did you mean blocksize?"]),
        (
            "[global]\nbs=0\n[a]\nzone_reset_threshold=1\n[b]\niodepth=0\n",
            [
                "job.fio:2: bs: 0 is not in 1..1g",
                "job.fio:4: zone_reset_threshold: is for zoned block devices, which are not supported",
                "job.fio:6: iodepth: 0 is not in 1..4096",
            ],
        ),
        (
            "[a]\nsize=1m\nioengine=syslet-rw\n",
            ["job.fio:3: ioengine: syslet-rw was never merged into Linux; use io_uring"],
        ),
        ("[a]\nsize=1m\ninclude no.inc\n", ["job.fio:3: include: there is no file no.inc"]),
        (
            "[a]\nsize=1m\n[b]\nsize=1m\ntime_based\n",
            ["job b: runtime: is missing: a time_based job needs one, such as 30s"],
        ),
        ("[a]\nsize=1m\nbs=1m\ndirect=1\nba=100\n", ["job.fio:5: ba: 100 is not a multiple of 512, as direct=1 needs"]),
        ("[a]\nbs=4k\n", [NO_SIZE]),
        ("[a]\nsize=1m\nname=\n", ["job.fio:3: name: needs a value"]),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, expected: list[str]) -> None:
    assert refusal(text) == expected


def test_a_section_in_an_included_file_is_refused() -> None:
    Path("x.inc").write_text("bs=8k\n[b]\n")
    assert refusal("[a]\nsize=1m\ninclude x.inc\n") == [
        "x.inc:2: a file that is included may hold options, but no [section]"
    ]


def test_mistakes_of_several_files_are_told_together() -> None:
    Path("one").write_text("[a]\nsize=1x\n")
    Path("two").write_text("[a]\nbs=0\n")
    with pytest.raises(CommandLineError) as refused:
        command_line.parse(["one", "two", "three"], {})
    assert [line.partition(" ")[0] for line in str(refused.value).split("\n")] == ["one:2:", "two:2:", "three:"]


def test_a_file_that_is_no_job_file_is_refused(tmp_path: Path) -> None:
    for path, reason in (
        (str(tmp_path), "cannot be read: Is a directory"),
        ("/dev/zero", "is longer than 1048576 bytes"),
    ):
        with pytest.raises(CommandLineError, match=reason):
            command_line.parse([path], {})
    Path("binary").write_bytes(b"[a]\nsize=\xff\n")
    with pytest.raises(CommandLineError, match="binary:2: is not text: byte 0xff is not UTF-8"):
        command_line.parse(["binary"], {})


LINES = st.sampled_from(
    ["[global]", "[a]", "[", "[]", "]", "size=1m", "size=", "bs=${A}", "bs=${", "$ncpus", "x=$ncpus*0", "thread",
     "include", "include job.fio", "include /", "include x", "; c", "#", "=", "name=b", "name", "rw=randrw",
     "verify=crc32c", "\0", "é", "direct", "stonewall=2", "filename=\\", "write_bw_log", "a b c", "size=$pagesize/0"]
)  # fmt: skip


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(max_size=80))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_jobs_or_refused(text: str) -> None:
    Path("job.fio").write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(CommandLineError):
        command_line.parse(["job.fio"], {"A": "4k"})


@given(st.text(max_size=40))
def test_a_value_is_expanded_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(job_file.expand(text, {}), str)
