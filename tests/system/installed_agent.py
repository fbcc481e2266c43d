"""The agent as a package installs it, in a container: the unit as shipped, the user, the command; run by systemd."""

import contextlib
import json
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from container import Container, booted, why_not
from debian_root import debian_root, own_suite
from loop import MIB, attached, command, mounted
from processes import wait_until
from prometheus_client.parser import text_string_to_metric_families

CHECKOUT: Final = Path(__file__).parents[2]
UNITS: Final = CHECKOUT / "packaging" / "systemd"
UNIT: Final = "iovigil.service"
UNIT_FILE: Final = f"/usr/lib/systemd/system/{UNIT}"
GROUP: Final = f"/sys/fs/cgroup/system.slice/{UNIT}"
CONFIG_FILE: Final = "/etc/iovigil/agent.yml"
DISK: Final = "/srv/data0"
PROBE_DIRECTORY: Final = f"{DISK}/iovigil"

# What the package's own start script does, on the checkout and the libraries of its virtual environment.
START_SCRIPT: Final = """\
#!/usr/bin/python3
import sys
sys.path[:0] = ["/opt/iovigil/src", "/opt/packages"]
from iovigil.agent.cli import main
sys.exit(main())
"""

# The drop-in that the unit asks for; and no test waits two seconds for a restart.
DROP_IN: Final = f"[Service]\nReadWritePaths={PROBE_DIRECTORY}\nRestartSec=100ms\n"

SCRAPE: Final = (
    "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9942/metrics', timeout=5).read().decode())"
)


class Scrape:
    """The samples of one look at /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum over all series with these labels. Raises AssertionError when there is none."""
        found = [sample.value for sample in self._samples if sample.name == name and fits(sample.labels, labels)]
        assert found, f"no series {name} with {labels}"
        return sum(found)

    def labels(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self._samples if sample.name == name}


def fits(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(name) == value for name, value in wanted.items())


class InstalledAgent:
    """The service and its files, as an administrator handles them."""

    def __init__(self, container: Container, device: str) -> None:
        self.container = container
        self.device = device
        """A block device that holds nothing."""

    def configure(self, text: str) -> None:
        self.container.write(CONFIG_FILE, text)

    def drop_in(self, name: str, text: str) -> None:
        self.container.write(f"/etc/systemd/system/{UNIT}.d/{name}.conf", text)
        self.systemctl("daemon-reload")

    def reset(self) -> None:
        """Back to a service that was never started, with the one drop-in that it needs."""
        self.systemctl("stop", UNIT, check=False)
        self.container.run("rm", "-rf", f"/etc/systemd/system/{UNIT}.d")
        self.drop_in("00-disk", DROP_IN)
        self.systemctl("reset-failed", UNIT, check=False)
        # Its counters and its runs would go on.
        self.systemctl("clean", "--what=state", "--what=runtime", UNIT)
        self.container.run("journalctl", "--rotate", "--vacuum-time=1us")

    def systemctl(self, *arguments: str, check: bool = True) -> None:
        self.container.run("systemctl", *arguments, check=check)

    def start(self) -> None:
        """Returns when systemd says so, and no later."""
        self.systemctl("start", UNIT)

    def lines_of_unit(self, *names: str) -> list[str]:
        """Its settings that begin with one of these words."""
        return [line for line in (UNITS / UNIT).read_text().splitlines() if line.startswith(names)]

    def signal(self, name: str) -> None:
        """Send it to the agent alone, not to its children."""
        self.systemctl("kill", "--kill-who=main", f"--signal={name}", UNIT)

    def show(self, name: str) -> str:
        return self.container.run("systemctl", "show", "--property", name, "--value", UNIT).stdout.strip()

    @property
    def main_pid(self) -> int:
        """The agent, by its number in the container; 0 when there is none."""
        return int(self.show("MainPID"))

    def status_of(self, pid: int) -> dict[str, str]:
        """What /proc says of a process in the container."""
        lines = self.container.run("cat", f"/proc/{pid}/status").stdout.splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def processes(self) -> set[int]:
        """All that run in the service's control group."""
        found = self.container.run("find", GROUP, "-name", "cgroup.procs", "-exec", "cat", "{}", "+", check=False)
        return {int(pid) for pid in found.stdout.split()}

    def groups(self) -> dict[str, set[int]]:
        """The control groups below the service's own, each with its processes."""
        names = self.container.run("find", GROUP, "-mindepth", "1", "-type", "d", "-printf", "%P\n", check=False)
        found = {}
        for name in names.stdout.split():
            there = self.container.run("cat", f"{GROUP}/{name}/cgroup.procs", check=False)
            if there.returncode == 0:  # else the child has taken it along meanwhile
                found[name] = {int(pid) for pid in there.stdout.split()}
        return found

    def children(self) -> set[int]:
        return self.processes() - {self.main_pid}

    def exist(self, pids: set[int]) -> set[int]:
        """Those of the processes that are still there."""
        return {pid for pid in pids if self.container.run("test", "-e", f"/proc/{pid}", check=False).returncode == 0}

    def wait_for_a_fresh_run(self) -> set[int]:
        """The children of a run that has just begun."""
        wait_until(lambda: not self.children(), "no run is in progress", 30.0)
        return wait_until(self.children, "a run begins", 30.0)

    def scrape(self) -> Scrape:
        return Scrape(self.container.run("python3", "-c", SCRAPE).stdout)

    def wait_for(self, name: str, least: float = 1, **labels: str) -> Scrape:
        """The first scrape in which a metric is that much."""

        def look() -> list[Scrape]:
            scrape = self.scrape()
            return [scrape] if scrape.value(name, **labels) >= least else []

        return wait_until(look, f"{name} {labels} >= {least:g}")[0]

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """What the service has logged since the last reset."""
        lines = self.container.run("journalctl", "--unit", UNIT, "--output=json", "--quiet", *matches, check=False)
        return [json.loads(line) for line in lines.stdout.splitlines()]

    def wait_for_message(self, part: str, *matches: str) -> dict[str, Any]:
        """The journal's first entry that says this."""

        def look() -> list[dict[str, Any]]:
            return [entry for entry in self.journal(*matches) if part in str(entry.get("MESSAGE"))]

        return wait_until(look, f"the journal has {part!r}")[0]


