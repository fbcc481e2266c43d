"""What systemd hears of the agent, and how often."""

import os

from iovigil.agent.notify import Notifier, watchdog_s


def test_the_watchdog_hears_of_the_loop_three_times_in_its_interval() -> None:
    sent: list[str] = []
    notifier = Notifier(sent.append, {"WATCHDOG_USEC": "30000000"})
    for second in range(31):
        notifier.alive(float(second))
    assert sent == ["WATCHDOG=1"] * 4  # at 0, 10, 20 and 30 s


def test_without_a_watchdog_nothing_is_sent() -> None:
    sent: list[str] = []
    notifier = Notifier(sent.append, {})
    notifier.alive(1.0)
    assert sent == []


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    assert watchdog_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}) == 0
    assert watchdog_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}) == 1
    assert watchdog_s({"WATCHDOG_USEC": "soon"}) == 0


def test_the_status_is_sent_when_it_changes() -> None:
    sent: list[str] = []
    notifier = Notifier(sent.append, {})
    for text in ("1 disks", "1 disks", "2 disks"):
        notifier.status(text)
    assert sent == ["STATUS=1 disks", "STATUS=2 disks"]


def test_a_socket_that_is_gone_stops_nothing() -> None:
    def send(_: str) -> None:
        raise ConnectionRefusedError

    notifier = Notifier(send, {"WATCHDOG_USEC": "30000000"})
    notifier.ready()
    notifier.alive(1.0)
    notifier.status("1 disks")
    notifier.stopping()


def test_a_reload_carries_the_time_that_systemd_asks_for() -> None:
    sent: list[str] = []
    Notifier(sent.append, {}).reloading()
    state, _, stamp = sent[0].partition("\n")
    assert state == "RELOADING=1"
    assert stamp.startswith("MONOTONIC_USEC=")
    assert int(stamp.partition("=")[2]) > 0
