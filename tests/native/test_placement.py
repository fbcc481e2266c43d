"""Where and as whom a child runs, read back from the kernel by another road than the one it was set by."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import iovigil
from iovigil.engines import placement, process
from iovigil.engines.setup_error import SetupError

SOURCE = Path(iovigil.__file__).parents[1]
CPUS = sorted(os.sched_getaffinity(0))
NOBODY = 65534


def said_by(program: str, **more: object) -> str:
    """What a program prints that begins in a process of its own: nothing here may change the tests' own."""
    begin = f"import os, sys; sys.path.insert(0, {str(SOURCE)!r}); from iovigil.engines import placement, process\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", begin + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        **more,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout).strip()


def refusal(call: object, *arguments: object) -> str:
    with pytest.raises(SetupError) as refused:
        call(*arguments)  # type: ignore[operator]
    return str(refused.value)


def machine(root: Path, **nodes: str) -> str:
    """A made-up machine with NUMA nodes: node0="0-3"."""
    place = root / "sys/devices/system/node"
    for name, cpus in nodes.items():
        (place / name).mkdir(parents=True)
        (place / name / "cpulist").write_text(cpus + "\n")
    (place / "online").write_text(",".join(name.removeprefix("node") for name in nodes) + "\n")
    return str(root)


def test_a_pinned_process_runs_where_it_was_pinned() -> None:
    status = said_by(f"placement.pin({{{CPUS[-1]}}}, 'cpus_allowed'); print(open('/proc/self/status').read())")
    assert f"Cpus_allowed_list:\t{CPUS[-1]}\n" in status


@pytest.mark.parametrize("cpu", [4095, 100_000, 1 << 40])
def test_a_cpu_that_is_not_there_is_named(cpu: int) -> None:
    program = f"""
        try:
            placement.pin({{{CPUS[0]}, {cpu}}}, 'cpus_allowed')
        except ValueError as error:
            print(error)
    """
    text = said_by(program)
    assert text.startswith("cpus_allowed: CPU ")
    assert str(cpu) in text
    assert Path("/sys/devices/system/cpu/online").read_text().strip() in text


@pytest.mark.parametrize(
    ("cpus", "policy", "number", "expected"),
    [
        ((), "shared", 1, set()),
        ((), "split", 2, set()),
        ((2, 5, 7), "shared", 3, {2, 5, 7}),
        ((7, 2, 5), "split", 1, {2}),
        ((7, 2, 5), "split", 3, {7}),
        # As fio does: seen with --numjobs=3 --cpus_allowed=0-1 --cpus_allowed_policy=split.
        ((7, 2, 5), "split", 4, {2}),
    ],
)
def test_split_gives_each_job_the_next_cpu(cpus: tuple[int, ...], policy: str, number: int, expected: set[int]) -> None:
    assert placement.cpus_of(cpus, policy, (), number) == expected


def test_nodes_stand_for_their_cpus(tmp_path: Path) -> None:
    root = machine(tmp_path, node0="0-3,8", node1="4-7", node2="")
    assert placement.cpus_of((), "shared", (0,), 1, root) == {0, 1, 2, 3, 8}
    assert placement.cpus_of((), "shared", (0, 1), 1, root) == set(range(9))
    assert placement.cpus_of((3, 4), "shared", (1,), 1, root) == {4}
    assert placement.cpus_of((), "split", (1,), 2, root) == {5}
    assert "no CPU of numa_cpu_nodes 1" in refusal(placement.cpus_of, (3,), "shared", (1,), 1, root)
    assert "2 has memory but no CPU" in refusal(placement.cpus_of, (), "shared", (2,), 1, root)
    assert "there is no node 9; there are 0,1,2" in refusal(placement.cpus_of, (), "shared", (9,), 1, root)


@pytest.mark.parametrize(
    ("policy", "nodes", "mode"), [("default", (), 0), ("prefer", (0,), 1), ("bind", (0,), 2), ("interleave", (0,), 3)]
)
def test_the_kernel_has_the_memory_policy_that_was_set(policy: str, nodes: tuple[int, ...], mode: int) -> None:
    # numa_maps names the policy of a mapping that was made by now.
    program = f"""
        placement.take_memory({policy!r}, {nodes})
        print(process.memory_policy())
        print(open('/proc/self/numa_maps').read())
    """
    answer, _, maps = said_by(program).partition("\n")
    assert answer == f"({mode}, {list(nodes)})"
    assert f" {policy}" + (":0" if nodes else "") + " " in maps


