"""`iovigil check-config`: mistakes on stderr with status 1, or what the agent would do."""

import io
from argparse import Namespace
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from iovigil.agent import config
from iovigil.agent.cli import check_config

NOW_UNIX = 1_800_000_000.0
TEXT = """\
disks:
  - {name: data0, file: /srv/data0/.iovigil, size: 1GiB}
  - {name: nvme0, device: "/dev/disk/by-id/nvme-[bold]X"}
probes:
  latency: {every: 30s, job: {rw: randread, runtime: 5s, rate_iops: 100, direct: 1}}
  integrity: {every: 10m, disks: [data*], job: {rw: randwrite, bs: 64k, verify: crc32c, runtime: 30s}}
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root with one mounted filesystem and no device."""
    mounts = tmp_path / "proc" / "self" / "mountinfo"
    mounts.parent.mkdir(parents=True)
    mounts.write_text("1 1 0:30 / / rw - tmpfs tmpfs rw\n")
    return tmp_path


def shown(text: str, root: Path, *, is_terminal: bool = False) -> str:
    output = io.StringIO()
    console = Console(file=output, width=80, highlight=False, force_terminal=is_terminal, color_system=None)
    check_config.show(config.parse(text, "f.yml"), console, now_unix=NOW_UNIX, host="host", root=str(root))
    return output.getvalue()


def test_a_mistake_goes_to_stderr_with_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.yml"
    path.write_text(TEXT.replace("rw: randread", "rw: up"))
    assert check_config.main(Namespace(file=str(path))) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    allowed = "read, write, trim, randread, randwrite, randtrim, rw, randrw, trimwrite, randtrimwrite"
    assert printed.err == f"{path}:5: probes.latency.job.rw: up is not one of {allowed}\n"


def test_a_right_file_has_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "agent.yml"
    path.write_text(TEXT)
    assert check_config.main(Namespace(file=str(path))) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{path} is right: 2 disks, 2 probes\n")
    assert printed.err == ""


def test_the_plan_of_a_scrub_says_what_it_takes(machine: Path) -> None:
    text = """\
disks: [{name: data0, file: /srv/data0/.iovigil, size: 100GiB}]
probes:
  scrub: {kind: scrub, every: 10m, period: 14d, job: {bs: 64k, runtime: 30s, rate: 20m}}
"""
    plan = " ".join(shown(text, machine).split())
    # 100 GiB and a tenth in 2015 intervals; a tenth of 100 GiB in 13.99 days.
    assert "data0: 100g in 14 days: 55.9 MiB a run, 1.86 MiB/s of 20 MiB/s allowed, busy 0.5%" in plan
    assert "data0: writes 732 MiB a day: one block in 10 each cycle, all within 140 days" in plan
    # 100 GiB at 20 MiB/s for 30 s of every 600 s.
    assert "the first cycle takes 1.19 days" in plan
    # 20 MiB/s in pieces of 64 KiB; 100 GiB read in 13.99 days.
    assert "data0 scrub 320 1 7.15 GiB 732 MiB 5.0%" in plan


def test_a_mistake_in_the_web_configuration_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, web = tmp_path / "agent.yml", tmp_path / "web.yml"
    path.write_text(f"agent: {{web: {{config_file: {web}}}}}\n{TEXT}")
    web.write_text("basic_auth_users:\n  prometheus: secret\n")
    assert check_config.main(Namespace(file=str(path))) == 1
    said = f"{web}:2: basic_auth_users.prometheus: is not a bcrypt hash: make one with htpasswd -nBC 10 NAME\n"
    assert capsys.readouterr().err == said


