"""From a fault in a disk to its alert: through the child, the agent, a scrape and the rule."""

import time

import monitoring
import pytest
from scraping import Stack, scraped_agent

pytestmark = [
    pytest.mark.requires_prometheus,
    pytest.mark.requires_fuse,
    pytest.mark.requires_loop,
    pytest.mark.slow,
]

ALERTS = {alert["alert"]: alert["expr"] for alert in monitoring.alerts()}

READS = """\
disks:
  - {{name: faulty, device: {device}}}
  - {{name: good, file: {directory}/good, size: 4MiB}}
probes:
  reads:
    every: 3s
    job: {{rw: randread, bs: 4k, runtime: 1s, rate_iops: 100, direct: 1, ioengine: psync}}
"""
VERIFIES = """\
disks:
  - {{name: faulty, file: {mountpoint}/probe, size: 4MiB}}
probes:
  integrity:
    every: 4s
    job: {{rw: randwrite, bs: 64k, size: 2MiB, verify: crc32c, runtime: 2s, rate_iops: 50, direct: 1}}
"""


def scrape_s(stack: Stack) -> float:
    start = time.monotonic()
    stack.metrics()
    return time.monotonic() - start


def test_a_read_error_becomes_an_alert_about_this_disk_alone(fault_disk, tmp_path):
    config = READS.format(device=fault_disk.as_loop_device(), directory=tmp_path)
    with scraped_agent(tmp_path, config) as stack:
        stack.wait_for("count(iovigil_last_success_timestamp_seconds) == 2")
        assert stack.query(ALERTS["DiskIOErrors"]) == []
        fault_disk.fail_reads()
        fired = stack.wait_for(ALERTS["DiskIOErrors"])
        assert [(series["metric"]["disk"], series["metric"]["operation"]) for series in fired] == [("faulty", "read")]
        assert stack.wait_for('iovigil_run_failures_total{disk="faulty", reason="io_error"} > 0')


def test_a_hung_disk_becomes_an_alert_and_holds_up_nothing_else(fault_disk, tmp_path):
    config = READS.format(device=fault_disk.as_loop_device(), directory=tmp_path)
    with scraped_agent(tmp_path, config) as stack:
        stack.wait_for("count(iovigil_last_success_timestamp_seconds) == 2")
        fault_disk.hang(operation="read")
        [fired] = stack.wait_for(ALERTS["DiskStuckIO"])
        assert fired["metric"]["disk"] == "faulty"
        assert float(fired["value"][1]) > 5, "the age of the I/O that hangs"
        assert scrape_s(stack) < 0.5
        # The other disk's runs go on meanwhile.
        assert stack.query('time() - iovigil_last_success_timestamp_seconds{disk="good"} < 10')
        fault_disk.release()
        stack.wait_for("iovigil_disk_stuck == 0 unless iovigil_disk_stuck == 1")


@pytest.mark.requires_mkfs
def test_lost_writes_become_an_alert_about_corrupt_data(fault_disk, faulty_ext4, tmp_path):
    with scraped_agent(tmp_path, VERIFIES.format(mountpoint=faulty_ext4)) as stack:
        stack.wait_for("count(iovigil_last_success_timestamp_seconds) == 1")
        assert stack.query(ALERTS["DiskDataCorruption"]) == []
        fault_disk.drop_writes()
        [fired] = stack.wait_for(ALERTS["DiskDataCorruption"])
        assert fired["metric"]["disk"] == "faulty"
        assert stack.query('sum by (kind) (iovigil_verify_mismatches_total{kind="stale"}) > 0')
