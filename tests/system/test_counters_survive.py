"""Counters outlive the agent: after SIGKILL at any moment none is less than was shown, or more than was done."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import monitoring
import pytest
from agent_process import RunningAgent, Series, counters, running_agent
from processes import free_port, started, wait_until
from scraping import PROMETHEUS_CONFIG, Stack, get

from iovigil.agent import bequest, history
from iovigil.agent.history import History

SECTOR = 512
BLOCK = 4096
BEHIND = 4  # The kernel counts an I/O after it has told who waits for it: as many as are in flight may be missing.
ROUNDS = int(os.environ.get("IOVIGIL_KILL_ROUNDS", "12"))

PROBES = """\
disks:
  - {{name: data0, file: {directory}/data0, size: 4MiB}}
{devices}
probes:
  latency:
    every: 1s
    disks: [loop*]
    job: {{rw: randread, bs: 4k, iodepth: 4, runtime: 700ms, rate_iops: 2000, direct: 1}}
  integrity:
    every: 1s
    disks: [data0]
    job: {{rw: randwrite, bs: 16k, iodepth: 8, size: 1MiB, verify: crc32c, runtime: 400ms, time_based: 0}}
"""


@pytest.fixture(autouse=True)
def left(tmp_path: Path) -> Iterator[Path]:
    """Where a killed agent of the test leaves what it counted; gone with the test."""
    place = bequest.directory(tmp_path / "state")
    assert place is not None
    yield place
    shutil.rmtree(place, ignore_errors=True)


def last_shown_before_kill(agent: RunningAgent, delay_s: float) -> dict[Series, float]:
    """Kill the agent after so long, and return the last scrape that it answered in full."""
    texts: list[str] = []

    def scrape() -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                texts.append(get(f"{agent.url}/metrics").decode())

    thread = threading.Thread(target=scrape, daemon=True)
    thread.start()
    time.sleep(delay_s)
    os.kill(agent.pid, signal.SIGKILL)
    thread.join(20)
    assert not thread.is_alive()
    assert texts, "not one scrape was answered"
    return counters(texts[-1])


def read_from(device: Path) -> tuple[int, int]:
    """What the kernel says was read from a device: I/Os and bytes."""
    fields = Path(f"/sys/class/block/{device.name}/stat").read_text().split()
    return int(fields[0]), int(fields[2]) * SECTOR


def assert_none_fell(shown: dict[Series, float], now: dict[Series, float]) -> None:
    fallen = {series: (value, now.get(series)) for series, value in shown.items() if now.get(series, -1.0) < value}
    assert not fallen


@pytest.mark.slow
def test_no_counter_falls_or_exceeds_what_was_done_however_often_the_agent_is_killed(
    tmp_path: Path, left: Path, loop_device: Callable[..., Path]
) -> None:
    devices = [loop_device(), loop_device()]
    lines = "\n".join(f"  - {{name: loop{number}, device: {path}}}" for number, path in enumerate(devices))
    config = PROBES.format(directory=tmp_path, devices=lines)
    before = [read_from(device) for device in devices]
    port, chance, shown = free_port(), random.Random(5), dict[Series, float]()
    for _ in range(ROUNDS):
        with running_agent(tmp_path, config, port=port) as agent:
            now = counters(agent.scrape())
            assert_none_fell(shown, now)
            for number, device in enumerate(devices):
                done_ios, done_bytes = (
                    now_ - then for now_, then in zip(read_from(device), before[number], strict=True)
                )
                assert total(now, "ios_total", f"loop{number}") <= done_ios + BEHIND
                assert total(now, "io_bytes_total", f"loop{number}") <= done_bytes + BEHIND * BLOCK
            shown = last_shown_before_kill(agent, chance.uniform(0.02, 2.0))

    with running_agent(tmp_path, config, port=port) as agent:
        assert_none_fell(shown, counters(agent.scrape()))
        agent.wait_for("runs_total", total(shown, "runs_total", "loop0") + 2, disk="loop0")
        agent.process.terminate()
        agent.process.wait(20)
    assert total(shown, "ios_total", "loop0") > 100 * ROUNDS, "too little was done to show anything"
    assert not left.exists(), "nothing is left in memory after a clean end"
    kept = History(history.database(tmp_path / "state")).latest("loop0")
    assert len(kept) >= 2
    assert len({record.name for record in kept}) == len(kept)


def total(shown: dict[Series, float], name: str, disk: str) -> float:
    return sum(v for (found, labels), v in shown.items() if found == f"iovigil_{name}" and ("disk", disk) in labels)


def accounts_in(state: Path) -> int:
    with contextlib.closing(sqlite3.connect(history.database(state))) as connection:
        return int(connection.execute("SELECT count(*) FROM accounts").fetchone()[0])


READS = """\
disks:
  - {{name: data0, file: {directory}/data0, size: 4MiB}}
probes:
  latency:
    every: 1s
    job: {{rw: randread, bs: 4k, runtime: 300ms, rate_iops: 200, direct: 1}}
