"""SIGKILL at any moment, its start and its reloads included: no counter is lost, and nothing is left or touched."""

import contextlib
import hashlib
import http.client
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import Series, children_of, counters, owner_of, running_agent, target_of_children, write_config
from processes import NotReady, free_port, wait_until
from scraping import IOVIGIL, get

from iovigil.agent import bequest, history

MIB = 1 << 20
ROUNDS = int(os.environ.get("IOVIGIL_KILL_ROUNDS", "12"))
LONGEST_S = 4.0
COMMAND_S = 60.0
REGION = (16 * MIB, 8 * MIB)

CONFIG = """\
disks:
  - {{name: data0, file: {directory}/own/data0, size: 4MiB}}
  - {{name: data1, file: {directory}/own/data1, size: 4MiB}}
  - {{name: read, device: {read}}}
  - {{name: region, device: {region}, region: {{offset: 16MiB, size: 8MiB}}}}
probes:
  latency:
    every: 1s
    disks: [read]
    job: {{rw: randread, bs: 4k, iodepth: 4, runtime: 500ms, rate_iops: {rate}, direct: 1}}
  integrity:
    every: 1s
    disks: [data0]
    job: {{rw: randwrite, bs: 16k, iodepth: 4, size: 1MiB, verify: crc32c, runtime: 400ms}}
  scrub:
    kind: scrub
    every: 2s
    period: 1h
    rewrite: 50%
    disks: [data1, region]
    job: {{bs: 16k, iodepth: 4, runtime: 900ms, rate: 8m}}
"""
OWN = {"data0", "data1"}
STATE = {"agent.lock", "history.db", "history.db-wal", "history.db-shm", "scrub", "dumps", "mismatches", "pauses.json"}


class Canaries:
    """What is not ours, and has to be as it was: files beside ours, a device beside ours, and around our region."""

    def __init__(self, directory: Path, devices: list[Path], region: Path) -> None:
        self._files = [directory / "own" / name for name in ("data0.bak", "data2", ".hidden", "data0.new.txt")]
        self._files += [directory / "state" / name for name in ("notes.txt", "history.db.mine")]
        for file in self._files:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(random.Random(str(file)).randbytes(64 << 10))
        for device in [*devices, region]:
            device.write_bytes(random.Random(str(device)).randbytes(device_bytes(device)))
        self._devices = devices
        self._region = region
        self.files = set(self._files)
        self.before = self.digests()

    def digests(self) -> dict[str, str]:
        whole = {str(place): place.read_bytes() for place in [*self._files, *self._devices]}
        outside = self._region.read_bytes()
        first, size = REGION
        whole["around the region"] = outside[:first] + outside[first + size :]
        return {name: hashlib.blake2b(content).hexdigest() for name, content in whole.items()}


def device_bytes(device: Path) -> int:
    return int(Path(f"/sys/class/block/{device.name}/size").read_text()) * 512


class Scraper:
    """Scrapes again and again; keeps the first and the last answer that came in full."""

    def __init__(self, port: int) -> None:
        self.first: dict[Series, float] = {}
        self.last: dict[Series, float] = {}
        self._url = f"http://127.0.0.1:{port}/metrics"
        self._must_end = threading.Event()
        self._thread = threading.Thread(target=self._scrape, daemon=True)
        self._thread.start()

    def _scrape(self) -> None:
        while not self._must_end.wait(0.01):
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                self.last = counters(get(self._url).decode())
                self.first = self.first or self.last

    def end(self) -> None:
        self._must_end.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


