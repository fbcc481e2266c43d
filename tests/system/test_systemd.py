"""The shipped unit under a real systemd, in a container: start, reload, watchdog, sandbox, stop, and sudden death."""

import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from installed_agent import (
    CONFIG_FILE,
    DISK,
    PROBE_DIRECTORY,
    UNIT,
    UNIT_FILE,
    UNITS,
    InstalledAgent,
    installed,
    why_not_here,
)
from processes import wait_until
from web_agent import make_ca, make_certificate

from iovigil.agent import bursts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.requires_root,
    pytest.mark.requires_nspawn,
    pytest.mark.requires_loop,
    pytest.mark.requires_mkfs,
]

SOCKET = "iovigil.socket"
WORST_EXPOSURE = 2.5  # of 10

# Runs follow each other closely, so that no test waits long for one.
CONFIG = textwrap.dedent(f"""\
    disks:
      - {{name: scratch, file: {PROBE_DIRECTORY}/probe, size: 4MiB}}
    probes:
      latency:
        every: 1s
        job: {{rw: randread, runtime: 900ms, rate_iops: 200, direct: 1}}
    """)

ANOTHER_PROBE = """\
  integrity:
    every: 3s
    job: {rw: randwrite, bs: 16k, size: 1MiB, verify: crc32c, runtime: 1s, rate_iops: 100}
"""

CORRUPTED = textwrap.dedent(f"""\
    disks:
      - {{name: scratch, file: {PROBE_DIRECTORY}/probe, size: 4MiB}}
    probes:
      integrity:
        every: 1s
        job: {{rw: write, bs: 16k, size: 1MiB, verify: crc32c, time_based: 0, runtime: 600ms, rate_iops: 99, direct: 1}}
    """)


@pytest.fixture(scope="module")
def container_with_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InstalledAgent]:
    if reason := why_not_here():
        pytest.skip(reason)
    with installed(tmp_path_factory.mktemp("container")) as agent:
        yield agent


@pytest.fixture
def agent(container_with_agent: InstalledAgent) -> Iterator[InstalledAgent]:
    """The service as if never started, for one test."""
    container_with_agent.reset()
    container_with_agent.configure(CONFIG)
    yield container_with_agent
    container_with_agent.systemctl("stop", UNIT, check=False)


def test_systemd_finds_nothing_to_say_about_the_unit(agent: InstalledAgent) -> None:
    verdict = agent.container.run("systemd-analyze", "verify", "--man=no", UNIT_FILE)
    assert verdict.stdout + verdict.stderr == ""


def test_the_unit_exposes_little(agent: InstalledAgent) -> None:
    threshold = f"--threshold={WORST_EXPOSURE * 10:.0f}"
    verdict = agent.container.run("systemd-analyze", "security", "--offline=true", threshold, UNIT_FILE)
    print(verdict.stdout.splitlines()[-1])


def test_start_returns_when_the_agent_serves(agent: InstalledAgent) -> None:
    agent.start()
    assert agent.scrape().value("iovigil_disk_present", disk="scratch") == 1
    assert (agent.show("ActiveState"), agent.show("SubState"), agent.show("Type")) == ("active", "running", "notify")
    wait_until(lambda: agent.show("StatusText").startswith("disks: 1, probes on them: 1"), "the status line")


@pytest.fixture
def listening(agent: InstalledAgent) -> Iterator[InstalledAgent]:
    """Systemd listens for the agent, which is not running."""
    agent.container.write(f"/etc/systemd/system/{SOCKET}", (UNITS / SOCKET).read_text())
    agent.systemctl("daemon-reload")
    agent.systemctl("start", SOCKET)
    yield agent
    agent.systemctl("stop", SOCKET, UNIT, check=False)
    agent.container.run("rm", f"/etc/systemd/system/{SOCKET}")
    agent.systemctl("daemon-reload")


def test_systemd_listens_for_the_agent_and_for_the_one_after_it(listening: InstalledAgent) -> None:
    assert listening.show("ActiveState") == "inactive"
    assert listening.scrape().value("iovigil_disk_present", disk="scratch") == 1, "the first scrape waits for the start"
    assert listening.show("ActiveState") == "active"
    listening.systemctl("kill", "--kill-whom=main", "--signal=KILL", UNIT)
    assert listening.scrape().value("iovigil_disk_present", disk="scratch") == 1, "this one for the restart"