def test_it_is_said_who_may_ask_the_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, web = tmp_path / "agent.yml", tmp_path / "web.yml"
    path.write_text(f'agent: {{listen: [":9942", "[::1]:9942"]}}\n{TEXT}')
    assert check_config.main(Namespace(file=str(path))) == 0
    printed = capsys.readouterr().out
    assert "Metrics on :9942, [::1]:9942, at most" in printed
    assert "warning: anybody who reaches agent.listen is served: see agent.web.config_file" in printed
    assert "may pause" not in printed
    path.write_text(f'agent: {{listen: ":9942", web: {{enable_control: true}}}}\n{TEXT}')
    assert check_config.main(Namespace(file=str(path))) == 0
    assert "warning: anybody who reaches agent.listen may pause probes" in " ".join(capsys.readouterr().out.split())
    path.write_text(f"agent: {{web: {{config_file: {web}}}}}\n{TEXT}")
    web.write_text(f"basic_auth_users: {{prometheus: $2y$10${'a' * 53}}}\n")
    assert check_config.main(Namespace(file=str(path))) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert f"{web} is right: plain HTTP, asks for a password" in words
    assert "warning: basic_auth_users without tls_server_config: passwords travel in the clear" in words
    assert "anybody" not in words


def test_it_is_said_where_metrics_go_beside_the_scrape(machine: Path) -> None:
    otlp = "{endpoint: http://collector:4318/v1/metrics, headers_file: /etc/iovigil/otlp.headers}"
    text = f"agent: {{textfile: {{directory: /srv/prom}}, otlp: {otlp}}}\n{TEXT}"
    words = " ".join(shown(text, machine).split())
    assert (
        "Textfile /srv/prom/iovigil.prom, every 1m Push by OTLP to http://collector:4318/v1/metrics, every 1m" in words
    )
    assert "warning: agent.textfile.directory: there is no directory /srv/prom: the agent will not make it" in words
    assert "warning: agent.otlp.headers_file: /etc/iovigil/otlp.headers cannot be read" in words
    assert "warning: agent.otlp.endpoint: without TLS its headers can be read on the way" in words
    (machine / "srv" / "prom").mkdir(parents=True)
    assert "agent.textfile" not in shown(text, machine)


def test_an_absent_disk_is_no_mistake_and_is_said(machine: Path) -> None:
    text = " ".join(shown(TEXT, machine).split())
    assert "warning: disk nvme0 is absent: /dev/disk/by-id/nvme-[bold]X" in text


def test_a_probe_is_shown_as_a_command_of_fio(machine: Path) -> None:
    lines = shown(TEXT, machine).split("\n")
    start = lines.index("Probe integrity on data0")
    words = " ".join(lines[start + 1 : lines.index("", start)]).replace("\\ ", "").split()
    assert words == [
        "fio",
        "--name=integrity",
        "--ioengine=io_uring",
        "--rw=randwrite",
        "--bs=64k",
        "--randrepeat=0",
        "--time_based=1",
        "--runtime=30s",
        "--verify=crc32c",
        "--verify_state_save=0",
        "--nice=5",
        "--prioclass=2",
        "--prio=7",
        "--size=1g",
        "--filename=/srv/data0/.iovigil",
    ]


def test_disks_on_which_a_probe_is_the_same_share_one_command(machine: Path) -> None:
    other = "  - {name: data1, file: /srv/data1/.iovigil, size: 1GiB}\nprobes:"
    text = shown(TEXT.replace("probes:", other), machine)
    assert text.count("fio --name=integrity") == 1
    assert "# the same on data1, each with its own --filename" in text


def test_the_load_at_worst_has_a_line_for_each_probe_and_one_for_all(machine: Path) -> None:
    lines = shown(TEXT, machine).split("\n")
    rows = [line.split() for line in lines[lines.index(next(x for x in lines if x.startswith("Load at worst"))) :]]
    found = {(row[0], row[1]): row[2:] for row in rows if len(row) > 2}
    assert found["nvme0", "latency"] == ["100", "1", "5.49", "GiB", "0", "B", "16.7%", "none"]
    assert found["data0", "integrity"][:2] == ["no", "bound"]
    assert found["data0", "(all)"][-3:] == ["24.2%", "no", "bound"] or "unknown" in found["data0", "(all)"]
    assert ("nvme0", "(all)") not in found


