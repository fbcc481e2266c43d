"""A Debian with a real systemd, booted for tests with systemd-nspawn: gone after them, its changes with it."""

import contextlib
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from processes import NotReady, tail, wait_until

CGROUPS: Final = Path("/sys/fs/cgroup")
BOOT_DEADLINE_S: Final = 30.0
HALT_DEADLINE_S: Final = 15.0
COMMAND_DEADLINE_S: Final = 15.0

# Commands in the container see nothing of the tests' own environment.
ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}


class Container:
    """A booted system."""

    def __init__(self, init_pid: int) -> None:
        self.init_pid = init_pid

    def run(
        self, *command: str | Path, deadline_s: float = COMMAND_DEADLINE_S, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside. Raises NotReady, with what it said, when it fails or takes too long."""
        # Not machinectl or systemd-run --machine: those need systemd on the host.
        process = subprocess.Popen(
            ["nsenter", "--target", str(self.init_pid), "--all", "--root", "--wdns=/", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=ENVIRONMENT,
        )
        words = shlex.join(map(str, command))
        try:
            output, errors = process.communicate(stdin, deadline_s)
        except subprocess.TimeoutExpired:
            process.kill()  # what nsenter started ends with the container
            raise NotReady(f"{words}: not done within {deadline_s:g} s") from None
        if check and process.returncode:
            raise NotReady(f"{words}: status {process.returncode}\n{output}{errors}")
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a file there, and the directories above it."""
        script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
        self.run("sh", "-c", script, "sh", path, f"{mode:o}", stdin=text)


def why_not() -> str:
    """What keeps this machine from booting a container; "" when nothing does."""
    if not all(os.access(tree, os.W_OK) for tree in cgroup_trees()):
        return "the cgroup tree is not writable here"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, timeout=10, check=False).returncode:
        return "namespaces are not allowed here"
    return ""


@contextlib.contextmanager
def booted(
    root: Path, log: Path, *, read_only: Mapping[Path, str] | None = None, writable: Mapping[Path, str] | None = None
) -> Iterator[Container]:
    """A system on this tree, which stays as it is; up when the block is entered, gone when it is left.

    The mappings are from files and directories of this machine to places in the container.
    It has a network of its own, with the loopback interface alone. Raises NotReady.
    """
    with cgroup(f"iovigil-test-{os.getpid()}") as groups:
        nspawn = [
            "systemd-nspawn", "--quiet", "--boot",
            f"--directory={root}", f"--machine=iovigil-{os.getpid()}",
            "--volatile=overlay",
            "--read-only",  # with the overlay it means no more than a shared lock on the tree
            "--register=no", "--keep-unit", "--link-journal=no", "--private-network",
            # Without these DeviceAllow= is silently not enforced.
            "--system-call-filter=bpf", "--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON",
            *(f"--bind-ro={here}:{there}" for here, there in (read_only or {}).items()),
            *(f"--bind={here}:{there}" for here, there in (writable or {}).items()),
        ]  # fmt: skip
        # The signal halts the container when the tests die without a word.
        script = "".join(f"echo $$ >{group}/cgroup.procs && " for group in groups)
        script += 'exec setpriv --pdeathsig TERM "$@"'
        with log.open("wb") as console:
            process = subprocess.Popen(
                ["sh", "-c", script, "sh", *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                # Or else the container gets version 1's controllers, read-only, on a machine that has both.
                env={**ENVIRONMENT, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                start_new_session=True,
            )
        try:
            yield wait_for_boot(process, log)
        finally:
            halt(process)


def wait_for_boot(process: subprocess.Popen[bytes], log: Path) -> Container:
    def init_or_end() -> bool:
        return process.poll() is not None or bool(init_of(process.pid))

    def is_up() -> bool:
        # Fails as long as there is no bus; one failed unit makes "degraded", which is Debian's affair.
        state = container.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    try:
        wait_until(init_or_end, "the container has an init", BOOT_DEADLINE_S)
        container = Container(init_of(process.pid))
        wait_until(is_up, "the container has booted", BOOT_DEADLINE_S)
    except NotReady as late:
        raise NotReady(f"{late}\n{tail(log)}") from None
    return container


def init_of(nspawn_pid: int) -> int:
    """The container's first process as this machine sees it, 0 while there is none.

    systemd-nspawn has short-lived children before it.
    """
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{nspawn_pid}/task/{nspawn_pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return int(child)
    return 0


def halt(process: subprocess.Popen[bytes]) -> None:
    """Shut down in good order; leaving the cgroup kills what does not."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(HALT_DEADLINE_S)


def cgroup_trees() -> list[Path]:
    """Where systemd keeps its groups: one tree, or two of them beside version 1's controllers."""
    return [tree for tree in (CGROUPS / "unified", CGROUPS / "systemd") if tree.is_dir()] or [CGROUPS]


@contextlib.contextmanager
def cgroup(name: str) -> Iterator[list[Path]]:
    """A group of its own for a container, in each tree; afterwards it is gone with all processes in it.

    Two containers started in one group would take each other's processes for their own.
    """
    groups = [tree / name for tree in cgroup_trees()]
    for group in groups:
        group.mkdir(exist_ok=True)
    try:
        yield groups
    finally:
        (groups[0] / "cgroup.kill").write_text("1")
        for group in groups:
            wait_until(lambda group=group: removed(group), f"{group} is empty", HALT_DEADLINE_S)  # type: ignore[misc]


def removed(group: Path) -> bool:
    for path, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):  # busy as long as a killed process is not gone
            Path(path).rmdir()
    return not group.exists()
