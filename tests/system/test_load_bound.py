"""What check-config says a run does at worst is not exceeded by a run, and for paced jobs not far from it."""

import asyncio
from pathlib import Path

import pytest

from iovigil.agent import books, config, load
from iovigil.agent.supervisor import Supervisor
from iovigil.engines.stats import Counter

READ, WRITE = 0, 1
EVERY_S = 60
DEADLINE_S = 60
IN_FLIGHT = 1.02  # the last I/Os of a run may be begun before its end and counted after

PACED = {
    "random reads": "rw: randread, rate_iops: 200, runtime: 1s",
    "reads with a ramp": "rw: read, bs: 16k, rate: 4m, ramp_time: 500ms, runtime: 1s",
    "a mix": "rw: randrw, bs: 4k, rate_iops: [300, 100], runtime: 1s, iodepth: 4",
    "verified in rounds": "rw: randwrite, bs: 4k, verify: crc32c, rate_iops: 200, runtime: 1s",
    "verified once": "rw: write, bs: 4k, size: 16MiB, verify: crc32c, rate_iops: 200, time_based: 0, runtime: 1s",
    "thinking": "rw: read, thinktime: 10ms, thinktime_blocks: 2, runtime: 1s",
}
BY_SIZE = {
    "once over": "rw: write, bs: 64k, size: 4MiB, time_based: 0, runtime: 5s",
    "twice over": "rw: randread, bs: 64k, size: 4MiB, loops: 2, time_based: 0, runtime: 5s",
    "verified": "rw: randwrite, bs: 64k, size: 4MiB, verify: crc32c, time_based: 0, runtime: 5s",
    "so many": "rw: randread, bs: 4k, number_ios: 100, runtime: 5s",
    "a mix of one size": "rw: randrw, rwmixread: 75, bs: 4k, size: 8MiB, time_based: 0, runtime: 5s",
}


def run_and_bound(tmp_path: Path, job: str) -> tuple[tuple[int, int], tuple[float, float]]:
    """Bytes read and written by one run, and the most of each that was said."""
    text = (
        f"disks: [{{name: d, file: {tmp_path}/probe, size: 16MiB}}]\n"
        f"probes: {{p: {{every: {EVERY_S}s, job: {{ioengine: psync, {job}}}}}}}\n"
    )
    loaded = config.parse(text, "f.yml")
    ledger = books.open_books(loaded)

    async def one_run() -> tuple[int, int]:
        async with asyncio.timeout(DEADLINE_S):
            result = await Supervisor(ledger, 1).run(loaded.disks[0], ledger.probes["d", "p"])
        assert result.is_success, result.message
        return (result.page.counter(Counter.BYTES, READ), result.page.counter(Counter.BYTES, WRITE))

    [each] = load.planned(loaded, {})
    runs_a_day = load.DAY_S / EVERY_S
    bound = (each.demand.read_bytes_a_day / runs_a_day, each.demand.written_bytes_a_day / runs_a_day)
    return asyncio.run(one_run()), bound


@pytest.mark.parametrize("job", PACED.values(), ids=PACED)
def test_a_paced_run_does_what_was_said_and_no_more(tmp_path: Path, job: str) -> None:
    for done, most in zip(*run_and_bound(tmp_path, job), strict=True):
        assert 0.4 * most <= done <= IN_FLIGHT * most + 65536


@pytest.mark.parametrize("job", BY_SIZE.values(), ids=BY_SIZE)
def test_a_run_with_an_end_does_what_was_said_and_no_more(tmp_path: Path, job: str) -> None:
    for done, most in zip(*run_and_bound(tmp_path, job), strict=True):
        assert 0.9 * most <= done <= 1.05 * most
