"""What a test may need of the machine: marks that skip it by name where the machine has not got it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

# Tools that `make test` put beside the interpreter (promtool, prometheus) are found like the system's own.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

# How long an example takes says how busy the machine is.
settings.register_profile("iovigil", deadline=None)
settings.load_profile("iovigil")


def is_root() -> bool:
    return os.geteuid() == 0


def allows_io_uring() -> bool:
    """Ask the kernel itself: a seccomp filter or a sysctl may forbid it on any version."""
    setup = (
        "import ctypes, os; fd = ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120)); os._exit(fd < 0)"
    )
    return subprocess.run([sys.executable, "-I", "-S", "-c", setup], timeout=10, check=False).returncode == 0


def has_loop_devices() -> bool:
    return is_root() and Path("/dev/loop-control").exists()


def has_zram() -> bool:
    return is_root() and Path("/sys/class/zram-control/hot_add").exists()


def has_fuse() -> bool:
    return is_root() and Path("/dev/fuse").exists()


def prometheus_takes_otlp() -> bool:
    if shutil.which("prometheus") is None:
        return False
    shown = subprocess.run(["prometheus", "--help"], capture_output=True, timeout=30, check=False)
    return b"otlp-receiver" in shown.stdout + shown.stderr


def has_blkio_throttling() -> bool:
    """Of the first version of control groups: there the root's own limits are everybody's."""
    return is_root() and Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device").exists()


def has(command: str) -> Callable[[], bool]:
    return lambda: shutil.which(command) is not None


REQUIREMENTS: dict[str, tuple[Callable[[], bool], str]] = {
    "requires_root": (is_root, "needs root"),
    "requires_io_uring": (allows_io_uring, "io_uring is not allowed here"),
    "requires_loop": (has_loop_devices, "needs root and loop devices"),
    "requires_zram": (has_zram, "needs root and zram"),
    "requires_fuse": (has_fuse, "needs root and /dev/fuse"),
    "requires_blkio": (has_blkio_throttling, "needs root and the blkio controller of cgroup version 1"),
    "requires_fio": (has("fio"), "fio is not installed"),
    "requires_mkfs": (has("mkfs.ext4"), "mkfs.ext4 is not installed"),
    "requires_promtool": (has("promtool"), "promtool is not installed"),
    "requires_prometheus": (has("prometheus"), "prometheus is not installed"),
    "requires_amtool": (has("amtool"), "amtool is not installed"),
    "requires_alertmanager": (
        lambda: is_root() and has("prometheus-alertmanager")(),
        "needs root and Debian's prometheus-alertmanager",
    ),
    "requires_apt": (lambda: is_root() and has("apt-get")() and has("dpkg-deb")(), "needs root and apt"),
    "requires_node_exporter": (has("prometheus-node-exporter"), "prometheus-node-exporter is not installed"),
    "requires_otlp_receiver": (
        prometheus_takes_otlp,
        "prometheus is not installed, or takes no OTLP: Debian's does not",
    ),
    "requires_victoria_metrics": (has("victoria-metrics"), "victoria-metrics is not installed"),
    "requires_openssl": (has("openssl"), "openssl is not installed"),
    "requires_curl": (has("curl"), "curl is not installed"),
    "requires_socket_activate": (has("systemd-socket-activate"), "systemd-socket-activate is not installed"),
    "requires_chromium": (has("chromium"), "chromium is not installed"),
    "requires_systemd_analyze": (has("systemd-analyze"), "systemd-analyze is not installed"),
    "requires_nspawn": (
        lambda: is_root() and has("systemd-nspawn")() and has("mmdebstrap")(),
        "needs root, systemd-nspawn and mmdebstrap",
    ),
}


@cache
def is_met(name: str) -> bool:
    return REQUIREMENTS[name][0]()


def pytest_configure(config: pytest.Config) -> None:
    for name, (_, reason) in REQUIREMENTS.items():
        config.addinivalue_line("markers", f"{name}: skip where it {reason}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in {mark.name for mark in item.iter_markers()} & REQUIREMENTS.keys():
            if not is_met(mark):
                item.add_marker(pytest.mark.skip(reason=f"{mark}: {REQUIREMENTS[mark][1]}"))


@pytest.fixture(autouse=True, scope="session")
def runtime_directory() -> Iterator[None]:
    """Where agents that tests kill leave what they counted, as systemd would give it; gone with the tests."""
    with tempfile.TemporaryDirectory(prefix="iovigil-test-", dir="/dev/shm") as directory:
        os.environ["RUNTIME_DIRECTORY"] = directory
        yield
        del os.environ["RUNTIME_DIRECTORY"]
