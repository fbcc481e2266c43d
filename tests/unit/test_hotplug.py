"""Changes of mounts and devices are noticed on the event loop."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from iovigil.agent.hotplug import Hotplug

SEEN_S = 5.0


@pytest.mark.requires_root
def test_a_mount_is_noticed_and_its_going_too(tmp_path: Path) -> None:
    async def go() -> None:
        seen = asyncio.Event()
        hotplug = Hotplug(seen.set)
        hotplug.start()
        try:
            for command in (["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], ["umount", str(tmp_path)]):
                await asyncio.sleep(0.2)
                seen.clear()
                subprocess.run(command, check=True, timeout=30)
                async with asyncio.timeout(SEEN_S):
                    await seen.wait()
        finally:
            hotplug.close()

    asyncio.run(go())


@pytest.mark.requires_root
def test_a_uevent_of_a_block_device_is_noticed() -> None:
    disk = next((place for place in Path("/sys/class/block").glob("loop*") if (place / "uevent").exists()), None)
    if disk is None:
        pytest.skip("this machine has no loop device")

    async def go() -> None:
        seen = asyncio.Event()
        hotplug = Hotplug(seen.set)
        hotplug.start()
        try:
            # Other tests mount and plug beside this one: what is seen may be theirs, what is not seen may not.
            seen.clear()
            (disk / "uevent").write_text("change")
            async with asyncio.timeout(SEEN_S):
                await seen.wait()
        finally:
            hotplug.close()

    asyncio.run(go())


def test_closing_leaves_no_descriptor_open() -> None:
    async def go() -> None:
        before = set(Path("/proc/self/fd").iterdir())
        hotplug = Hotplug(lambda: None)
        hotplug.start()
        hotplug.close()
        assert set(Path("/proc/self/fd").iterdir()) == before

    asyncio.run(go())