def holders(directory: Path, devices: list[Path]) -> list[str]:
    """Processes that have something of the test's open, this one left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                place = link.readlink()
                if place in devices or directory in place.parents:
                    found.append(f"{process.name} {(process / 'comm').read_text().strip()}: {place}")
    return found


@pytest.mark.slow
def test_whenever_the_agent_is_killed_nothing_is_lost_left_or_touched(
    tmp_path: Path, loop_device: Callable[..., Path]
) -> None:
    read, region, beside = loop_device(32 * MIB), loop_device(32 * MIB), loop_device(8 * MIB)
    devices = [read, region, beside]
    canaries = Canaries(tmp_path, [read, beside], region)
    port, chance = free_port(), random.Random(6)
    configs = [CONFIG.format(directory=tmp_path, read=read, region=region, rate=rate) for rate in (1000, 1500)]
    config, log = tmp_path / "agent.yml", tmp_path / "agent.log"
    write_config(config, tmp_path, port, configs[0])
    for kill_after_s in (0.3, 0.6, None):  # the claim itself, too
        claim = subprocess.Popen(
            [IOVIGIL, "claim", "region", "--config", config, "--yes-erase", "region"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
        )
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            claim.kill()
        said, _ = claim.communicate(timeout=COMMAND_S)
    assert claim.returncode == 0, said

    shown = dict[Series, float]()
    answered = reloads = child_kills = 0
    for number in range(ROUNDS):
        with log.open("ab") as output:
            agent = subprocess.Popen(
                [IOVIGIL, "agent", "--config", config],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=tmp_path,
            )
        scraper = Scraper(port)
        try:
            end_s = time.monotonic() + chance.uniform(0.2, LONGEST_S)
            while time.monotonic() < end_s:
                time.sleep(min(chance.uniform(0.01, 0.4), max(end_s - time.monotonic(), 0)))
                assert agent.poll() is None, f"round {number}: the agent has ended\n{log.read_text()[-4000:]}"
                if scraper.first:
                    reloads += reload(agent.pid, config, tmp_path, port, chance.choice(configs), chance)
                    child_kills += kill_a_child(agent.pid, chance)
        finally:
            agent.kill()
            agent.wait(20)
            scraper.end()
        if scraper.first:
            now = scraper.first
            fallen = {
                series: (value, now.get(series)) for series, value in shown.items() if now.get(series, -1) < value
            }
            assert not fallen, f"round {number}"
            shown = scraper.last
            answered += 1
        with contextlib.suppress(NotReady):
            wait_until(lambda: not holders(tmp_path, devices), "nobody has anything open", 20)
        assert not holders(tmp_path, devices), f"round {number}"
    print(f"\n{ROUNDS} kills, {answered} after an answer; {reloads} reloads, {child_kills} children killed")
    assert answered > ROUNDS / 3

    with running_agent(tmp_path, configs[0], port=port) as last_agent:
        assert not {series for series, value in shown.items() if counters(last_agent.scrape()).get(series, -1) < value}
        for disk, probe in (("read", "latency"), ("data0", "integrity"), ("data1", "scrub"), ("region", "scrub")):
            last_agent.wait_for_success(40, disk=disk, probe=probe)
        assert last_agent.value("verify_mismatches_total") == 0
        for reason in ("io_error", "verify", "refused", "setup", "timeout"):
            assert last_agent.value("run_failures_total", reason=reason) == 0, (reason, log.read_text()[-4000:])
        last_agent.process.terminate()
        assert last_agent.process.wait(20) == 0
        assert not children_of(last_agent.pid)
    assert canaries.digests() == canaries.before
    assert owner_of(tmp_path / "own" / "data0") == ("data0", 4 * MIB)
    left = set((tmp_path / "own").iterdir()) - canaries.files
    assert {path.name for path in left} == OWN
    assert {path.name for path in set((tmp_path / "state").iterdir()) - canaries.files} <= STATE
    memory = bequest.directory(tmp_path / "state")
    assert memory is not None
    assert not memory.exists()
    with contextlib.closing(sqlite3.connect(history.database(tmp_path / "state"))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) - count(DISTINCT name) FROM runs").fetchone() == (0,)
    assert "Traceback" not in log.read_text()


def reload(pid: int, config: Path, directory: Path, port: int, text: str, chance: random.Random) -> int:
    if chance.random() > 0.3:
        return 0
    fresh = config.with_suffix(".next")
    write_config(fresh, directory, port, text)
    fresh.replace(config)
    os.kill(pid, signal.SIGHUP)
    return 1


def kill_a_child(pid: int, chance: random.Random) -> int:
    children = sorted(target_of_children(pid).values())
    if not children or chance.random() > 0.15:
        return 0
    with contextlib.suppress(ProcessLookupError):
        os.kill(chance.choice(children), signal.SIGKILL)
    return 1