def test_tls_and_passwords_work_in_the_sandbox(agent: InstalledAgent, tmp_path: Path) -> None:
    make_ca(tmp_path)
    make_certificate(tmp_path, "server", "DNS:localhost,IP:127.0.0.1")
    for name in ("ca.pem", "server.pem", "server.key"):
        agent.container.write(f"/etc/iovigil/{name}", (tmp_path / name).read_text())
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    tls = "tls_server_config: {cert_file: server.pem, key_file: server.key}"
    agent.container.write("/etc/iovigil/web.yml", f"{tls}\nbasic_auth_users: {{prometheus: {hashed}}}\n")
    agent.configure("agent: {web: {config_file: /etc/iovigil/web.yml}}\n" + CONFIG)
    agent.start()
    ask = (
        "import base64, ssl, urllib.request as u; "
        "trust = ssl.create_default_context(cafile='/etc/iovigil/ca.pem'); "
        "request = u.Request('https://127.0.0.1:9942/-/healthy'); "
        "request.add_header('Authorization', 'Basic ' + base64.b64encode(b'prometheus:right').decode()); "
        "print(u.urlopen(request, timeout=5, context=trust).read().decode())"
    )
    assert agent.container.run("python3", "-c", ask).stdout.strip() == "healthy"


def test_root_and_the_agents_user_give_orders_by_the_control_socket(agent: InstalledAgent) -> None:
    agent.start()
    assert agent.container.run("stat", "--format=%U %a", "/run/iovigil/control.sock").stdout.split() == [
        "iovigil",
        "600",
    ]
    assert agent.container.run("iovigil", "pause", "scratch").stdout == "paused: every probe on scratch\n"
    agent.wait_for("iovigil_probe_paused", disk="scratch")
    own = agent.container.run("setpriv", "--reuid=iovigil", "--regid=iovigil", "--clear-groups", "iovigil", *RESUME)
    assert own.stdout == "resumed: every probe on scratch\n"
    stranger = agent.container.run(
        "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "iovigil", *RESUME, check=False
    )
    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert "only root and the agent's own user may ask there: use sudo" in stranger.stderr


RESUME = ("resume", "--socket", "/run/iovigil/control.sock")


def test_a_textfile_and_a_secret_by_systemd_work_in_the_sandbox(agent: InstalledAgent) -> None:
    agent.container.run("install", "-d", "-o", "root", "-g", "iovigil", "-m", "0775", "/srv/prom")
    agent.container.write("/etc/iovigil/otlp.headers", "Authorization: Bearer right\n", 0o600)
    agent.drop_in("outputs", "[Service]\nReadWritePaths=/srv/prom\nLoadCredential=otlp:/etc/iovigil/otlp.headers\n")
    agent.container.write("/srv/receiver.py", RECEIVER)
    secret = "headers_file: /run/credentials/iovigil.service/otlp"
    otlp = f"{{endpoint: http://127.0.0.1:4318/v1/metrics, every: 1s, timeout: 1s, {secret}}}"
    outputs = f"textfile: {{directory: /srv/prom, every: 1s}}, otlp: {otlp}"
    agent.configure(f"agent: {{{outputs}}}\n" + CONFIG)
    agent.systemctl("stop", "receiver", check=False)
    agent.container.run("systemd-run", "--unit=receiver", "--service-type=exec", "python3", "/srv/receiver.py")
    agent.start()
    agent.wait_for("iovigil_textfile_writes_total")
    agent.wait_for("iovigil_textfile_last_write_successful")
    assert agent.container.run("stat", "--format=%U %a", "/srv/prom/iovigil.prom").stdout.split() == ["iovigil", "644"]
    agent.wait_for("iovigil_otlp_pushes_total")
    agent.wait_for("iovigil_otlp_last_push_successful")
    assert agent.container.run("cat", "/srv/received").stdout == "Bearer right"
    agent.systemctl("stop", UNIT)
    assert agent.container.run("ls", "/srv/prom").stdout == ""
    agent.systemctl("stop", "receiver", check=False)