def test_local_is_a_memory_policy_without_nodes() -> None:
    assert said_by("placement.take_memory('local', ()); print(process.memory_policy())") == "(4, [])"


def test_memory_policies_that_cannot_be_are_explained(tmp_path: Path) -> None:
    root = machine(tmp_path, node0="0", node1="1")
    assert "there is no node 5; there are 0,1" in refusal(placement.take_memory, "bind", (0, 5), root)
    assert "prefer takes one node, not 0,1" in refusal(placement.take_memory, "prefer", (0, 1), root)
    assert "interleave needs nodes" in refusal(placement.take_memory, "interleave", (), root)
    # This machine has no second node: the kernel's own refusal is worded too.
    if Path("/sys/devices/system/node/online").read_text().strip() == "0":
        assert refusal(placement.take_memory, "bind", (1,), root) == "numa_mem_policy: bind 1: Invalid argument"


@pytest.mark.parametrize(("asked", "set_to"), [((2, 7), (2, 7)), ((0, 3), (2, 3)), ((3, 0), (3, 0))])
def test_the_io_priority_is_what_the_kernel_answers(asked: tuple[int, int], set_to: tuple[int, int]) -> None:
    program = f"""
        placement.prioritise_io({asked[0]}, {asked[1]})
        print(process.io_priority(), flush=True)
        os.execvp('ionice', ['ionice', '-p', str(os.getpid())])
    """
    # util-linux's own reading of the same process.
    names = {(2, 7): "best-effort: prio 7", (2, 3): "best-effort: prio 3", (3, 0): "idle"}
    answer = said_by(program)
    assert answer.splitlines() == [str(set_to), names[set_to]]


def test_nice_adds_to_what_the_agent_has() -> None:
    program = "os.nice(3); placement.renice(4); print(open('/proc/self/stat').read().rpartition(')')[2].split()[16])"
    assert said_by(program) == "7"


def test_locked_memory_is_locked() -> None:
    program = "placement.lock_memory(1 << 20); print(open('/proc/self/status').read())"
    locked = next(line for line in said_by(program).splitlines() if line.startswith("VmLck:"))
    assert int(locked.split()[1]) >= 1024


@pytest.mark.requires_root
def test_an_ordinary_user_is_told_what_keeps_it_from_more() -> None:
    program = """
        import resource
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
        placement.become(65534, 65534, os.getppid())
        for call in ((placement.lock_memory, 1 << 20), (placement.renice, -1), (placement.prioritise_io, 1, 0),
                     (placement.become, 0, -1, os.getppid()), (placement.become, -1, 0, os.getppid())):
            try:
                call[0](*call[1:])
            except ValueError as error:
                print(error)
    """
    assert said_by(program).splitlines() == [
        "lockmem: 1048576 bytes cannot be locked: this process may lock 65536 (ulimit -l, LimitMEMLOCK=)",
        "nice: -1: Operation not permitted",
        "prioclass: 1 with prio 0: Operation not permitted",
        "uid: this process, of user 65534, cannot become 0: Operation not permitted",
        "gid: this process, of group 65534, cannot become 0: Operation not permitted",
    ]


@pytest.mark.requires_root
def test_another_user_has_nothing_left_of_root() -> None:
    program = "placement.become(65534, 65533, os.getppid()); print(open('/proc/self/status').read())"
    status = said_by(program, extra_groups=[6, 20])
    for line in ("Uid:" + "\t65534" * 4, "Gid:" + "\t65533" * 4, "Groups:\t \n", "CapEff:\t0000000000000000"):
        assert line in status


@pytest.mark.requires_root
def test_a_child_of_another_user_still_dies_with_its_parent() -> None:
    program = """
        import ctypes
        placement.become(65534, 65534, os.getppid())
        signal = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(signal))
        print(signal.value)
    """
    assert said_by(program) == "9"


def test_lockmem_leaves_the_system_some_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(process, "lock_memory", asked.append)
    placement.lock_memory(1 << 60)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert asked == [total - (128 << 20)]
