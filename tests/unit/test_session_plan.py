"""What the jobs of a session are: clones, groups, regions, files."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iovigil.agent.fio.command_line import JobSection
from iovigil.agent.session.plan import PlanError, PlannedJob, file_size, plan
from iovigil.engines.options import JobOptions

MIB = 1 << 20


def planned(*options: JobOptions, is_readonly: bool = False) -> tuple[PlannedJob, ...]:
    sections = [JobSection(options=each, written={"name": each.name}) for each in options]
    return plan(sections, "token", is_readonly=is_readonly)


def test_clones_are_numbered_through_and_work_on_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = planned(JobOptions(name="a", size=MIB, numjobs=2, nrfiles=2), JobOptions(name="b/c", size=MIB))
    assert [(job.number, job.clone) for job in jobs] == [(1, 0), (2, 1), (3, 0)]
    assert [job.paths for job in jobs] == [
        (f"{tmp_path}/a.0.0", f"{tmp_path}/a.0.1"),
        (f"{tmp_path}/a.1.0", f"{tmp_path}/a.1.1"),
        (f"{tmp_path}/b_c.0.0",),
    ]


def test_files_are_named_by_the_format_and_lie_in_the_directories_in_turn() -> None:
    options = JobOptions(
        name="a", size=MIB, numjobs=3, directory="/x:/y\\:z", filename_format="$jobname-$filenum.$jobnum"
    )
    assert [job.paths for job in planned(options)] == [("/x/a-0.0",), ("/y:z/a-0.1",), ("/x/a-0.2",)]


def test_a_filename_is_what_all_clones_work_on() -> None:
    jobs = planned(JobOptions(filename=("f", "/abs/g"), directory="/d", size=MIB, numjobs=2))
    assert {job.paths for job in jobs} == {("/d/f", "/abs/g")}


@pytest.mark.parametrize("engine", ["null", "net", "cpuio"])
def test_some_engines_have_no_target(engine: str) -> None:
    assert planned(JobOptions(ioengine=engine, size=MIB))[0].paths == ()


def test_a_replay_may_be_redirected() -> None:
    assert planned(JobOptions(read_iolog="log", replay_redirect="/x/y"))[0].paths == ("/x/y",)


def test_a_wall_or_a_new_group_begins_a_group_and_clones_stay_in_it() -> None:
    jobs = planned(
        JobOptions(name="a", size=MIB, stonewall=True, numjobs=2),
        JobOptions(name="b", size=MIB),
        JobOptions(name="c", size=MIB, stonewall=True, numjobs=2),
        JobOptions(name="d", size=MIB, new_group=True),
    )
    assert [job.group for job in jobs] == [0, 0, 0, 1, 1, 2]
    assert [job.is_stonewalled for job in jobs] == [True, False, False, True, False, False]


def test_each_clone_starts_further_into_the_file_that_is_long_enough_for_all() -> None:
    jobs = planned(JobOptions(filename=("/f",), size=MIB, offset=4096, offset_increment=MIB, numjobs=3))
    assert [job.options.offset for job in jobs] == [4096, 4096 + MIB, 4096 + 2 * MIB]
    assert [job.targets[0]["size"] for job in jobs] == [4096 + MIB, 4096 + 2 * MIB, 4096 + 3 * MIB]
    assert {job.targets[0]["create_size"] for job in jobs} == {4096 + 3 * MIB}


def test_offsets_in_per_cent_add_up_too_but_never_with_bytes() -> None:
    jobs = planned(JobOptions(filename=("/f",), offset_increment=-25, numjobs=4))
    assert [job.options.offset for job in jobs] == [0, -25, -50, -75]
    with pytest.raises(PlanError, match="both in bytes"):
        planned(JobOptions(filename=("/f",), offset=4096, offset_increment=-25, numjobs=2))
    with pytest.raises(PlanError, match="120%"):
        planned(JobOptions(filename=("/f",), offset_increment=-40, numjobs=4))


@given(st.integers(1, 64), st.integers(1, 1 << 40), st.integers(0, 1 << 40))
def test_files_have_room_for_the_share_of_each(count: int, size: int, offset: int) -> None:
    assert file_size(JobOptions(size=size, offset=offset), count) == offset + size // count
    assert file_size(JobOptions(size=size, offset=offset, filesize=77), count) == 77
    assert file_size(JobOptions(size=-20, offset=offset), count) == 0


@given(st.integers(1, 1 << 40), st.integers(1, 99))
def test_behind_an_offset_in_per_cent_there_is_room_for_all_of_the_size(size: int, percent: int) -> None:
    total = file_size(JobOptions(size=size, offset=-percent), 1)
    assert total - total * percent // 100 >= size


@pytest.mark.parametrize("rw", ["write", "randwrite", "rw", "randrw", "trim", "randtrim", "trimwrite"])
def test_readonly_forbids_whatever_changes_the_target(rw: str) -> None:
    with pytest.raises(PlanError, match="--readonly"):
        planned(JobOptions(size=MIB, rw=rw), is_readonly=True)


def test_a_replay_may_change_the_target_unless_it_leaves_that_out() -> None:
    replay = JobOptions(filename=("/f",), size=MIB, read_iolog="log")
    harmless = msgspec.structs.replace(replay, replay_skip=("trim", "write", "sync"))
    assert planned(replay)[0].targets[0]["write"]
    assert not planned(harmless, is_readonly=True)[0].targets[0]["write"]
    with pytest.raises(PlanError, match="read_iolog may change the target"):
        planned(replay, is_readonly=True)


@pytest.mark.parametrize("rw", ["read", "randread"])
def test_readonly_lets_readers_be(rw: str) -> None:
    assert len(planned(JobOptions(size=MIB, rw=rw), is_readonly=True)) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (JobOptions(ioengine="null"), "size is missing"),
        (JobOptions(ioengine="null", size=-50), "size is missing"),
        (JobOptions(name="a", size=MIB, wait_for="b"), "names no job that stands before it"),
        (JobOptions(name="a", size=MIB, wait_for="a"), "names no job that stands before it"),
        (JobOptions(size=MIB, steadystate=("iops", 1.0, True)), "needs steadystate_duration"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(options: JobOptions, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        planned(options)


def test_what_the_guard_is_asked_goes_by_the_options() -> None:
    base = JobOptions(filename=("/f",), size=MIB)
    changes = {"allow_file_create": False, "sync": "dsync", "overwrite": True, "rw": "randtrim"}
    (target,) = planned(msgspec.structs.replace(base, **changes))[0].targets
    assert (target["may_create"], target["sync"], target["overwrite"], target["write"]) == (False, "dsync", True, True)
    assert target["session"] == "token"
    (verified,) = planned(msgspec.structs.replace(base, rw="write", verify="crc32c", verify_only=True))[0].targets
    assert verified["must_exist"]


def test_a_replay_takes_its_files_from_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("fio version 2 iolog\n/a add\n/a open\n/b add\n/b open\n/a read 0 4096\n/b write 8192 4096\n")
    (job,) = planned(JobOptions(read_iolog=str(log), filename=("/c",)))
    assert job.names == ("/a", "/b")
    assert [(target["size"], target["create_size"]) for target in job.targets] == [(0, 4096), (0, 12288)]
    (redirected,) = planned(JobOptions(read_iolog=str(log), replay_redirect="/c"))
    assert [(target["path"], target["create_size"]) for target in redirected.targets] == [("/c", 12288)]


def test_a_log_that_cannot_be_read_is_told_before_anything_starts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("fio version 2 iolog\n/a add\n/a open\n/a jump 0 4096\n")
    with pytest.raises(PlanError, match=f"read_iolog: {log}:4: "):
        planned(JobOptions(read_iolog=str(log)))
