"""What holds the plan back, with a real agent on its loop and children in played roles."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from fake_children import DEAF, OBEDIENT, WELL_BEHAVED, launcher
from machine import Machine
from processes import wait_until
from prometheus_client.parser import text_string_to_metric_families
from test_daemon import Agent, Found, in_time, text_of, until
from test_supervisor import OPTIONS, entry_for, supervisor_for

from iovigil.agent.config import DiskSettings
from iovigil.agent.control import Busy
from iovigil.agent.daemon import Daemon
from iovigil.agent.disks import inventory
from iovigil.agent.ledger import DiskEntry, Skip
from iovigil.agent.run import Patience


def scrape(address: str) -> dict[str, float]:
    """Samples as `name{labels}` to value."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def configure(agent: Agent, keys: str, every: str = "1s") -> None:
    text = text_of(agent.directory, every=every)
    agent.file.write_text(text.replace("agent: {", f"agent: {{{keys}, "))


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path, WELL_BEHAVED)


def again(agent: Agent) -> Agent:
    """Another agent on the same configuration and state."""
    text = agent.file.read_text()
    other = Agent(agent.directory, WELL_BEHAVED)
    other.file.write_text(text)
    other.daemon = Daemon(
        other.load, other.load(), resolve=lambda _: Found(), launcher=launcher(agent.directory, WELL_BEHAVED)
    )
    return other


def test_what_is_paused_does_not_start_and_stays_so_over_a_restart(agent: Agent) -> None:
    async def scenario() -> None:
        async with agent.running() as address:
            agent.daemon.control.pause("a", reason="swap")
            await until(lambda: agent.entry("a").skips[Skip.PAUSED] >= 2 and agent.entry("b").runs >= 2)
            samples = await asyncio.to_thread(scrape, address)
            assert samples["iovigil_probe_paused a latency"] == 1
            assert samples["iovigil_probe_paused b latency"] == 0
            assert samples["iovigil_runs_skipped_total a latency paused"] >= 2
            with pytest.raises(Busy, match="paused"):
                agent.daemon.control.run_now("a", "latency")
        assert sum(agent.entry("b").skips.values()) == 0
        second = again(agent)
        async with second.running():
            assert [pause.reason for pause in second.daemon.control.paused()] == ["swap"]
            await until(lambda: second.entry("a").skips[Skip.PAUSED] and second.entry("b").runs)
            assert second.entry("a").runs == 0
            second.daemon.control.resume()
            await until(lambda: second.entry("a").runs)
        third = again(agent)
        async with third.running():
            assert third.daemon.control.paused() == []

    in_time(scenario())


def test_a_pause_is_kept_although_the_agent_is_killed(agent: Agent) -> None:
    """The file is whole within seconds of the pause, without a stop that would write it."""

    async def scenario() -> None:
        async with agent.running():
            agent.daemon.control.pause()
            file = agent.directory / "pauses.json"
            await until(file.exists)
            content = file.read_bytes()
        second = again(agent)
        (agent.directory / "pauses.json").write_bytes(content)
        async with second.running():
            assert len(second.daemon.control.paused()) == 1

    in_time(scenario())


def test_nothing_starts_while_the_blackout_file_is_there(agent: Agent) -> None:
    file = agent.directory / "blackout"
    configure(agent, f"blackout_file: {file}")
    other = again(agent)
    file.touch()

    async def scenario() -> None:
        async with other.running() as address:
            await until(lambda: other.entry("a").skips[Skip.BLACKOUT] and other.entry("b").skips[Skip.BLACKOUT])
            assert (await asyncio.to_thread(scrape, address))["iovigil_blackout_active"] == 1
            assert other.entry("a").runs + other.entry("b").runs == 0
            with pytest.raises(Busy, match="blackout"):
                other.daemon.control.run_now("a", "latency")
            file.unlink()
            await until(lambda: other.entry("a").runs and other.entry("b").runs)
            await until(lambda: not other.daemon.ledger.is_blackout)

    in_time(scenario())


