"""A virtual machine for tests that need a kernel of their own: Debian's kernel over this machine's files, read-only.

Nothing is emulated faster than software can: a program takes some 20 times as long as outside.
"""

import lzma
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from debian_root import CACHE, made_by_one

import iovigil

SUITE: Final = "trixie"
"""Whose kernel: in that of Debian 12 scsi_debug can inject less."""
MODULES: Final = (
    "virtio_pci", "9pnet_virtio", "9p", "overlay", "sd_mod", "sg", "scsi_debug",
    "virtio_blk", "ext4", "dm_mod", "dm_log_writes", "dm_flakey", "dm_delay", "ahci",
)  # fmt: skip
MAKING_DEADLINE_S: Final = 150.0
START_S: Final = 60.0
"""Until the program is started, on a machine that has other things to do."""

INIT: Final = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs d /dev; $B mount -t proc p /proc; $B mount -t sysfs s /sys
while read module parameters; do $B insmod /modules/$module $parameters; done < /modules/list
$B mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose root /lower
$B mount -t tmpfs t /upper; $B mkdir /upper/changes /upper/work
$B mount -t overlay -o lowerdir=/lower,upperdir=/upper/changes,workdir=/upper/work o /root
$B mkdir -p /root/mnt/share
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /root/mnt/share
for each in dev proc sys; do $B mount --move /$each /root/$each; done
exec $B switch_root /root /mnt/share/start
"""

START: Final = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs t /run; mount -t debugfs d /sys/kernel/debug
cd /run
PYTHONPATH={packages} timeout {deadline_s:.0f} {python} {program} {arguments} >/mnt/share/output 2>/mnt/share/errors
echo $? >/mnt/share/status
dmesg | tail -n 40 >/mnt/share/dmesg
sync; echo o >/proc/sysrq-trigger; sleep 60
"""


class CannotMake(Exception):
    """This machine cannot have a virtual machine; the text says what is missing."""


@dataclass(frozen=True)
class Ended:
    """A program that ran in the machine."""

    status: int
    output: str
    errors: str
    dmesg: str


