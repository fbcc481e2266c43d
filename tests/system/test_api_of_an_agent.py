"""The API of a real agent with real children: what it tells is what its metrics say."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from agent_process import RunningAgent, running_agent
from processes import free_port, wait_until

DISKS_AND_PROBES = """
disks:
  - {{name: good, file: {directory}/good, size: 1MiB}}
  - {{name: nowhere, file: {directory}/none/probe, size: 1MiB}}
probes:
  latency: {{every: 1s, job: {{rw: randread, bs: 4k, rate_iops: 200, runtime: 300ms, ioengine: psync}}}}
"""


def asked(port: int, path: str, body: bytes | None = None) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1{path}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_agent_tells_what_its_children_did(tmp_path: Path) -> None:
    port = free_port()
    with running_agent(tmp_path, DISKS_AND_PROBES.format(directory=tmp_path), port=port) as agent:
        agent.wait_for_success(disk="good", probe="latency")
        wait_until(lambda: asked(port, "/runs?failed=true")[1]["runs"], "a failed run", 20)
        _, runs = asked(port, "/runs?disk=good")
        newest = runs["runs"][0]
        assert newest["failure"] is None
        assert 0 < newest["latency_s"]["read"]["0.5"] <= newest["latency_s"]["read"]["max"]
        _, whole = asked(port, f"/runs/{newest['id']}")
        assert whole["options"]["rw"] == "randread"
        assert whole["bytes"]["read"] == whole["ios"]["read"] * 4096
        failed = asked(port, "/runs?failed=true")[1]["runs"][0]
        assert (failed["disk"], failed["failure"]) == ("nowhere", "refused")
        assert str(tmp_path / "none") in failed["message"]
        _, disks = asked(port, "/disks")
        by_name = {disk["name"]: disk for disk in disks["disks"]}
        assert by_name["nowhere"]["probes"][0]["state"] in ("failed", "absent", "running", "waiting")
        assert by_name["good"]["probes"][0]["runs"] >= 1
        assert agent.value("runs_total", disk="good", probe="latency") >= by_name["good"]["probes"][0]["runs"]
        assert asked(port, "/mismatches") == (200, {"mismatches": [], "next_cursor": None})
        status, problem = asked(port, "/pause", b"{}")
        assert (status, problem["title"]) == (403, "Forbidden")


RARE = """
disks:
  - {{name: good, file: {directory}/good, size: 1MiB}}
probes:
  latency: {{every: 1d, job: {{rw: randread, bs: 4k, number_ios: 4, runtime: 5s, ioengine: psync}}}}
"""


def enable_control(agent: RunningAgent) -> None:
    text = agent.config.read_text()
    agent.config.write_text(text.replace("agent:\n", "agent:\n  web: {enable_control: true}\n", 1))
    os.kill(agent.pid, signal.SIGHUP)
    agent.wait_for_line("configuration reloaded")


def ordered(port: int, path: str, **order: Any) -> tuple[int, Any]:
    return asked(port, path, json.dumps(order).encode())


def test_an_operator_controls_the_agent_and_finds_all_of_it_after_a_restart(tmp_path: Path) -> None:
    port, rare = free_port(), RARE.format(directory=tmp_path)
    with running_agent(tmp_path, rare, port=port) as agent:
        enable_control(agent)
        [turn] = asked(port, "/schedule")[1]["turns"]
        assert time.time() < turn["next_unix"] < time.time() + 86_400
        assert ordered(port, "/run", disk="good", probe="latency")[0] == 202
        wait_until(lambda: asked(port, "/runs")[1]["runs"], "the run that was asked for", 20)
        [first] = asked(port, "/runs")[1]["runs"]
        assert asked(port, f"/runs/{first['id']}")[1]["ios"] == {"read": 4}
        assert ordered(port, "/pause", disk="good", reason="new cable")[0] == 200
        agent.wait_for("probe_paused", disk="good", probe="latency")
        status, problem = ordered(port, "/run", disk="good", probe="latency")
        assert (status, problem["reason"]) == (409, "paused")
        status, problem = ordered(port, "/pause", disk="nowhere")
        assert (status, "good" in problem["detail"]) == (404, True)
    with running_agent(tmp_path, rare, port=port) as agent:
        enable_control(agent)
        assert asked(port, "/runs")[1]["runs"] == [first]
        assert agent.value("runs_total", disk="good") == 1
        [disk] = asked(port, "/disks")[1]["disks"]
        assert (disk["state"], disk["probes"][0]["reason"]) == ("paused", "new cable")
        assert ordered(port, "/resume", disk="good") == (200, {"pauses": []})
        assert ordered(port, "/run", disk="good", probe="latency")[0] == 202
        agent.wait_for("runs_total", least=2, disk="good")
        wait_until(lambda: len(asked(port, "/runs")[1]["runs"]) == 2, "the second run", 20)
        assert [each["id"] for each in asked(port, "/runs")[1]["runs"]] == [first["id"] + 1, first["id"]]