def test_starts_wait_while_a_cgroup_waits_for_io(agent: Agent) -> None:
    """The host's own pressure is not looked at: it is that of everybody who tests on it."""
    if not Path("/proc/pressure/io").exists():
        pytest.skip("this kernel has no PSI")
    pressure = agent.directory / "db.slice" / "io.pressure"
    pressure.parent.mkdir()
    pressure.write_text("some avg10=101.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 total=0\n")
    configure(agent, f"pressure: {{hold_some: 100, resume_some: 100, hold_full: 0, cgroups: [{pressure.parent}]}}")
    other = again(agent)

    async def scenario() -> None:
        async with other.running() as address:
            await until(lambda: other.entry("a").skips[Skip.PRESSURE] and other.entry("b").skips[Skip.PRESSURE])
            assert (await asyncio.to_thread(scrape, address))["iovigil_pressure_backoff_active"] == 1
            assert other.entry("a").runs + other.entry("b").runs == 0
            pressure.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n")
            await until(lambda: other.entry("a").runs and other.entry("b").runs)

    in_time(scenario())


def test_run_now_does_not_wait_for_the_plan(agent: Agent) -> None:
    configure(agent, "max_workers: 4", every="20d")
    other = again(agent)

    async def scenario() -> None:
        async with other.running() as address:
            other.daemon.control.run_now("a", "latency")
            await until(lambda: other.entry("a").runs)
            samples = await asyncio.to_thread(scrape, address)
            assert samples["iovigil_run_start_delay_seconds_count"] == 0, "it was not planned"
            assert other.entry("b").runs == 0

    in_time(scenario())


def test_how_late_starts_are_is_a_histogram(agent: Agent) -> None:
    async def scenario() -> None:
        async with agent.running() as address:
            await until(lambda: agent.entry("a").runs >= 2 and agent.entry("b").runs >= 2)
            samples = await asyncio.to_thread(scrape, address)
            count = samples["iovigil_run_start_delay_seconds_count"]
            assert count >= 4
            assert samples["iovigil_run_start_delay_seconds_bucket +Inf"] == count
            assert 0 < samples["iovigil_run_start_delay_seconds_sum"] < count * 5

    in_time(scenario())


def test_what_comes_is_in_the_plan(agent: Agent) -> None:
    async def scenario() -> None:
        async with agent.running():
            now = time.time()
            upcoming = agent.daemon._rounds.upcoming()
            assert [(each.disk, each.probe) for each in upcoming] == [("a", "latency"), ("b", "latency")]
            assert all(now - 2 < each.next_unix <= now + 2 for each in upcoming)

    in_time(scenario())


def test_of_one_controller_no_more_disks_are_used_than_its_bound(tmp_path: Path) -> None:
    supervisor = supervisor_for(launcher(tmp_path, OBEDIENT), patience=Patience(run_s=10), max_workers=9)
    disks = {name: DiskSettings(name=name, file=f"/nowhere/{name}") for name in ("a", "b", "c", "x", "unknown")}
    controllers = {"a": "0000:01:00.0", "b": "0000:01:00.0", "c": "0000:01:00.0", "x": "0000:02:00.0", "unknown": ""}
    for name, disk in disks.items():
        identity = {"controller": controllers[name], "device": f"dev-{name}"}
        supervisor.ledger.disks[name] = DiskEntry(name=name, path=disk.path, identity=identity)
    entries = {name: entry_for(disk) for name, disk in disks.items()}

    def blocked(name: str) -> Skip | None:
        return supervisor.blocker(disks[name], entries[name])

    async def scenario() -> None:
        tasks = [supervisor.start(disks["a"], entries["a"])]
        assert blocked("b") is None, "there is no bound unless one is set"
        supervisor.max_workers_per_controller = 1
        assert blocked("b") is Skip.CONCURRENCY
        assert blocked("x") is None
        assert blocked("unknown") is None
        tasks.append(supervisor.start(disks["unknown"], entries["unknown"]))
        assert blocked("x") is None, "disks of which it is not known are not of one controller"
        supervisor.max_workers_per_controller = 2
        tasks.append(supervisor.start(disks["b"], entries["b"]))
        assert blocked("c") is Skip.CONCURRENCY
        await until(lambda: all(entry.live for name, entry in entries.items() if name in ("a", "b", "unknown")))
        await supervisor.stop()
        await asyncio.gather(*tasks)

    in_time(scenario())