def test_what_has_no_bound_is_said_with_what_to_do(machine: Path) -> None:
    text = " ".join(shown(TEXT, machine).split())
    assert (
        "integrity has no bound: without rate_iops for reads and rate_iops for writes, or limits, it takes all" in text
    )
    assert "iovigil_last_run_bytes_per_second" in text
    bounded = TEXT.replace("verify: crc32c", "rate_iops: 10")
    assert "no bound" not in shown(bounded, machine)


def test_how_often_a_file_is_written_over_is_said(machine: Path) -> None:
    text = shown(TEXT.replace("verify: crc32c", "time_based: 0, size: 512MiB"), machine)
    assert "data0: its file of 1g is written over 72 times a day" in text


def test_the_schedule_has_the_next_starts_and_the_longest_run(machine: Path) -> None:
    lines = shown(TEXT, machine).split("\n")
    below = lines[lines.index("Probe integrity on data0") :]
    schedule = [line.split() for line in below if line.startswith("data0 ")][:2]
    assert [row[:3] + row[4:5] for row in schedule] == [
        ["data0", "latency", "30s", "5s"],
        ["data0", "integrity", "10m", "45s"],
    ]
    assert all(len(row) == 8 for row in schedule)


def test_text_for_a_pipe_fits_in_80_columns(machine: Path) -> None:
    text = shown(TEXT.replace("30s, job", "2d, job"), machine)
    assert max(map(len, text.split("\n"))) <= 80
    assert not set(text) & set("━─│┃")


def test_a_terminal_gets_rules(machine: Path) -> None:
    assert "─" in shown(TEXT, machine, is_terminal=True)


def test_a_plan_that_does_not_fit_is_warned_of(machine: Path) -> None:
    text = " ".join(shown("agent: {max_workers: 1}\n" + TEXT.replace("10m", "50s"), machine).split())
    assert "warning: disk data0 would be busy for 107% of the time at worst: runs will be skipped" in text
    assert "agent.max_workers is 1: runs will be skipped" in text


def test_a_disk_without_a_probe_is_warned_of(machine: Path) -> None:
    text = shown(TEXT.replace("{every: 30s,", "{every: 30s, disks: [data0],"), machine)
    assert "warning: disk nvme0 has no probe" in text


WINDOWED = TEXT.replace(
    "{every: 10m, disks: [data*],",
    "{every: 1d, disks: [data*], "
    "windows: [{days: mon-fri, from: 22:00, to: 06:00}, {days: sun, from: 12:00, to: 12:30}],",
)


def test_the_next_starts_are_those_within_the_windows(machine: Path) -> None:
    plan, _, _ = shown("agent: {timezone: Asia/Kathmandu}\n" + WINDOWED, machine).partition("Load at worst")
    lines = plan.split("\n")
    assert any("next starts (Asia/Kathmandu)" in " ".join(line.split()) for line in lines)
    [row] = [line.split() for line in lines if line.startswith("data0 ") and "integrity" in line]
    starts = [datetime.strptime(f"{day} {time}", "%a %H:%M") for day, time in zip(row[5::2], row[6::2], strict=True)]
    assert len(starts) == 3
    assert all(start.hour >= 22 or start.hour < 6 for start in starts)


def test_a_window_that_no_start_falls_into_is_warned_of(machine: Path) -> None:
    text = " ".join(shown(WINDOWED, machine).split())
    assert "starts mon,tue,wed,thu,fri 22:00-06:00; sun 12:00-12:30" in text
    assert "warning: probe integrity never starts on data0 in its window sun 12:00-12:30: with every 1d" in text
    assert text.count("never starts") == 1


def test_what_holds_starts_back_now_is_warned_of(machine: Path) -> None:
    agent = "agent: {pressure: {}, blackout_file: /run/stop}\n"
    assert "blackout" not in shown(agent + TEXT, machine)
    (machine / "run").mkdir()
    (machine / "run/stop").touch()
    text = " ".join(shown(agent + TEXT, machine).split())
    assert "warning: blackout: /run/stop exists, nothing starts" in text
    assert "proc/pressure/io is not there: the kernel needs CONFIG_PSI, and psi=1; starts would not wait" in text