@dataclass(frozen=True)
class VirtualMachine:
    """What is kept: a kernel, and the files it starts from."""

    kernel: Path
    initrd: Path

    def run(
        self,
        program: Path,
        share: Path,
        deadline_s: float,
        disks: Sequence[Path] = (),
        devices: Sequence[str] = (),
        *,
        arguments: Sequence[str] = (),
        start: str = "",
        kernel_parameters: str = "",
    ) -> Ended:
        """Boot, run a Python program as root with these arguments, power off.

        `share` is empty, and its /mnt/share; the files `disks` are its /dev/vda, /dev/vdb and so on; `devices` are
        more arguments for qemu; `kernel_parameters` come after those that every machine has; `start` is another script
        to be the machine's init, which leaves the same files.
        """
        start = start or START.format(
            packages=Path(iovigil.__file__).parent.parent,
            deadline_s=deadline_s,
            python=sys.executable,
            program=program,
            arguments=shlex.join(arguments),
        )
        (share / "start").write_text(start)
        (share / "start").chmod(0o755)
        console = share / "console"
        with console.open("wb") as output:
            subprocess.run(
                [*self.command(share, disks, kernel_parameters), *devices],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=START_S + deadline_s,
                check=False,
            )
        files = {name: share / name for name in ("status", "output", "errors", "dmesg")}
        if not files["status"].exists():
            raise AssertionError(f"the virtual machine did not get as far as its program\n{end_of(console)}")
        texts = {name: file.read_text(errors="replace") for name, file in files.items()}
        return Ended(int(texts["status"]), texts["output"], texts["errors"], texts["dmesg"])

    def command(self, share: Path, disks: Sequence[Path], kernel_parameters: str = "") -> list[str]:
        nine_p = "local,security_model=none,multidevs=remap"
        return [
            "qemu-system-x86_64",
            *("-machine", "q35", "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "1024"),
            *("-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio"),
            *("-kernel", str(self.kernel), "-initrd", str(self.initrd)),
            *("-append", f"console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable {kernel_parameters}"),
            *("-virtfs", f"{nine_p},path=/,mount_tag=root,readonly=on"),
            *("-virtfs", f"{nine_p},path={share},mount_tag=share"),
            *(word for disk in disks for word in ("-drive", f"file={disk},format=raw,if=virtio,cache=unsafe")),
        ]


def virtual_machine() -> VirtualMachine:
    """The machine, made on first use. Raises CannotMake."""
    if platform.machine() != "x86_64":
        raise CannotMake(f"the kernel to be downloaded is for x86_64, and this is {platform.machine()}")
    if os.geteuid():
        raise CannotMake("needs root: its files are this machine's own")
    for tool in ("apt-get", "dpkg-deb", "depmod", "modprobe"):
        if not shutil.which(tool):
            raise CannotMake(f"{tool} is not installed")
    wanted = "\n".join((SUITE, *MODULES, INIT))
    place = CACHE / f"machine-{sha256(wanted.encode()).hexdigest()[:12]}"
    with made_by_one(place):
        if not shutil.which("qemu-system-x86_64"):
            make_with("apt-get", "install", "-y", "--no-install-recommends", "qemu-system-x86")
        if not place.is_dir():
            make(place)
    return VirtualMachine(place / "vmlinuz", place / "initrd")


def make(place: Path) -> None:
    unfinished = place.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    tree = unfinished / "tree"
    tree.mkdir(parents=True)
    unpack(unfinished, tree)
    (kernel,) = (tree / "boot").glob("vmlinuz-*")
    version = kernel.name.removeprefix("vmlinuz-")
    base = tree / "usr"
    make_with("depmod", "-b", str(base), version)
    (unfinished / "initrd").write_bytes(archive(contents(tree, base, version)))
    kernel.rename(unfinished / "vmlinuz")
    shutil.rmtree(tree)
    unfinished.rename(place)


def unpack(work: Path, tree: Path) -> None:
    """Have the newest kernel and a busybox of the suite in `tree`, checked by apt, without a change to this system."""
    sources = work / "sources.list"
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    sources.write_text(f"deb [signed-by={keyring}] http://deb.debian.org/debian {SUITE} main\n")
    for directory in ("lists/partial", "cache/archives/partial"):
        (work / directory).mkdir(parents=True)
    own = [
        f"-oDir::Etc::sourcelist={sources}",
        "-oDir::Etc::sourceparts=/dev/null",
        f"-oDir::State::lists={work}/lists",
        f"-oDir::Cache={work}/cache",
        "-oAcquire::Languages=none",
        "-oAPT::Sandbox::User=root",
    ]
    make_with("apt-get", *own, "update")
    depends = make_with("apt-cache", *own, "depends", "linux-image-amd64")
    image = next((line.split()[-1] for line in depends.splitlines() if "Depends: linux-image-" in line), None)
    if image is None:
        raise CannotMake(f"{SUITE} has no linux-image-amd64")
    make_with("apt-get", *own, "download", image, "busybox-static", directory=work)
    for package in work.glob("*.deb"):
        make_with("dpkg-deb", "-x", str(package), str(tree))
        package.unlink()
    shutil.rmtree(work / "lists")
    shutil.rmtree(work / "cache")


def contents(tree: Path, base: Path, version: str) -> Iterable[tuple[str, int, bytes]]:
    """(path, mode, data) of all that the kernel finds when it starts."""
    for directory in ("bin", "modules", "dev", "proc", "sys", "lower", "upper", "root"):
        yield directory, stat.S_IFDIR | 0o755, b""
    yield "init", stat.S_IFREG | 0o755, INIT.encode()
    busybox = next(path for path in (tree / "usr/bin/busybox", tree / "bin/busybox") if path.is_file())
    yield "bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()
    names = []
    for module in MODULES:
        shown = make_with("modprobe", "-d", str(base), "-S", version, "--show-depends", module)
        for line in shown.splitlines():
            if not line.startswith("insmod"):
                continue  # built into the kernel
            path = Path(line.split()[1])
            name = path.name.removesuffix(".xz")
            if name not in names:
                names.append(name)
                data = path.read_bytes()
                yield f"modules/{name}", stat.S_IFREG | 0o644, lzma.decompress(data) if path.suffix == ".xz" else data
    lines = [f"{name} dev_size_mb=64 delay=0" if name == "scsi_debug.ko" else name for name in names]
    yield "modules/list", stat.S_IFREG | 0o644, "".join(f"{line}\n" for line in lines).encode()


def archive(files: Iterable[tuple[str, int, bytes]]) -> bytes:
    """A cpio archive in the form that Linux takes (newc)."""
    whole = bytearray()
    end = ("TRAILER!!!", 0, b"")
    for number, (name, mode, data) in enumerate([*files, end], start=1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        whole += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        whole += bytes(-len(whole) % 4) + data
        whole += bytes(-len(whole) % 4)
    return bytes(whole)


def make_with(*command: str, directory: Path | None = None) -> str:
    """Run one step; what it printed. Raises CannotMake."""
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MAKING_DEADLINE_S,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise CannotMake(f"{command[0]}: {problem}") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise CannotMake(f"{' '.join(command[:2])} ended with status {done.returncode}: {' '.join(last)}")
    return done.stdout


def end_of(log: Path) -> str:
    lines: Sequence[str] = log.read_text(errors="replace").splitlines()
    return "\n".join(lines[-20:])
