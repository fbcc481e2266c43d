"""The fio command that check-config prints is one: fio takes it, and it does to the file what the probe does."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from iovigil.agent import config
from iovigil.agent.cli import check_config, report
from iovigil.agent.config import Assignment
from iovigil.agent.disks import footer
from iovigil.agent.fio import equivalent

pytestmark = pytest.mark.requires_fio

EXAMPLES = Path(__file__).parents[2] / "config"
JOBS = {
    "latency": "rw: randread, rate_iops: 100, direct: 1, runtime: 1s",
    "mixed": "rw: randrw, bsrange: 4k-64k, rwmixread: 70, rate: [1m, 2m], ioengine: libaio, iodepth: 4, runtime: 1s",
    "split": "rw: randread, bssplit: '4k/60:64k/40', random_distribution: 'zipf:1.2', runtime: 1s",
    "verified": "rw: randwrite, verify: sha256, verify_interval: 4k, bs: 16k, verify_backlog: 8, runtime: 1s",
    "pattern": "rw: write, verify: pattern, verify_pattern: '0xdeadbeef%o', do_verify: 1, runtime: 1s",
    "share": "rw: randwrite, size: 25%, offset: 50%, time_based: 0, fsync: 8, ioengine: psync, runtime: 1s",
    "thinking": "rw: read, thinktime: 10ms, thinktime_blocks: 4, fadvise_hint: random, runtime: 1s, ramp_time: 1s",
    "header": "rw: write, verify: crc32c, verify_header: fio-2.2, runtime: 1s",
    "unadvised": "rw: randread, fadvise_hint: none, runtime: 1s",
    "nothing": "ioengine: 'null', rw: read, size: 4m, runtime: 1s",
    "cpu": "ioengine: cpuio, cpuload: 10, runtime: 1s",
}
DISKS = """\
disks:
  - {name: odd, file: "/srv/a b:c/pro'be", size: 64MiB}
  - {name: other, file: /srv/other/probe, size: 64MiB}
  - {name: region, device: /dev/disk/by-path/pci-0000:00-x, region: {offset: 1GiB, size: 8MiB}}
"""


def written(tmp_path: Path) -> str:
    probes = "".join(f"  {name}: {{every: 1m, job: {{{job}}}}}\n" for name, job in JOBS.items())
    file = tmp_path / "agent.yml"
    file.write_text(f"{DISKS}probes:\n{probes}")
    return str(file)


def printed_commands(text: str) -> list[list[str]]:
    joined = re.sub(r" \\\n\s*", " ", text)
    return [shlex.split(line) for line in joined.splitlines() if line.startswith("    fio ") and " --name=" in line]


def test_fio_takes_every_command_as_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = []
    for file in (written(tmp_path), str(EXAMPLES / "node.yml"), str(EXAMPLES / "quickstart.yml")):
        check_config.show(
            config.load(file), report.open_console(), now_unix=1_800_000_000.0, host="host", root=str(tmp_path)
        )
        commands += printed_commands(capsys.readouterr().out)
    assert len(commands) >= len(JOBS) + 6
    for command in commands:
        done = subprocess.run(
            [*command, "--parse-only"], capture_output=True, text=True, timeout=30, check=False, cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (0, ""), command


def assignment(text: str) -> Assignment:
    return config.parse(text, "f.yml").assignments()[0]


def test_it_does_what_the_probe_would_and_spares_the_footer(tmp_path: Path) -> None:
    path = tmp_path / "a:b"
    size = 1 << 20
    path.write_bytes(bytes(size) + footer.pack("d", size))
    job = "rw: randwrite, bs: 4k, size: 50%, offset: 25%, time_based: 0, verify: crc32c, ioengine: psync, runtime: 5s"
    text = f"disks: [{{name: d, file: '{path}', size: 1MiB}}]\nprobes: {{p: {{every: 1m, job: {{{job}}}}}}}\n"
    words = equivalent.command(assignment(text))
    done = subprocess.run([*words, "--output-format=json"], capture_output=True, timeout=60, check=True, cwd=tmp_path)
    [result] = json.loads(done.stdout)["jobs"]
    assert (result["write"]["total_ios"], result["read"]["total_ios"]) == (128, 128)
    content = path.read_bytes()
    assert footer.parse(content[size:]) == ("d", size)
    touched = [index for index in range(0, size, 4096) if any(content[index : index + 4096])]
    assert (touched[0], touched[-1] + 4096, len(touched)) == (size // 4, size // 4 * 3, 128)


def test_a_region_is_not_left_and_its_header_is_spared() -> None:
    text = (
        "disks: [{name: d, device: /dev/disk/by-id/x, region: {offset: 1GiB, size: 8MiB}}]\n"
        "probes: {p: {every: 1m, job: {rw: randwrite, runtime: 5s}}}\n"
    )
    words = equivalent.command(assignment(text))
    assert f"--offset={(1 << 20) + 4}k" in words
    assert f"--size={(8 << 10) - 4}k" in words
    assert words[-1] == "--filename=/dev/disk/by-id/x"


def test_what_this_fio_does_not_know_has_no_command() -> None:
    text = (
        "disks: [{name: d, file: /srv/d/probe, size: 64MiB}]\n"
        "probes: {p: {every: 1m, job: {rw: write, verify: pattern, verify_pattern: '0xff', "
        "verify_pattern_interval: 512, runtime: 5s}}}\n"
    )
    with pytest.raises(equivalent.NoEquivalent, match=r"fio 3\.33 does not know verify_pattern_interval"):
        equivalent.command(assignment(text))


def test_what_only_reads_cannot_write() -> None:
    text = "disks: [{name: d, device: /dev/disk/by-id/x}]\nprobes: {p: {every: 1m, job: {rw: randread, runtime: 5s}}}\n"
    assert "--readonly" in equivalent.command(assignment(text))
