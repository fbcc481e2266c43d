"""TCP, with fio and plain sockets as the other side: every byte arrives, and an early end is an error."""

import errno
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from engine_runs import KIB, MIB, READ, WRITE, RunningJob, run_job, running
from processes import wait_until

from iovigil.engines.stats import RunState

BLOCK = 4 * KIB
SIZE = MIB
FIO_DEADLINE_S = 30
HOST = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def asked(port: int, rw: str, listen: bool, **more: Any) -> dict[str, Any]:
    """Options that fio and we spell alike."""
    side = {"listen": 1} if listen else {"hostname": HOST}
    return {"ioengine": "net", "protocol": "tcp", "port": port, "rw": rw, "bs": BLOCK, "size": SIZE, **side, **more}


def ours(port: int, rw: str, listen: bool, **more: Any) -> dict[str, Any]:
    options = asked(port, rw, listen, **more)
    del options["protocol"]  # there is but one
    return options


@contextmanager
def fio(options: dict[str, Any]) -> Iterator["subprocess.Popen[str]"]:
    words = ["--listen" if name == "listen" else f"--{name}={value}" for name, value in options.items()]
    process = subprocess.Popen(["fio", "--name=j", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=FIO_DEADLINE_S)


@contextmanager
def other_side(rw: str, **more: Any) -> Iterator[tuple[RunningJob, socket.socket]]:
    """A job that connected to us, and our end of the connection."""
    with socket.create_server((HOST, 0)) as server:
        server.settimeout(FIO_DEADLINE_S)
        with running(None, **ours(server.getsockname()[1], rw, False, **more)) as job:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(FIO_DEADLINE_S)
                yield job, connection


def is_listening(port: int) -> bool:
    with open("/proc/net/tcp") as table:  # noqa: PTH123
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in table)


@pytest.mark.requires_fio
@pytest.mark.parametrize("we_listen", [True, False])
@pytest.mark.parametrize("rw", ["read", "write"])
def test_fio_takes_what_we_send_and_sends_what_we_take(rw: str, we_listen: bool) -> None:
    port = free_port()
    other = asked(port, "write" if rw == "read" else "read", not we_listen)
    if we_listen:
        with running(None, **ours(port, rw, True)) as job:
            wait_until(lambda: is_listening(port) or job.has_ended(), "the port is open")
            with fio(other) as peer:
                assert peer.wait(FIO_DEADLINE_S) == 0
                done = job.outcome()
    else:
        with fio(other) as peer:
            wait_until(lambda: is_listening(port), "fio listens")
            done = run_job(None, **ours(port, rw, False))
            assert peer.wait(FIO_DEADLINE_S) == 0
    assert done.status == 0, done.show()
    assert done.bytes(READ if rw == "read" else WRITE) == SIZE


def test_every_byte_arrives() -> None:
    with other_side("write", bs=10_007, size=100 * 10_007, nodelay=1) as (job, connection):
        got = 0
        while part := connection.recv(1 << 16):
            got += len(part)
        done = job.outcome()
    assert done.status == 0, done.show()
    assert got == done.bytes(WRITE) == 100 * 10_007


def test_bytes_that_trickle_in_make_whole_blocks() -> None:
    port = free_port()
    with running(None, **ours(port, "read", True, size=8 * BLOCK)) as job:
        wait_until(lambda: is_listening(port) or job.has_ended(), "the port is open")
        with socket.create_connection((HOST, port)) as connection:
            for _ in range(64):
                connection.sendall(bytes(512))
                time.sleep(0.001)
            done = job.outcome()
    assert done.status == 0, done.show()
    assert (done.bytes(READ), done.ios(READ)) == (8 * BLOCK, 8)


def test_who_connects_waits_for_who_listens() -> None:
    port = free_port()
    with running(None, **ours(port, "read", False)) as job:
        time.sleep(0.3)
        assert not job.has_ended()
        with socket.create_server((HOST, port)) as server:
            server.settimeout(FIO_DEADLINE_S)
            connection, _ = server.accept()
            with connection:
                connection.sendall(bytes(SIZE))
                done = job.outcome()
    assert done.status == 0, done.show()


def test_an_early_end_of_the_other_side_is_an_error() -> None:
    with other_side("read") as (job, connection):
        connection.sendall(bytes(10 * BLOCK + 100))
        connection.close()
        done = job.outcome()
    assert done.status == 1
    assert done.bytes(READ) == 10 * BLOCK
    assert done.page.errors(READ) == {errno.ECONNRESET: 1}


def test_nobody_taking_what_we_send_is_an_error_and_not_the_end_of_the_process() -> None:
    with other_side("write", size=64 * MIB) as (job, connection):
        connection.close()
        done = job.outcome()
    assert done.status == 1
    assert set(done.page.errors(WRITE)) <= {errno.EPIPE, errno.ECONNRESET}


@pytest.mark.parametrize("listen", [True, False])
def test_a_stop_ends_the_wait_for_the_other_side(listen: bool) -> None:
    with running(None, **ours(free_port(), "read", listen)) as job:
        wait_until(lambda: job.page.state == RunState.INITIALIZED, "the job is set up")
        time.sleep(0.1)
        job.stop()
        done = job.outcome(deadline_s=10)
    assert done.status == 0, done.show()
    assert done.ios(READ) == 0


def test_a_stop_ends_the_wait_for_bytes() -> None:
    port = free_port()
    with running(None, **ours(port, "read", True)) as job:
        wait_until(lambda: is_listening(port) or job.has_ended(), "the port is open")
        with socket.create_connection((HOST, port)) as connection:
            connection.sendall(bytes(BLOCK))
            job.wait_for_ios(READ)
            connection.sendall(bytes(100))
            time.sleep(0.1)  # a part of a block is taken
            job.stop()
            done = job.outcome(deadline_s=10)
    assert done.status == 0, done.show()
    assert (done.ios(READ), done.page.total_errors) == (1, 0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"rw": "rw", "port": 1, "hostname": HOST}, "rw=read or rw=write, not rw"),
        ({"rw": "randread", "port": 1, "hostname": HOST}, "rw=read or rw=write, not randread"),
        ({"rw": "read", "hostname": HOST}, "set port"),
        ({"rw": "read", "port": 1}, "set hostname, or listen=1"),
        ({"rw": "read", "port": 1, "hostname": "no such host"}, "cannot connect to no such host:1"),
        ({"rw": "read", "port": 1, "hostname": "192.0.2.1", "listen": 1}, "cannot listen on 192.0.2.1:1"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(options: dict[str, Any], reason: str) -> None:
    done = run_job(None, ioengine="net", size=SIZE, **options)
    assert done.status == 2, done.show()
    assert reason in done.page.text
    assert len(done.messages) == 1
