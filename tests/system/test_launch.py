"""The launcher admits the target and hands it over: same process, one line when it does not, never a traceback.

The half after exec is a stand-in that reports what it was given; it needs no engine.
"""

import json
import marshal
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until

import iovigil
from iovigil.agent.disks import footer, layout
from iovigil.engines import exit_status

PACKAGE = Path(iovigil.__file__).parent
SIZE = 1 << 20
DEADLINE_S = 10

STAND_IN = """
import json, marshal, os, sys
order_fd, stats_fd = map(int, sys.argv[1:3])
target_fd = next((int(fd) for fd in sys.argv[3].split(":") if fd), -1)
seen = {"pid": os.getpid(), "target_fd": target_fd, "modules": sorted(sys.modules)}
seen["order"] = marshal.loads(os.pread(order_fd, 1 << 20, 0))
os.fstat(stats_fd)
if target_fd >= 0:
    seen["path"] = os.readlink(f"/proc/self/fd/{target_fd}")
seen["descriptors"] = sorted(int(name) for name in os.listdir("/proc/self/fd"))
with open(os.environ["SEEN"], "w") as file:
    json.dump(seen, file, default=bytes.hex)
"""


class Launch:
    """Starts the launcher of a package whose child is the stand-in."""

    def __init__(self, directory: Path) -> None:
        package = directory / "site" / "iovigil"
        (package / "engines").mkdir(parents=True)
        (package / "agent").symlink_to(PACKAGE / "agent")
        (package / "__init__.py").symlink_to(PACKAGE / "__init__.py")
        for file in (PACKAGE / "engines").resolve().iterdir():
            if file.suffix in (".py", ".so") and file.name != "child.py":
                (package / "engines" / file.name).symlink_to(file)
        (package / "engines" / "child.py").write_text(STAND_IN)
        self.launcher = package / "agent" / "launch.py"
        self.seen_path = directory / "seen.json"
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, order: bytes | dict[str, Any]) -> subprocess.Popen[str]:
        order_fd, stats_fd = os.memfd_create("order"), os.memfd_create("stats")
        try:
            os.write(order_fd, order if isinstance(order, bytes) else marshal.dumps(order))
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", self.launcher, str(order_fd), str(stats_fd)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=(order_fd, stats_fd),
                start_new_session=True,
                env={"SEEN": str(self.seen_path)},
            )
        finally:
            os.close(order_fd)
            os.close(stats_fd)
        self.processes.append(process)
        return process

    def run(self, order: bytes | dict[str, Any]) -> tuple[int, str]:
        """The exit status and what it said."""
        process = self.start(order)
        _, said = process.communicate(timeout=DEADLINE_S)
        return process.returncode, said

    @property
    def seen(self) -> dict[str, Any]:
        return dict(json.loads(self.seen_path.read_text()))


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    launch = Launch(tmp_path)
    yield launch
    for process in launch.processes:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def order(path: Path, **changes: Any) -> dict[str, Any]:
    target = {
        "disk": "data0",
        "kind": "file",
        "path": str(path),
        "size": SIZE,
        "read": True,
        "write": True,
        "direct": False,
        "is_probe_file": True,
        "overwrite": False,
        "fill_device": False,
        "must_exist": False,
        "create_size": SIZE,
        "file_count": 1,
        "sync": "none",
        "may_create": True,
        "is_scsi_generic": False,
        "session": "",
    }
    return {
        "parent_pid": os.getpid(),
        "targets": [{**target, **changes}],
        "options": {
            "offset": 0,
            "size": 0,
            "does_read": True,
            "does_write": False,
            "does_trim": False,
            "lengths": ((4096, 4096),) * 3,
        },
        "limits": {"memory_bytes": 0, "cpu_s": 0},
    }


def test_the_child_is_the_same_process_and_holds_the_target(launch: Launch, tmp_path: Path) -> None:
    process = launch.start(order(tmp_path / "probe"))
    assert process.wait(DEADLINE_S) == 0
    assert launch.seen["pid"] == process.pid
    assert launch.seen["path"] == str(tmp_path / "probe")
    assert launch.seen["order"]["targets"][0]["size"] == SIZE


def test_no_descriptor_but_those_handed_over_reaches_the_child(launch: Launch, tmp_path: Path) -> None:
    assert launch.run(order(tmp_path / "probe"))[0] == 0
    # 0, 1, 2, the order, the page, the target, and the one that lists them.
    assert len(launch.seen["descriptors"]) == 7


def test_the_admitted_size_stands_in_the_order(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"x" * 5000)
    wanted = order(tmp_path / "plain", is_probe_file=False, write=False, size=0, kind="auto")
    assert launch.run(wanted)[0] == 0
    assert launch.seen["order"]["targets"][0]["size"] == 5000
    assert launch.seen["order"]["targets"][0]["kind"] == "file"


