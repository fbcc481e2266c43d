"""What stands on a device that somebody may need: every signature that util-linux knows, and some that it may not."""

import os
import select
import time

from iovigil.agent.disks.refusal import Refused

PROBE_S = 10.0
PLACES = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
INHERITED_FD = 3
SIGKILL = 9  # the module signal makes enumerations of it: 3 ms of every child's start
LONGEST_ANSWER = 65536
SHOWN = 4

KIB = 1 << 10
GIB = 1 << 30

BLUESTORE = b"bluestore block device\n"
BLUESTORE_AT = (0, GIB, 10 * GIB, 100 * GIB, 1000 * GIB)
GPT = b"EFI PART"
# util-linux looks at more than the magic number, and passes by what is damaged: somebody may still hope to mend it.
BARE_MAGICS = (
    ("boot sector", 510, b"\x55\xaa"),
    ("LVM", 0, b"LABELONE"),
    ("LVM", 512, b"LABELONE"),
    ("LVM", 1024, b"LABELONE"),
    ("LVM", 1536, b"LABELONE"),
    ("md RAID 1.1", 0, b"\xfc\x4e\x2b\xa9"),
    ("md RAID 1.2", 4096, b"\xfc\x4e\x2b\xa9"),
    ("LUKS", 0, b"LUKS\xba\xbe"),
    ("ext2, ext3 or ext4", 1080, b"\x53\xef"),
    ("XFS", 0, b"XFSB"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
    ("F2FS", 1024, b"\x10\x20\xf5\xf2"),
    ("JFS", 0x8000, b"JFS1"),
    ("NTFS", 3, b"NTFS    "),
    ("exFAT", 3, b"EXFAT   "),
    ("APFS", 32, b"NXSB"),
    ("Oracle ASM", 32, b"ORCLDISK"),
    ("Stratis", 516, b"!Stra0tis\x86\xff\x02^\x41rh"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("swap", 65526, b"SWAPSPACE2"),
    ("bcache", 4096 + 24, bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")),
    ("bcachefs", 4096 + 24, bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef")),
)

ZFS_LABEL = 256 * KIB
ZFS_NAMES = (b"pool_guid", b"vdev_tree", b"vdev_guid")
ZFS_NAMES_AT, ZFS_UBERBLOCKS_AT = 16 * KIB, 128 * KIB
ZFS_UBERBLOCK = 0xBAB10C
ZFS_LEAST_UBERBLOCK = KIB


def find(pin: int, fd: int, size: int) -> list[str]:
    """Every sign of contents on a device; `pin` is its inode, for the tools to open, `fd` is open for buffered reads.

    Raises Refused when it cannot be told, for that is no permission.
    """
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # ask the medium: another host may have written there
    # Our own reads first: where the device hangs, this process does, and is seen to; a tool's might pile up unseen.
    found = [*zfs(fd, size), *bluestore(fd, size), *gpt(fd, size), *bare_magics(fd), *by_wipefs(pin), *by_blkid(pin)]
    return list(dict.fromkeys(found))


def by_wipefs(pin: int, *, but_tables: bool = False) -> list[str]:
    """What wipefs would erase, less partition tables where those belong."""
    output = answer(pin, "wipefs", "--no-act", "--noheadings", "--parsable", "--output", "OFFSET,TYPE,USAGE")
    rows = [line.split(",") for line in output.splitlines() if line and not line.startswith("#")]
    kept = [row for row in rows if not (but_tables and len(row) > 2 and row[2] == "partition-table")]
    named = [f"{row[1] if len(row) > 1 else 'something'} at {row[0]}" for row in kept]
    return named[:SHOWN] + ([f"and {len(named) - SHOWN} more"] if len(named) > SHOWN else [])


def by_blkid(pin: int) -> list[str]:
    output = answer(pin, "blkid", "--probe", "--output", "value", "-s", "TYPE", "-s", "PTTYPE", nothing=2, several=8)
    return [f"{line} (blkid)" for line in output.splitlines() if line]


def answer(pin: int, tool: str, *arguments: str, nothing: int = 0, several: int = -1) -> str:
    """What a tool of util-linux says of the device. It opens it read-only, by the pinned inode, never by a path.

    Raises Refused when it has no answer, or none in time.
    """
    program = next((path for place in PLACES if os.access(path := f"{place}/{tool}", os.X_OK)), "")
    if not program:
        raise Refused(f"{tool} is missing, and without it nobody can tell what is on the device: install util-linux")
    heard = os.memfd_create(tool)
    try:
        process = os.posix_spawn(
            program,
            [program, *arguments, f"/proc/self/fd/{INHERITED_FD}"],
            {"PATH": ":".join(PLACES), "LC_ALL": "C"},
            # In this order: a descriptor of ours may have the number that another is to get.
            file_actions=[
                (os.POSIX_SPAWN_DUP2, heard, 1),
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, pin, INHERITED_FD),
            ],
        )
        status = ended(process, tool)
        if status == several:
            return "several contents at once"
        if status not in (0, nothing):
            raise Refused(f"{tool} cannot tell what is on the device: it ended with status {status}")
        return os.pread(heard, LONGEST_ANSWER, 0).decode(errors="replace")
    finally:
        os.close(heard)


def ended(process: int, tool: str) -> int:
    """Its exit status. Raises Refused when it takes too long; it is killed then, as far as that goes."""
    pidfd = os.pidfd_open(process)
    try:
        end_s = time.monotonic() + PROBE_S
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        while not poll.poll(max(end_s - time.monotonic(), 0) * 1000):
            if time.monotonic() >= end_s:
                os.kill(process, SIGKILL)
                raise Refused(f"{tool} has not told within {PROBE_S:g} s what is on the device")
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    finally:
        os.close(pidfd)


def zfs(fd: int, size: int) -> list[str]:
    """Any of the four labels that could be one's: by a single uberblock, or the names in its list."""
    last = size // ZFS_LABEL * ZFS_LABEL
    found = []
    for number, start in enumerate((0, ZFS_LABEL, last - 2 * ZFS_LABEL, last - ZFS_LABEL)):
        if start < 0:
            continue
        label = os.pread(fd, ZFS_LABEL, start)
        if has_uberblock(label) or any(name in label[ZFS_NAMES_AT:ZFS_UBERBLOCKS_AT] for name in ZFS_NAMES):
            found.append(f"ZFS label {number} at {start:#x}")
    return found


def has_uberblock(label: bytes) -> bool:
    magics = {ZFS_UBERBLOCK.to_bytes(8, "little"), ZFS_UBERBLOCK.to_bytes(8, "big")}
    return any(label[at : at + 8] in magics for at in range(ZFS_UBERBLOCKS_AT, len(label), ZFS_LEAST_UBERBLOCK))


def bluestore(fd: int, size: int) -> list[str]:
    """Ceph's label, which newer versions also keep far from the start."""
    places = (at for at in BLUESTORE_AT if at < size)
    return [f"BlueStore label at {at:#x}" for at in places if os.pread(fd, len(BLUESTORE), at) == BLUESTORE]


def bare_magics(fd: int) -> list[str]:
    return [f"{what} at {place:#x}" for what, place, magic in BARE_MAGICS if os.pread(fd, len(magic), place) == magic]


def gpt(fd: int, size: int) -> list[str]:
    """A GPT, or its backup alone, written for blocks of either length: a disk may have come out of another adapter."""
    places = {at for block in (512, 4096) for at in (block, size - block)}
    return [f"GPT at {at:#x}" for at in sorted(places) if at > 0 and os.pread(fd, len(GPT), at) == GPT]
