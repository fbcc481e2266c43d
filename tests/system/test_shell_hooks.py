"""exec_prerun and exec_postrun: real commands in a real shell, and how they end."""

import asyncio
import os
from pathlib import Path

import pytest
from processes import wait_until

from iovigil.agent import shell_hooks
from iovigil.agent.shell_hooks import HookError, run_hook

DEADLINE_S = 10.0


def run(command: str, output: Path, timeout_s: float | None = DEADLINE_S) -> int:
    return asyncio.run(run_hook(command, output, timeout_s))


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_all_that_a_command_says_is_in_its_file(tmp_path: Path) -> None:
    output = tmp_path / "out"
    # The second line is where fio's own `&>` leaves the file empty, under a shell that is no bash.
    assert run("echo one; echo two >&2; cat", output) == 0
    assert output.read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("command", "status"), [("true", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("no-such-command", 127), ("", 0)]
)
def test_the_status_is_the_commands(tmp_path: Path, command: str, status: int) -> None:
    assert run(command, tmp_path / "out") == status


def test_words_of_the_command_are_the_shells_to_read(tmp_path: Path) -> None:
    output = tmp_path / "with space"
    assert run("""echo "$0 $#" 'a  b' | tr a-z A-Z""", output) == 0
    assert output.read_text() == "SH 0 A  B\n"


def test_an_output_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "out"
    with pytest.raises(HookError, match=rf"^{missing}: .+"):
        run("touch ran", missing)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("how", ["timeout", "cancel"])
def test_a_hook_is_killed_with_all_it_started(tmp_path: Path, how: str) -> None:
    output = tmp_path / "out"

    async def conduct() -> None:
        timeout_s = 0.5 if how == "timeout" else DEADLINE_S
        task = asyncio.ensure_future(run_hook("echo $$; sleep 60 & echo $!; wait", output, timeout_s))
        if how == "cancel":
            async with asyncio.timeout(DEADLINE_S):
                while not output.exists() or output.read_text().count("\n") < 2:
                    await asyncio.sleep(0.01)
            task.cancel()
        await task

    with pytest.raises(HookError if how == "timeout" else asyncio.CancelledError):
        asyncio.run(conduct())
    pids = [int(line) for line in output.read_text().split()]
    assert len(pids) == 2
    wait_until(lambda: not any(is_alive(pid) for pid in pids), "all of it is gone")


def test_what_a_prerun_leaves_in_the_background_lives_on(tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert run("sleep 60 & echo $!", output) == 0
    (pid,) = map(int, output.read_text().split())
    try:
        assert is_alive(pid)
    finally:
        os.kill(pid, 9)


def test_the_file_is_named_for_job_and_hook() -> None:
    assert str(shell_hooks.output_path("a/b", "prerun")) == "a_b.prerun.txt"
