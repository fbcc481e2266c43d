"""What others did on a disk during a run, told from what the run did itself."""

import math
from pathlib import Path

import pytest

from iovigil.agent.slowdown import foreign_load
from iovigil.agent.slowdown.foreign_load import Counters, ForeignLoad, Own

RUN_S = 5.0
BEFORE = Counters(ios=1000, bytes=4_096_000, queue_s=8.0, busy_s=7.0)
OWN = Own(ios=500, bytes=500 * 4096, time_s=2.0)


def load(ios: int, size: int, queue_s: float, busy_s: float, own: Own = OWN, rotational: str = "1") -> ForeignLoad:
    after = Counters(BEFORE.ios + ios, BEFORE.bytes + size, BEFORE.queue_s + queue_s, BEFORE.busy_s + busy_s)
    found = foreign_load.between({"sda": BEFORE}, {"sda": after}, RUN_S, own, rotational)
    assert found is not None
    return found


def test_a_run_alone_on_its_disk_has_no_foreign_load() -> None:
    found = load(500, 500 * 4096, 1.9, 1.9)
    assert found[:4] == (0.0, 0.0, 0.0, 0.0)


def test_a_slow_disk_is_not_a_busy_one() -> None:
    """All of its time is that of our own I/O, however long that takes, and however much of it the device counts."""
    assert load(500, 500 * 4096, 4.9, 5.0, Own(500, 500 * 4096, 5.0)).busy_ratio == 0.0
    assert load(500, 500 * 4096, 4.9, 5.0, Own(500, 500 * 4096, 4.7)).busy_ratio == 0.0


def test_what_is_not_ours_is_foreign() -> None:
    found = load(500 + 100, 500 * 4096 + 100 * 65536, 2.0 + 1.0, 3.0)
    assert found.in_flight == pytest.approx(0.2)
    assert found.busy_ratio == pytest.approx(0.2)
    assert found.ios_per_second == 20
    assert found.bytes_per_second == 100 * 65536 / RUN_S


def test_a_queue_of_others_is_busy_no_more_than_all_the_time() -> None:
    found = load(500 + 9000, 500 * 4096 + 9000 * 4096, 160.0, 5.0)
    assert found.in_flight > 30
    assert found.busy_ratio == 1.0


def test_a_busy_ratio_is_no_more_than_the_disk_was_busy() -> None:
    """In flight adds up what went side by side."""
    found = load(500 + 9000, 500 * 4096 + 9000 * 4096, 12.0, 1.0)
    assert found.in_flight == pytest.approx(2.0)
    assert found.busy_ratio == pytest.approx(0.2)


def test_requests_that_were_split_are_ours() -> None:
    own = Own(ios=1000, bytes=1000 << 20, time_s=20.0)
    assert load(4000, 1000 << 20, 19.0, 5.0, own).in_flight == 0.0


def test_others_are_seen_beside_a_run_that_keeps_the_queue_full() -> None:
    own = Own(ios=1000, bytes=1000 * 65536, time_s=40.0)
    found = load(2000, 2000 * 65536, 40.0, 5.0, own)
    assert found.in_flight == pytest.approx(4.0)


def test_without_the_time_of_our_own_the_rest_is_its_share() -> None:
    unknown = OWN._replace(time_s=0.0)
    assert load(500, 500 * 4096, 2.0, 2.0, unknown).in_flight == 0.0
    assert load(1000, 1000 * 4096, 2.0, 2.0, unknown).in_flight == pytest.approx(0.2)


def test_the_page_cache_does_not_make_a_negative_load() -> None:
    assert load(0, 0, 0.0, 0.0) == ForeignLoad(stream_bytes_per_second=100e6)
    assert load(-900, -4_000_000, -7.0, -6.0).in_flight == 0.0  # another disk of that name


def test_a_disk_that_was_not_there_at_both_ends_has_no_load() -> None:
    assert foreign_load.between({}, {"sda": BEFORE}, RUN_S, OWN) is None
    assert foreign_load.between({"sda": BEFORE}, {}, RUN_S, OWN) is None
    assert foreign_load.between({"sda": BEFORE}, {"sdb": BEFORE}, RUN_S, OWN) is None


def test_of_a_stack_the_busiest_counts() -> None:
    same = Counters(BEFORE.ios + 500, BEFORE.bytes + 500 * 4096, BEFORE.queue_s + 2.0, BEFORE.busy_s + 2.0)
    busy = Counters(BEFORE.ios + 900, BEFORE.bytes + 900 * 4096, BEFORE.queue_s + 4.0, BEFORE.busy_s + 4.0)
    found = foreign_load.between({"dm-0": BEFORE, "sda": BEFORE}, {"dm-0": same, "sda": busy}, RUN_S, OWN)
    assert found is not None
    assert found.ios_per_second == 80


def test_the_demand_is_what_it_would_take_at_the_usual_speed() -> None:
    found = load(500 + 50, 500 * 4096 + 50 * 4096, 2.0 + 5.0, 5.0)
    assert found.in_flight == pytest.approx(1.0)
    assert found.demand(0.008) == pytest.approx(0.08, rel=0.05)
    assert found.demand(math.inf) == math.inf
    assert load(550, 550 * 4096, 7.0, 5.0, rotational="").demand(0.008) == math.inf


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """dm-0 on a partition of sda."""
    disk = tmp_path / "sys/devices/pci0/sda"
    (disk / "sda1").mkdir(parents=True)
    (disk / "sda1/partition").write_text("1\n")
    (disk / "stat").write_text("10 0 80 50 2 0 16 50 0 60 100 0 0 0 0 0 0\n")
    volume = tmp_path / "sys/devices/virtual/block/dm-0"
    (volume / "slaves/sda1").mkdir(parents=True)
    (volume / "stat").write_text("4 0 32 20 0 0 0 0 0 20 20 0 0 0 0 0 0\n")
    names = tmp_path / "sys/class/block"
    names.mkdir(parents=True)
    for name, place in (("sda", disk), ("sda1", disk / "sda1"), ("dm-0", volume)):
        (names / name).symlink_to(place)
    return tmp_path


def test_a_look_follows_a_volume_to_its_disk(machine: Path) -> None:
    assert foreign_load.look("dm-0", str(machine)) == {
        "dm-0": Counters(4, 32 * 512, 0.02, 0.02),
        "sda": Counters(12, 96 * 512, 0.1, 0.06),
    }
    assert foreign_load.look("sdz", str(machine)) == {}
