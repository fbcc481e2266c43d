"""The API of a real agent with real children: what it tells is what its metrics say."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from agent_process import running_agent
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
        assert by_name["nowhere"]["probes"][0]["state"] in ("failed", "absent", "running")
        assert by_name["good"]["probes"][0]["runs"] >= 1
        assert agent.value("runs_total", disk="good", probe="latency") >= by_name["good"]["probes"][0]["runs"]
        assert asked(port, "/mismatches") == (200, {"mismatches": [], "next_cursor": None})
        status, problem = asked(port, "/pause", b"{}")
        assert (status, problem["title"]) == (403, "Forbidden")