"""


def test_counters_go_on_after_a_clean_restart(tmp_path: Path) -> None:
    config = READS.format(directory=tmp_path)
    with running_agent(tmp_path, config) as agent:
        agent.wait_for("runs_total", 2)
        shown = counters(agent.scrape())
        agent.process.terminate()
        assert agent.process.wait(20) == 0
    assert accounts_in(tmp_path / "state") == 2  # of the probe, and of the agent
    with running_agent(tmp_path, config) as agent:
        now = counters(agent.scrape())
        assert_none_fell(shown, now)
        assert agent.value("last_success_timestamp_seconds") > 0
        assert accounts_in(tmp_path / "state") == 0
        assert len(agent.lines("begin at 0")) == 0


def test_a_power_failure_begins_counters_at_0_because_rates_know_how_to_take_that(tmp_path: Path, left: Path) -> None:
    config = READS.format(directory=tmp_path)
    with running_agent(tmp_path, config) as agent:
        agent.wait_for("runs_total", 2)
        agent.process.kill()
        agent.process.wait(20)
    for file in left.iterdir():
        file.unlink()
    with running_agent(tmp_path, config) as agent:
        assert agent.value("runs_total") == 0


def test_a_history_that_cannot_be_used_at_all_keeps_no_probe_from_running(tmp_path: Path) -> None:
    (tmp_path / "state" / "history.db").mkdir(parents=True)
    with running_agent(tmp_path, READS.format(directory=tmp_path)) as agent:
        agent.wait_for("runs_total", 2)
        agent.wait_for_line("history.db: ")
        agent.process.kill()
        agent.process.wait(20)
    with running_agent(tmp_path, READS.format(directory=tmp_path)) as agent:
        assert agent.value("runs_total") >= 2, "what is in memory does not need it"


def test_a_state_directory_that_is_full_costs_no_counter_and_no_failure(
    tmp_path: Path, ext4_mount: Callable[..., Path]
) -> None:
    """Runs, scrapes and SIGKILL go on as ever; when there is room again what waited is written."""
    state = tmp_path / "state"
    state.symlink_to(ext4_mount())
    config = READS.format(directory=tmp_path)
    port = free_port()
    with running_agent(tmp_path, config, port=port) as agent:
        agent.wait_for("runs_total", 1, probe="latency")
        fill(state / "filling")
        (tmp_path / "data0").unlink()  # is made again
        os.kill(agent.child_on(tmp_path / "data0"), signal.SIGKILL)
        agent.wait_for("run_failures_total", reason="crash")
        shown = counters(agent.scrape())
        agent.process.kill()
        agent.process.wait(20)
    with running_agent(tmp_path, config, port=port) as agent:
        assert_none_fell(shown, counters(agent.scrape()))
        os.kill(agent.child_on(tmp_path / "data0"), signal.SIGKILL)  # failures do not wait to be written
        agent.wait_for_line("make room in the state directory")
        agent.wait_for("runs_total", total(shown, "runs_total", "data0") + 2)
        (state / "filling").unlink()
        shown = counters(agent.scrape())
        agent.process.terminate()
        assert agent.process.wait(20) == 0
    assert accounts_in(state) == 2
    assert len(History(history.database(state)).latest()) >= 2
    with running_agent(tmp_path, config, port=port) as agent:
        assert_none_fell(shown, counters(agent.scrape()))


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))


def test_prometheus_sees_no_reset_where_the_agent_is_killed_stopped_and_started_again(tmp_path: Path) -> None:
    """Its own word on it: a counter that fell by one would be a rate of all that it had counted."""
    config, port, prometheus_port = READS.format(directory=tmp_path), free_port(), free_port()
    scrapes = tmp_path / "prometheus.yml"
    scrapes.write_text(PROMETHEUS_CONFIG.format(port=port, rules=monitoring.RULES))
    prometheus = [
        "prometheus",
        f"--config.file={scrapes}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{prometheus_port}",
    ]
    with started(prometheus, log=tmp_path / "prometheus.log", port=prometheus_port):
        stack = Stack(agent_port=port, prometheus_port=prometheus_port)
        wait_until(stack.is_ready, "Prometheus has read its storage")
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
            with running_agent(tmp_path, config, port=port) as agent:
                # Scraped at work, and again after.
                runs, names = agent.value("runs_total"), {name for name, _ in counters(agent.scrape())}
                stack.wait_for(f"iovigil_runs_total >= {runs + 2}")
                agent.process.send_signal(number)
                agent.process.wait(20)
        resets = {name: summed(stack.query(f"sum(resets({name}[10m]))")) for name in names}
        seen = summed(stack.query("sum(count_over_time(iovigil_runs_total[10m]))"))
        increase = summed(stack.query("sum(increase(iovigil_ios_total[10m]))"))
        runs = summed(stack.query("sum(max_over_time(iovigil_runs_total[10m]))"))
    assert resets == dict.fromkeys(names, 0.0)
    assert seen > 8
    assert runs >= 8
    assert 0 < increase < 2 * 60 * runs, "60 I/Os a run; increase() guesses a little"


def summed(result: list[dict[str, Any]]) -> float:
    [sample] = result
    return float(sample["value"][1])