RECEIVER = textwrap.dedent("""\
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            open("/srv/received", "w").write(self.headers["Authorization"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    HTTPServer(("127.0.0.1", 4318), Handler).serve_forever()
    """)


def test_agent_and_children_have_no_privilege(agent: InstalledAgent) -> None:
    uid = agent.container.run("id", "--user", "iovigil").stdout.strip()
    agent.start()
    [child] = agent.wait_for_a_fresh_run()
    for pid in (agent.main_pid, child):
        status = agent.status_of(pid)
        assert status["Uid"].split() == [uid] * 4
        assert {status[f"Cap{name}"] for name in ("Eff", "Prm", "Inh", "Bnd", "Amb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_each_child_has_a_control_group_and_takes_it_along(agent: InstalledAgent) -> None:
    agent.configure(CONFIG.replace("every: 1s", "every: 3s"))
    agent.start()
    children = agent.wait_for_a_fresh_run()
    wait_until(lambda: agent.groups() == {"main": {agent.main_pid}, "job-scratch+latency": children}, "its group")
    wait_until(lambda: set(agent.groups()) == {"main"}, "the group is gone with its child")


def test_what_the_kernel_does_not_give_is_said_once(agent: InstalledAgent) -> None:
    agent.start()
    agent.wait_for("iovigil_runs_total", 3)
    # This container has no controller of version 2, which its host keeps in version 1.
    entries = [entry for entry in agent.journal() if "control groups of children lack" in str(entry["MESSAGE"])]
    assert [entry["PRIORITY"] for entry in entries] == ["6"]
    assert agent.scrape().value("iovigil_run_failures_total") == 0


def test_a_group_that_a_killed_agent_left_is_removed_by_the_next(agent: InstalledAgent) -> None:
    agent.start()
    wait_until(lambda: "job-scratch+latency" in agent.groups(), "a child has its group")
    agent.configure(CONFIG.replace("latency", "other"))
    agent.signal("KILL")
    wait_until(lambda: agent.show("NRestarts") == "1" and agent.show("ActiveState") == "active", "a restart")
    agent.wait_for("iovigil_runs_total", probe="other")
    assert "job-scratch+latency" not in agent.groups()


def test_without_delegation_the_agent_goes_on_without_groups(agent: InstalledAgent) -> None:
    agent.drop_in("no-groups", "[Service]\nDelegate=no\n")
    agent.start()
    agent.wait_for("iovigil_runs_total")
    entry = agent.wait_for_message("no control group for each child")
    assert "Delegate=yes" in str(entry["MESSAGE"])
    assert agent.groups() == {}
    assert agent.scrape().value("iovigil_run_failures_total") == 0


def test_counters_move_within_a_run_on_io_uring(agent: InstalledAgent) -> None:
    def moved() -> bool:
        first, second = agent.scrape(), agent.scrape()
        runs, read = "iovigil_runs_total", "iovigil_io_bytes_total"
        return second.value(runs) == first.value(runs) and second.value(read) > first.value(read)

    agent.start()
    wait_until(moved, "bytes are counted while no run ends")
    last = agent.wait_for("iovigil_runs_total", 2)
    assert last.labels("iovigil_probe_info", "engine") == {"io_uring"}
    assert last.value("iovigil_last_run_success") == 1
    assert last.value("iovigil_run_failures_total") == 0
    assert last.value("iovigil_engine_fallbacks_total") == 0


def test_a_block_device_can_be_read_and_not_written(agent: InstalledAgent) -> None:
    device = agent.device
    agent.configure(CONFIG.replace(f"file: {PROBE_DIRECTORY}/probe, size: 4MiB", f"device: {device}"))
    agent.start()
    scrape = agent.wait_for("iovigil_ios_total", operation="read", disk="scratch")
    assert scrape.value("iovigil_disk_present", disk="scratch") == 1
    assert scrape.labels("iovigil_disk_info", "device") == {device.removeprefix("/dev/")}
    assert scrape.value("iovigil_io_errors_total") == 0
    group = agent.status_of(agent.main_pid)["Groups"].split()
    assert agent.container.run("stat", "--format=%g", device).stdout.strip() in group
    # The same rules on a command that tries, for the agent never does.
    rules = [f"--property={line}" for line in agent.lines_of_unit("Device", "User", "SupplementaryGroups")]
    for operand, expected in (("if", 0), ("of", 1)):
        command = ["dd", f"{operand}={device}", "count=1", "conv=notrunc", "status=none"]
        command.append("of=/dev/null" if operand == "if" else "if=/dev/zero")
        tried = agent.container.run("systemd-run", "--quiet", "--wait", "--pipe", *rules, *command, check=False)
        assert tried.returncode == expected, tried.stderr


def test_a_forbidden_io_uring_makes_the_agent_use_psync_visibly(agent: InstalledAgent) -> None:
    agent.drop_in("no-io-uring", "[Service]\nSystemCallFilter=~io_uring_setup\nSystemCallErrorNumber=EPERM\n")
    agent.start()
    scrape = agent.wait_for("iovigil_runs_total")
    assert scrape.labels("iovigil_probe_info", "engine") == {"psync"}
    assert scrape.value("iovigil_engine_fallbacks_total", disk="scratch", probe="latency") == 1
    assert scrape.value("iovigil_run_failures_total") == 0
    assert scrape.value("iovigil_io_bytes_total", operation="read") > 0
    entry = agent.wait_for_message("ioengine io_uring is not available", "IOVIGIL_DISK=scratch")
    assert (entry["IOVIGIL_PROBE"], entry["PRIORITY"]) == ("latency", "4")


def test_a_reload_brings_a_new_probe(agent: InstalledAgent) -> None:
    agent.start()
    assert agent.scrape().labels("iovigil_probe_info", "probe") == {"latency"}
    pid = agent.main_pid
    agent.configure(CONFIG + ANOTHER_PROBE)
    agent.systemctl("reload", UNIT)
    wait_until(lambda: agent.scrape().labels("iovigil_probe_info", "probe") == {"latency", "integrity"}, "a new probe")
    agent.wait_for("iovigil_verified_bytes_total", probe="integrity")
    assert (agent.main_pid, agent.show("ActiveState")) == (pid, "active")


def test_a_broken_configuration_leaves_the_old_one_in_force(agent: InstalledAgent) -> None:
    agent.start()
    agent.configure(CONFIG.replace("rate_iops: 200", "rate_iops: 200, iodepth: 0"))
    agent.systemctl("reload", UNIT)
    wait_until(lambda: agent.scrape().value("iovigil_config_last_reload_successful") == 0, "the refusal")
    line = 1 + CONFIG.splitlines().index(next(line for line in CONFIG.splitlines() if "job:" in line))
    entry = agent.wait_for_message(f"{CONFIG_FILE}:{line}: probes.latency.job.iodepth: ")
    assert (entry["IOVIGIL_FILE"], entry["IOVIGIL_LINE"]) == (CONFIG_FILE, str(line))
    assert (entry["IOVIGIL_KEY"], entry["PRIORITY"]) == ("probes.latency.job.iodepth", "3")
    runs = agent.scrape().value("iovigil_runs_total")
    agent.wait_for("iovigil_runs_total", runs + 1)
    assert agent.show("ActiveState") == "active"
    agent.configure(CONFIG)
    agent.systemctl("reload", UNIT)
    agent.wait_for("iovigil_config_last_reload_successful")


def test_a_start_on_a_broken_configuration_says_where_it_is_broken(agent: InstalledAgent) -> None:
    agent.configure(CONFIG.replace("every:", "evry:"))
    with pytest.raises(AssertionError, match=f"Job for {UNIT} failed"):
        agent.start()
    agent.wait_for_message(f"{CONFIG_FILE}:5: probes.latency.evry: ")
    assert not any("Traceback" in str(entry["MESSAGE"]) for entry in agent.journal())


def test_the_watchdog_restarts_a_stopped_agent(agent: InstalledAgent) -> None:
    agent.drop_in("watchdog", "[Service]\nWatchdogSec=3\n")
    agent.start()
    old = {agent.main_pid} | agent.wait_for_a_fresh_run()
    agent.signal("STOP")
    wait_until(lambda: agent.show("NRestarts") == "1" and agent.show("ActiveState") == "active", "a restart", 15)
    assert agent.main_pid not in old
    assert agent.exist(old) == set()
    agent.wait_for_message("Watchdog timeout")
    agent.wait_for("iovigil_runs_total")


def test_an_agent_that_is_left_alone_keeps_the_watchdog_quiet(agent: InstalledAgent) -> None:
    agent.drop_in("watchdog", "[Service]\nWatchdogSec=3\n")
    agent.start()
    agent.wait_for("iovigil_runs_total", 5)  # one a second: longer than the watchdog waits
    assert agent.show("NRestarts") == "0"


def test_a_stop_with_a_run_in_progress_takes_less_than_five_seconds(agent: InstalledAgent) -> None:
    agent.start()
    agent.wait_for("iovigil_runs_total")
    all_of_it = {agent.main_pid} | agent.wait_for_a_fresh_run()
    started_s = time.monotonic()
    agent.systemctl("stop", UNIT)
    assert time.monotonic() - started_s < 5
    assert agent.exist(all_of_it) == set()
    assert (agent.show("ActiveState"), agent.show("Result"), agent.show("ExecMainStatus")) == (
        "inactive",
        "success",
        "0",
    )
    assert not [entry for entry in agent.journal("--priority=warning") if entry.get("_COMM") != "systemd"]


def test_a_killed_agent_is_restarted_and_its_children_end(agent: InstalledAgent) -> None:
    agent.start()
    agent.wait_for("iovigil_runs_total")
    old = {agent.main_pid} | agent.wait_for_a_fresh_run()
    before = agent.scrape()
    agent.signal("KILL")
    wait_until(lambda: agent.show("NRestarts") == "1" and agent.show("ActiveState") == "active", "a restart")
    assert agent.exist(old) == set()
    after = agent.scrape()
    for name in ("iovigil_runs_total", "iovigil_ios_total"):
        assert after.value(name) >= before.value(name) > 0, f"{name}: systemd keeps /run/iovigil over a restart"
    agent.wait_for("iovigil_runs_total")


def test_a_disk_that_the_unit_does_not_open_is_a_failure_in_words(agent: InstalledAgent) -> None:
    agent.configure(CONFIG.replace(PROBE_DIRECTORY, DISK))
    agent.start()
    agent.wait_for("iovigil_run_failures_total")
    agent.wait_for_message("Read-only file system", "IOVIGIL_DISK=scratch")


def test_a_bad_block_is_an_entry_with_fields_and_outlives_a_restart(agent: InstalledAgent) -> None:
    agent.configure(CORRUPTED)
    agent.start()
    agent.wait_for("iovigil_runs_total", probe="integrity")

    def spoil() -> list[dict[str, Any]]:
        # As root, past the agent: between its writes and its check of them, sooner or later.
        spoiler = f"dd if=/dev/urandom of={PROBE_DIRECTORY}/probe bs=16k seek=3 count=1 conv=notrunc oflag=direct"
        agent.container.run("sh", "-c", f"for i in $(seq 50); do {spoiler} 2>/dev/null; done")
        return agent.journal(f"MESSAGE_ID={bursts.BEGIN_ID}")

    entry = wait_until(spoil, "the journal has a burst")[0]
    assert (entry["IOVIGIL_DISK"], entry["IOVIGIL_PROBE"]) == ("scratch", "integrity")
    assert entry["IOVIGIL_MISMATCH"] == "header"
    assert (entry["IOVIGIL_OFFSET"], entry["IOVIGIL_LENGTH"]) == (str(3 * 16384), "16384")
    assert entry["MESSAGE"].startswith("data corruption: block with a wrong header on disk scratch at offset 49152")
    last_unix = agent.scrape().value("iovigil_verify_last_mismatch_timestamp_seconds")
    agent.systemctl("restart", UNIT)
    scrape = agent.scrape()
    assert scrape.value("iovigil_verify_mismatches_total", kind="header") >= 1, "counters go on"
    assert scrape.value("iovigil_verify_last_mismatch_timestamp_seconds") >= last_unix > 0
    assert agent.journal(f"MESSAGE_ID={bursts.END_ID}")
    state = agent.container.run("stat", "--format=%U %a", "/var/lib/iovigil/history.db", "/var/lib/iovigil/dumps")
    assert state.stdout.split() == ["iovigil", "600", "iovigil", "700"]