def test_which_disks_are_of_one_controller_is_what_the_machine_says(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "machine")
    adapters = {"sdb": "0000:01:00.0", "sdc": "0000:01:00.0", "sdd": "0000:02:00.0"}
    for number, (name, address) in enumerate(adapters.items()):
        place = f"pci0000:00/{address}/host{number}/target{number}:0:0/{number}:0:0:0/block"
        machine.disk(name, f"8:{16 * (number + 1)}", 1 << 30, place)
    supervisor = supervisor_for(launcher(tmp_path, OBEDIENT), patience=Patience(run_s=10), max_workers=9)
    supervisor.max_workers_per_controller = 1
    disks = {name: DiskSettings(name=name, device=f"/dev/{name}") for name in adapters}
    for name, disk in disks.items():
        found = inventory.resolve(disk, machine.root)
        assert found.is_present
        supervisor.ledger.disks[name] = DiskEntry(name=name, path=disk.path, identity=dict(found.identity))
    entries = {name: entry_for(disk) for name, disk in disks.items()}

    async def scenario() -> None:
        task = supervisor.start(disks["sdb"], entries["sdb"])
        blocked = {name: supervisor.blocker(disks[name], entries[name]) for name in ("sdc", "sdd")}
        assert blocked == {"sdc": Skip.CONCURRENCY, "sdd": None}
        await until(lambda: entries["sdb"].live)
        await supervisor.stop()
        await task

    in_time(scenario())


def test_a_hung_disk_does_not_take_a_place_of_its_controller(tmp_path: Path) -> None:
    quick = Patience(run_s=0.4, stop_s=0.3, kill_s=0.3)
    supervisor = supervisor_for(launcher(tmp_path, DEAF), patience=quick, max_workers=9)
    supervisor.max_workers_per_controller = 1
    disks = [DiskSettings(name=name, file=f"/nowhere/{name}") for name in ("a", "b")]
    for disk in disks:
        identity = {"controller": "0000:01:00.0", "device": disk.name}
        supervisor.ledger.disks[disk.name] = DiskEntry(name=disk.name, path=disk.path, identity=identity)
    entries = [entry_for(disk, options=OPTIONS) for disk in disks]

    async def scenario() -> None:
        task = supervisor.start(disks[0], entries[0])
        [run] = supervisor._running
        supervisor._running.remove(run)
        supervisor._abandoned.add(run)
        assert supervisor.blocker(disks[0], entries[0]) is Skip.STUCK
        assert supervisor.blocker(disks[1], entries[1]) is None
        supervisor._abandoned.remove(run)
        supervisor._running.add(run)
        await task

    in_time(scenario())


def test_a_stopped_agent_process_has_missed_what_it_slept_through(tmp_path: Path) -> None:
    """SIGSTOP stands for a machine that sleeps: CLOCK_BOOTTIME goes on in both."""
    script = tmp_path / "agent.py"
    role = launcher(tmp_path, WELL_BEHAVED)
    (tmp_path / "agent.yml").write_text(text_of(tmp_path, disks="a", runtime="100ms"))
    script.write_text(f"""
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_daemon import Found
from iovigil.agent import config
from iovigil.agent.daemon import Daemon
load = lambda: config.load({str(tmp_path / "agent.yml")!r})
daemon = Daemon(load, load(), resolve=lambda _: Found(), launcher=Path({str(role)!r}))
async def report():
    while True:
        entry = daemon.ledger.probes["a", "latency"]
        Path({str(tmp_path / "missed")!r}).write_text(str(entry.skips["missed"]) + " " + str(entry.runs))
        await asyncio.sleep(0.1)
async def main():
    task = asyncio.create_task(report())
    await daemon.run()
asyncio.run(main())
""")
    process = subprocess.Popen([sys.executable, str(script)])
    try:

        def read() -> list[int]:
            file = tmp_path / "missed"
            return [int(word) for word in file.read_text().split()] if file.exists() else []

        wait_until(lambda: read()[1:] and read()[1] >= 1, "a first run")
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(4.0)
        os.kill(process.pid, signal.SIGCONT)
        wait_until(lambda: read() and read()[0] >= 2, "missed starts")
        assert read()[0] <= 6
    finally:
        process.kill()
        process.wait(10)