def test_a_job_without_a_target_gets_none(launch: Launch, tmp_path: Path) -> None:
    assert launch.run({**order(tmp_path / "never"), "targets": []})[0] == 0
    assert launch.seen["target_fd"] == -1
    assert not (tmp_path / "never").exists()


def test_files_are_laid_out_and_nothing_is_run(launch: Launch, tmp_path: Path) -> None:
    assert launch.run({**order(tmp_path / "probe"), "purpose": "lay_out"})[0] == 0
    assert (tmp_path / "probe").stat().st_size == SIZE + footer.BLOCK
    assert not launch.seen_path.exists()


def test_what_a_session_made_is_removed_and_nothing_is_run(launch: Launch, tmp_path: Path) -> None:
    wanted = order(tmp_path / "plain", is_probe_file=False, session="a")
    assert launch.run({**wanted, "purpose": "lay_out"})[0] == 0
    assert launch.run({**wanted, "purpose": "remove"})[0] == 0
    assert not (tmp_path / "plain").exists()
    assert not launch.seen_path.exists()


def test_every_target_is_handed_over(launch: Launch, tmp_path: Path) -> None:
    targets = [order(tmp_path / name)["targets"][0] for name in ("a", "b")]
    assert launch.run({**order(tmp_path / "a"), "targets": targets})[0] == 0
    # One more than with a single target.
    assert len(launch.seen["descriptors"]) == 8


def test_a_refusal_is_one_line_and_a_status(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs")
    status, said = launch.run(order(tmp_path / "theirs"))
    assert status == exit_status.TARGET_REFUSED
    assert said == (
        f"error: {tmp_path}/theirs is left alone: it has no footer of iovigil; remove it, or choose another path\n"
    )


def test_a_line_break_in_a_path_does_not_break_the_line(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "two\nlines").write_bytes(b"theirs")
    _, said = launch.run(order(tmp_path / "two\nlines"))
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("loop/probe", "Too many levels of symbolic links"),
        ("x" * 300, "File name too long"),
        ("file/x", "Not a directory"),
    ],
)
def test_what_the_system_says_is_one_line_and_a_status(launch: Launch, tmp_path: Path, path: str, reason: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    assert launch.run(order(tmp_path / path)) == (
        exit_status.TARGET_FAILED,
        f"error: {tmp_path / path}: {reason}\n",
    )


@pytest.mark.parametrize(
    "broken", [b"", b"rubbish", marshal.dumps(7), marshal.dumps({}), marshal.dumps({"parent_pid": os.getpid()})]
)
def test_an_order_that_makes_no_sense_is_no_traceback(launch: Launch, broken: bytes) -> None:
    status, said = launch.run(broken)
    assert status == exit_status.SETUP_FAILED
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_child_whose_parent_is_another_ends_at_once(launch: Launch, tmp_path: Path) -> None:
    status, _ = launch.run({**order(tmp_path / "probe"), "parent_pid": os.getpid() + 1})
    assert status == 128 + signal.SIGKILL
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_during_layout_leaves_at_most_the_partial_file(
    launch: Launch, tmp_path: Path, number: signal.Signals
) -> None:
    partial = tmp_path / f"probe{layout.PARTIAL}"
    process = launch.start(order(tmp_path / "probe", size=512 * SIZE))
    wait_until(partial.exists, "the layout has begun")
    process.send_signal(number)
    assert process.wait(DEADLINE_S) == -number
    assert not (tmp_path / "probe").exists()
    assert launch.run(order(tmp_path / "probe"))[0] == 0
    assert not partial.exists()
    assert (tmp_path / "probe").stat().st_size == SIZE + footer.BLOCK


def test_the_launcher_imports_nothing_heavy(launch: Launch) -> None:
    """Its start-up time is paid at every run; a module that comes in by accident is hard to see."""
    report = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", launch.launcher],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    ).stderr
    imported = {line.rpartition("|")[2].strip() for line in report.splitlines() if line.startswith("import time:")}
    assert "iovigil.agent.disks.guard" in imported
    heavy = {
        "typing",
        "re",
        "dataclasses",
        "json",
        "pathlib",
        "subprocess",
        "logging",
        "contextlib",
        "shutil",
        "msgspec",
    }
    assert imported & heavy == set()


def test_from_spawn_to_the_job_takes_little(launch: Launch, tmp_path: Path) -> None:
    assert launch.run(order(tmp_path / "probe"))[0] == 0
    times = []
    for _ in range(5):
        start = time.monotonic()
        assert launch.run(order(tmp_path / "probe"))[0] == 0
        times.append(time.monotonic() - start)
    # Both halves start an interpreter; the bound is for a busy machine, a quiet one needs a tenth.
    assert min(times) < 0.5
