"""A child for a single act on files: the agent's own process never touches a disk that may hang."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from iovigil.agent.run import Tools
from iovigil.agent.verdict import reason
from iovigil.agent.worker import Worker
from iovigil.engines import exit_status
from iovigil.engines.stats import StatsPage

KILL_S: Final = 3.0


async def errand(order: Mapping[str, Any], tools: Tools, allowed_s: float) -> str:
    """Have a child do what the order's purpose says; what went wrong, empty when nothing did."""
    try:
        worker = tools.spawn(dict(order), StatsPage.create(), tools.launcher)
    except OSError as error:
        return f"the child could not be started: {error.strerror or error}"
    try:
        if not await has_ended(worker, allowed_s):
            worker.kill()
            is_gone = await has_ended(worker, KILL_S)
            return f"not finished after {allowed_s:.0f} s: {'killed' if is_gone else 'and it does not end on SIGKILL'}"
        ending = worker.reap()
        worker.read_messages()
        if ending is not None and ending.status == exit_status.OK:
            return ""
        return reason(tuple(worker.messages)) or "the child was killed"
    finally:
        worker.kill()
        worker.close()


async def has_ended(worker: Worker, within_s: float) -> bool:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(worker.pidfd, gone.set)
    try:
        async with asyncio.timeout(within_s):
            await gone.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(worker.pidfd)
    return True
