"""What is said of I/O priorities is what the schedulers do."""

from pathlib import Path

import pytest

from iovigil.agent.disks import io_priority
from iovigil.engines.options import JobOptions

LAST = JobOptions(prioclass=2, prio=7)
IDLE = JobOptions(prioclass=3)


def disk(root: Path, name: str, scheduler: str, *slaves: str) -> None:
    queue = root / "sys/class/block" / name / "queue"
    queue.mkdir(parents=True)
    (queue / "scheduler").write_text(scheduler + "\n")
    for slave in slaves:
        (queue.parent / "slaves" / slave).mkdir(parents=True)


@pytest.mark.parametrize(
    ("scheduler", "job", "said"),
    [
        ("none mq-deadline [bfq]", LAST, "bfq honours best effort 7"),
        ("none mq-deadline [bfq]", IDLE, "bfq honours idle"),
        ("none [mq-deadline] bfq", LAST, "mq-deadline knows classes, not levels: best effort 7 is as everybody else"),
        ("none [mq-deadline] bfq", IDLE, "mq-deadline honours the class of idle"),
        ("[none] mq-deadline", LAST, "none does not go by priorities: best effort 7 changes nothing"),
        ("none [kyber]", IDLE, "kyber does not go by priorities: idle changes nothing"),
    ],
)
def test_each_scheduler_is_described_as_it_is(tmp_path: Path, scheduler: str, job: JobOptions, said: str) -> None:
    disk(tmp_path, "sda", scheduler)
    assert io_priority.verdicts("sda", [job, job], str(tmp_path)) == [said]


def test_nothing_is_said_where_nothing_is_asked_for(tmp_path: Path) -> None:
    disk(tmp_path, "sda", "[none]")
    assert io_priority.verdicts("sda", [JobOptions(), JobOptions(prioclass=2, prio=4)], str(tmp_path)) == []


def test_below_a_stacked_device_its_disks_count(tmp_path: Path) -> None:
    disk(tmp_path, "sda", "[bfq]")
    disk(tmp_path, "sdb", "[none]")
    disk(tmp_path, "md0", "none", "sda", "sdb")
    disk(tmp_path, "dm-0", "none", "md0")
    assert io_priority.schedulers("dm-0", str(tmp_path)) == ("bfq", "none")