def why_not_here() -> str:
    """What this machine lacks to install the checkout in a container; "" when nothing."""
    if not own_suite():
        return "the container is of this machine's own suite, and this is not Debian"
    if sys.base_prefix != "/usr":
        return f"the container has Debian's python3, the checkout is built for that in {sys.base_prefix}"
    return why_not()


@contextlib.contextmanager
def installed(directory: Path) -> Iterator[InstalledAgent]:
    """A container in which the service is installed and not started, with an ext4 at DISK and a block device."""
    root = debian_root(own_suite())
    read_only = {
        CHECKOUT: "/opt/iovigil",
        Path(sysconfig.get_path("platlib")): "/opt/packages",
        UNITS / UNIT: UNIT_FILE,
        UNITS / "iovigil.sysusers": "/usr/lib/sysusers.d/iovigil.conf",
    }
    with (
        loop_device(directory / "disk.img") as disk,
        loop_device(directory / "device.img") as device,
        ext4(disk, directory / "disk") as point,
        booted(root, directory / "console", read_only=read_only, writable={point: DISK}) as container,
    ):
        container.write("/usr/bin/iovigil", START_SCRIPT, 0o755)
        container.run("systemd-sysusers")
        container.run("install", "-d", "-o", "iovigil", "-g", "iovigil", PROBE_DIRECTORY)
        make_node(container, device)
        yield InstalledAgent(container, str(device))


@contextlib.contextmanager
def loop_device(image: Path) -> Iterator[Path]:
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    with attached(image) as device:
        yield device


@contextlib.contextmanager
def ext4(device: Path, point: Path) -> Iterator[Path]:
    command("mkfs.ext4", "-q", "-F", device)
    with mounted(device, point) as filesystem:
        yield filesystem


def make_node(container: Container, device: Path) -> None:
    """Let the container see a block device of this machine, owned as udev would have it."""
    number = device.stat().st_rdev
    container.run("mknod", "--mode=0660", device, "b", str(os.major(number)), str(os.minor(number)))
    container.run("chgrp", "disk", device)
