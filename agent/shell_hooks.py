"""Commands that users want run before and after a job: exec_prerun and exec_postrun."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Final

KILL_S: Final = 5.0

# The shell opens the file, not we: it may lie on a disk that hangs. What goes wrong with that is all that comes out
# on its own standard error.
SCRIPT: Final = 'exec >"$1" 2>&1 </dev/null && exec sh -c "$2"'


class HookError(RuntimeError):
    """The command could not be run, or not to its end; the text says why."""


def output_path(job: str, hook: str) -> Path:
    """Where the output of a job's `prerun` or `postrun` goes: into the working directory, as with fio."""
    return Path(f"{job.replace('/', '_')}.{hook}.txt")


async def run_hook(command: str, output_path: Path, timeout_s: float | None) -> int:
    """Run `sh -c COMMAND` with all its output in a file; its exit status, 128 + N where signal N ended it.

    It and what it started are killed after `timeout_s` (None: no bound) and when the caller is cancelled. What it
    leaves in the background lives on: a prerun may start what the postrun ends. Raises HookError.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", SCRIPT, "sh", str(output_path), command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
    except OSError as problem:
        raise HookError(f"sh: {problem.strerror}") from None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(timeout_s):
            complaint = await process.stderr.read()  # ends when the shell has the file in its place
            status = await process.wait()
    except TimeoutError:
        await kill(process)
        raise HookError(f"{command!r} was killed: it took longer than {timeout_s:g} s") from None
    except asyncio.CancelledError:
        await kill(process)
        raise
    if complaint:
        raise HookError(f"{output_path}: {complaint.decode(errors='replace').strip().rpartition(': ')[2]}")
    return status if status >= 0 else 128 - status


async def kill(process: asyncio.subprocess.Process) -> None:
    """Kill the shell and what it started; what a disk holds is left behind."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_S):
            await process.wait()
