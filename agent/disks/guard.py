"""Admits or refuses what a job is to work on; the only maker of a Target.

Every check is made on a descriptor, never twice on a path: a path is opened once without access (O_PATH), looked at,
and that same inode is then opened for use.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time

from iovigil.agent.disks import footer, layout, region
from iovigil.agent.disks.refusal import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` takes as long as the interpreter itself
    from collections.abc import Mapping
    from typing import Any, Literal, NotRequired, TypedDict

    class TargetOrder(TypedDict):
        """What the agent asks for."""

        disk: str
        kind: Literal["file", "device", "auto"]
        path: str
        size: int
        """Bytes the file must have; 0 takes it as it is."""
        create_size: int
        """Bytes that a file which is created gets: what the longest of the jobs that share it needs."""
        file_count: int
        """How many files share the size of the job."""
        read: bool
        write: bool
        """Whether what is there may change; a trim changes it as a write does."""
        direct: bool
        sync: Literal["none", "sync", "dsync"]
        is_probe_file: bool
        overwrite: bool
        fill_device: bool
        must_exist: bool
        """What the job reads has to be there already; nothing is made for it."""
        may_create: bool
        is_scsi_generic: bool
        """Whether the I/O engine works through /dev/sg*."""
        session: str
        """Token of the invocation of `iovigil run`; empty where there is none."""
        region: NotRequired[tuple[int, int] | None]
        """Offset and size of what the configuration declares on a device as the agent's own, where the job is to work
        there: because it writes, or because it checks what was written. Offset 0 of the job is then its first byte."""


BLKSSZGET = 0x1268

# Marks a file that `iovigil run` created. Not a footer: fio may work on the same file, whole.
RUN_MARK = "user.iovigil"
RUN_MARK_VALUE = b"run"
# Beside it the token of the invocation that created the file: its other jobs may write there, and may remove it.
SESSION_MARK = "user.iovigil.session"

CLAIM_S = 1.0
READ_ONLY = (
    "raw devices are read-only, but for a region that the configuration declares and `iovigil claim` has taken; "
    "use a probe file"
)
# They touch exactly the bytes that they are told. mmap dirties whole pages, sg takes a partition for the disk, and of
# what comes from elsewhere nobody knows.
REGION_ENGINES = ("io_uring", "libaio", "null", "posixaio", "psync", "pvsync2", "sync")
SCSI_GENERIC_MAJOR = 21


class Target:
    """An admitted target: the job works on this descriptor and on these bytes of it, nothing else."""

    __slots__ = ("fd", "is_writable", "kind", "path", "region_uuid", "size", "start")

    def __init__(
        self, fd: int, size: int, path: str, kind: str, is_writable: bool, start: int = 0, region_uuid: bytes = b""
    ) -> None:
        self.fd = fd
        self.start = start
        """The first byte that the job may touch: 0, but for a region of a device."""
        self.size = size
        """Bytes from there that the job may touch; 0 where it ends with the filesystem (fill_device)."""
        self.path = path
        self.kind = kind
        self.is_writable = is_writable
        self.region_uuid = region_uuid
        """Of the claim by which a region of a device is the agent's own; empty of anything else."""


def admit(order: TargetOrder, options: Mapping[str, Any]) -> Target:
    """Open the target for a job with these options, after creating the file if it is ours to create.

    Raises Refused, and OSError for what the system says.
    """
    path = order["path"]
    kind = order["kind"]
    if kind == "auto" and is_block_device(path):
        kind = "device"
    if kind == "device" and order.get("region"):
        target = admit_region(order, options["ioengine"])
    elif kind == "device":
        target = admit_device(order)
    elif kind == "auto" and order["is_scsi_generic"] and is_scsi_generic(path):
        target = admit_scsi_generic(order)
    elif order["is_probe_file"]:
        target = admit_probe_file(order)
    else:
        target = admit_file(order)
    try:
        check_region(target, order, options)
    except BaseException:
        os.close(target.fd)
        raise
    return target


def forecast(order: TargetOrder) -> str:
    """What `admit` would do about a probe file, without doing it. Raises Refused and OSError as it would."""
    require_own_place(order)
    pin = pinned(order["path"], os.O_NOFOLLOW)
    if pin >= 0:
        try:
            check_probe_file(pin, order)
        finally:
            os.close(pin)
        return f"ready: {layout.readable(order['size'])}"
    directory = os.path.dirname(order["path"])
    try:
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise Refused(f"there is no directory {directory}") from None
    try:
        layout.require_space(directory_fd, order["path"], footer.offset(order["size"]) + footer.BLOCK)
    finally:
        os.close(directory_fd)
    return f"to be created: {layout.readable(order['size'])}"


def admit_device(order: TargetOrder) -> Target:
    path = order["path"]
    if order["write"]:
        raise Refused(f"{path}: {READ_ONLY}")
    pin = pinned_device(path)
    try:
        fd = reopened(pin, path, os.O_RDONLY | flags_of(order))
        try:
            if not stat.S_ISBLK(os.fstat(fd).st_mode) or os.fstat(fd).st_rdev != os.fstat(pin).st_rdev:
                raise Refused(f"{path} became another device while it was opened")
            size = os.lseek(fd, 0, os.SEEK_END)
            os.lseek(fd, 0, os.SEEK_SET)
            if size == 0:
                raise Refused(f"{path} has no medium: its size is 0")
        except BaseException:
            os.close(fd)
            raise
        return Target(fd, size, path, "device", is_writable=False)
    finally:
        os.close(pin)


def admit_region(order: TargetOrder, ioengine: str, root: str = "/") -> Target:
    """Admit the region that is the agent's on a device, less its header: to write there only after every check, made
    on the descriptor that the job gets, while the kernel keeps all others from claiming the device."""
    path, declared = order["path"], order.get("region")
    if not declared:
        raise Refused(f"{path}: {READ_ONLY}")
    if order["write"] and ioengine not in REGION_ENGINES:
        raise Refused(
            f"{path}: ioengine={ioengine} is not trusted with a region of a device; use one of "
            f"{', '.join(REGION_ENGINES)}"
        )
    pin = pinned_device(path)
    try:
        device = region.Device(pin, path, root)
        if order["write"]:
            fd = claimed(pin, device, os.O_RDWR | flags_of(order))
        else:
            fd = reopened(pin, path, os.O_RDONLY | flags_of(order))
        try:
            device.require_same(fd)
            look = reopened(pin, path, os.O_RDONLY)
            try:
                region.check_place(device, look, declared, logical_block_size(look))
                owned = region.check_owner(device, look, order["disk"], declared)
                if order["write"]:
                    region.require_nobody(device, look)
            finally:
                os.close(look)
            device.require_same(fd)
        except BaseException:
            os.close(fd)
            raise
    finally:
        os.close(pin)
    start, size = region.bytes_of_jobs(declared)
    return Target(fd, size, path, "device", order["write"], start, owned.uuid)


def claimed(pin: int, device: region.Device, flags: int) -> int:
    """Open a device for this process alone: nobody can mount it, or build on it, while the descriptor is open.

    Raises Refused with the signs of whoever has it.
    """
    end_s = time.monotonic() + CLAIM_S
    while True:
        # Before it is opened at all: where somebody is at work, the device is not even touched.
        region.require_unused(device)
        try:
            return reopened(pin, device.path, flags | os.O_EXCL)
        except OSError as problem:
            if problem.errno != errno.EBUSY:
                raise
            if time.monotonic() >= end_s:
                raise Refused(
                    f"{device.path} is in use: the kernel refuses an exclusive open, as while another run works there"
                ) from None
        # Tried again: what io_uring held may be let go a moment after its process was reaped.
        time.sleep(0.01)


def admit_scsi_generic(order: TargetOrder) -> Target:
    """Admit a disk by its SCSI generic node, which is a character device: for reading, and never for more."""
    path = order["path"]
    if order["write"]:
        raise Refused(f"{path}: {READ_ONLY}")
    if order["size"] <= 0:
        raise Refused(f"{path}: a SCSI generic device does not tell its size: the job needs --size")
    pin = pinned(path)
    if pin < 0:
        raise Refused(f"there is no device {path}")
    try:
        status = os.fstat(pin)
        if not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) != SCSI_GENERIC_MAJOR:
            raise Refused(f"{path} is {description(status.st_mode)}, not a SCSI generic device")
        fd = reopened(pin, path, os.O_RDONLY)
    finally:
        os.close(pin)
    return Target(fd, order["size"], path, "device", is_writable=False)


def admit_probe_file(order: TargetOrder) -> Target:
    path, size = order["path"], order["size"]
    require_own_place(order)
    pin = pinned(path, os.O_NOFOLLOW)
    if pin < 0:
        layout.create(path, size, has_data=True, footer_block=footer.pack(order["disk"], size))
        pin = pinned(path, os.O_NOFOLLOW)
    if pin < 0:
        raise Refused(f"{path} was removed as soon as it was created")
    try:
        check_probe_file(pin, order)
        fd = reopened(pin, path, access(order) | flags_of(order))
    finally:
        os.close(pin)
    if order["write"]:
        try:
            claim(fd, path)
        except BaseException:
            os.close(fd)
            raise
    return Target(fd, size, path, "file", is_writable=order["write"])


def claim(fd: int, path: str) -> None:
    """Take the file until the last process that has this descriptor ends. Raises Refused when another has it.

    Of two writers each would find the other's blocks, and report corruption where there is none.
    """
    end_s = time.monotonic() + CLAIM_S
    # Tried again: what io_uring held may be let go a moment after its process was reaped.
    while not layout.lock(fd):
        if time.monotonic() >= end_s:
            raise Refused(
                f"{path} is being written by another process: by another agent, or by a child that has not ended yet"
            )
        time.sleep(0.01)


def require_own_place(order: TargetOrder) -> None:
    if not order["path"].startswith("/"):
        raise Refused(f"{order['path']}: the path of a probe file must be absolute")
    if order["size"] <= 0:
        raise Refused(f"{order['path']}: a probe file needs a size")


def check_probe_file(pin: int, order: TargetOrder) -> None:
    """Raise Refused unless the file is the one that we made for this disk, with this size."""
    path = order["path"]
    status = os.fstat(pin)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 2:
        layout.finish_interrupted(path)
        status = os.fstat(pin)
    require_plain(path, status, "a probe file")
    if status.st_uid != os.geteuid():
        raise Refused(f"{path} belongs to uid {status.st_uid}, not to uid {os.geteuid()} that we run as")
    fd = reopened(pin, path, os.O_RDONLY)
    try:
        block = os.pread(fd, footer.BLOCK, max(status.st_size - footer.BLOCK, 0))
    finally:
        os.close(fd)
    try:
        disk, size = footer.parse(block)
    except footer.NotAFooter as reason:
        raise Refused(f"{path} is left alone: {reason}; remove it, or choose another path") from None
    if disk != order["disk"]:
        raise Refused(f"{path} is the probe file of disk {disk}, not of {order['disk']}: choose another path")
    if size != order["size"] or status.st_size != footer.offset(size) + footer.BLOCK:
        raise Refused(
            f"{path} was made for {size} bytes and the configuration says {order['size']}: "
            "remove it, and it is created anew"
        )


def admit_file(order: TargetOrder) -> Target:
    """Admit a file that the user named for one run."""
    path = order["path"]
    # Reading through a link harms nobody; writing through one may hit a file that was not meant.
    flags = os.O_NOFOLLOW if order["write"] else 0
    pin = pinned(path, flags)
    if pin < 0:
        create_file(order)
        pin = pinned(path, flags)
    if pin < 0:
        raise Refused(f"{path} was removed as soon as it was created")
    try:
        status = os.fstat(pin)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path} is {description(status.st_mode)}, not a regular file")
        if order["write"]:
            check_may_overwrite(pin, order)
        elif status.st_size < order["size"]:
            raise Refused(f"{path} has {status.st_size} bytes, and the job is to read {order['size']}: lower size")
        fd = reopened(pin, path, access(order) | flags_of(order))
    finally:
        os.close(pin)
    try:
        if os.fstat(fd).st_size < order["size"] and not order["fill_device"]:
            layout.extend(fd, path, order["create_size"])
        size = 0 if order["fill_device"] else order["size"] or os.fstat(fd).st_size
        if size == 0 and not order["fill_device"]:
            raise Refused(f"{path} is empty: the job needs --size")
    except BaseException:
        os.close(fd)
        raise
    return Target(fd, size, path, "file", order["write"])


def create_file(order: TargetOrder) -> None:
    path = order["path"]
    directory = os.path.realpath(os.path.dirname(path)) + "/"
    if directory.startswith("/dev/") and not directory.startswith("/dev/shm/"):
        # A device's name misspelt would otherwise become a file in memory.
        raise Refused(f"there is no device {path}, and under /dev no file is created")
    if order["must_exist"]:
        # Its random contents would all be taken for corruption.
        raise Refused(f"{path} does not exist: there is nothing to verify")
    if not order["may_create"]:
        raise Refused(f"{path} does not exist, and allow_file_create=0 forbids to create it")
    if order["fill_device"] and order["write"]:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        except (FileNotFoundError, NotADirectoryError):
            raise Refused(f"{path} cannot be created: there is no directory {os.path.dirname(path)}") from None
    elif order["create_size"] <= 0:
        raise Refused(f"{path} does not exist: to create it, the job needs --size")
    else:
        layout.create(path, order["create_size"], has_data=order["read"], mode=0o644)
    mark_as_run_file(path, order["session"])


def check_may_overwrite(pin: int, order: TargetOrder) -> None:
    """Raise Refused unless the user said so, or `iovigil run` made the file: with this very size, or just now."""
    path = order["path"]
    if order["overwrite"] or is_of_session(pin, order["session"]):
        return
    status = os.fstat(pin)
    try:
        is_ours = os.getxattr(f"/proc/self/fd/{pin}", RUN_MARK) == RUN_MARK_VALUE
    except OSError:
        is_ours = False
    if not is_ours:
        raise Refused(f"{path} exists and was not created by iovigil: --overwrite=1 allows the job to write into it")
    # A job without a size, such as a replay, takes the file's own, if that is long enough.
    if order["create_size"] != status.st_size and (order["size"] or order["create_size"] > status.st_size):
        raise Refused(
            f"{path} has {status.st_size} bytes, not the {order['create_size']} of this job: "
            "--overwrite=1 allows it to write into the file, or remove it"
        )


def is_of_session(pin: int, session: str) -> bool:
    """Whether another job of the same session has created the file."""
    if not session:
        return False
    try:
        return os.getxattr(f"/proc/self/fd/{pin}", SESSION_MARK) == session.encode()
    except OSError:
        return False


def remove(order: TargetOrder) -> None:
    """Remove the file if this session created it; any other is left alone, and so is one that has gone."""
    path = order["path"]
    pin = pinned(path, os.O_NOFOLLOW)
    if pin < 0:
        return
    try:
        status = os.fstat(pin)
        if not stat.S_ISREG(status.st_mode) or not is_of_session(pin, order["session"]):
            return
        directory_fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            name = os.path.basename(path)
            if os.path.samestat(os.stat(name, dir_fd=directory_fd, follow_symlinks=False), status):
                os.unlink(name, dir_fd=directory_fd)
        finally:
            os.close(directory_fd)
    finally:
        os.close(pin)


def mark_as_run_file(path: str, session: str = "") -> bool:
    """Whether the mark holds; a filesystem without extended attributes takes none, and --overwrite=1 is needed then."""
    try:
        os.setxattr(path, RUN_MARK, RUN_MARK_VALUE, follow_symlinks=False)
        if session:
            os.setxattr(path, SESSION_MARK, session.encode(), follow_symlinks=False)
    except OSError:
        return False
    return True


def check_region(target: Target, order: TargetOrder, options: Mapping[str, Any]) -> None:
    """Raise Refused where the job's offset, size or longest I/O cannot be served by the target.

    A negative offset or size is a share of the target in per cent, which no target is too small for.
    """
    offset, size = max(options["offset"], 0), max(options["size"], 0) // order["file_count"]
    shortest, longest = io_lengths(options)
    if target.size and offset + max(size, longest) > target.size:
        shared = f" ({order['file_count']} files share size)" if order["file_count"] > 1 else ""
        raise Refused(
            f"{target.path} has {target.size} bytes: offset={offset}, size={size}{shared} "
            f"and bs={longest} reach beyond its end"
        )
    if target.kind != "device" or not order["direct"]:
        return
    block = logical_block_size(target.fd)
    for name, value in (("bs", shortest), ("bs", longest), ("offset", offset), ("size", size)):
        if value % block:
            raise Refused(
                f"{target.path} has blocks of {block} bytes: {name}={value} is no multiple, as direct=1 needs"
            )


def io_lengths(options: Mapping[str, Any]) -> tuple[int, int]:
    """The shortest and the longest I/O of the directions that the job uses."""
    uses = (options["does_read"], options["does_write"], options["does_trim"])
    used = [bounds for bounds, is_used in zip(options["lengths"], uses, strict=True) if is_used]
    return min(least for least, _ in used), max(most for _, most in used)


def logical_block_size(fd: int) -> int:
    """The unit of direct I/O on a device; 1 where the kernel does not say, and then refuses the I/O itself."""
    answer = bytearray(4)
    try:
        fcntl.ioctl(fd, BLKSSZGET, answer)
    except OSError:
        return 1  # the number of this request is another one on some architectures
    return int.from_bytes(answer, sys.byteorder) or 1


def is_block_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def is_scsi_generic(path: str) -> bool:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return False
    return stat.S_ISCHR(status.st_mode) and os.major(status.st_rdev) == SCSI_GENERIC_MAJOR


def pinned(path: str, flags: int = 0) -> int:
    """A descriptor that holds the inode behind a path and gives no access to it; -1 where there is none.

    No driver is asked, so that a FIFO does not block and a device does not start.
    """
    try:
        return os.open(path, os.O_PATH | flags)
    except FileNotFoundError:
        return -1


def pinned_device(path: str) -> int:
    """The inode of a block device, pinned. Raises Refused for anything else."""
    pin = pinned(path)
    if pin < 0:
        raise Refused(f"there is no device {path}")
    mode = os.fstat(pin).st_mode
    if not stat.S_ISBLK(mode):
        os.close(pin)
        raise Refused(f"{path} is {description(mode)}, not a block device")
    return pin


def reopened(pin: int, path: str, flags: int) -> int:
    """Open the pinned inode for use. Raises Refused when its filesystem has no direct I/O, else OSError."""
    name = f"/proc/self/fd/{pin}"
    try:
        try:
            # Reading for a look is no use of the file, and the kernel saves the time stamp.
            return os.open(name, flags | os.O_NOATIME)
        except PermissionError:
            return os.open(name, flags)  # only the owner may do without
    except OSError as problem:
        if problem.errno == errno.EINVAL and flags & os.O_DIRECT:
            raise Refused(f"{path}: its filesystem does not support direct I/O (O_DIRECT); set direct to 0") from None
        raise OSError(problem.errno, problem.strerror, path) from None


def access(order: TargetOrder) -> int:
    return os.O_RDWR if order["write"] else os.O_RDONLY


def flags_of(order: TargetOrder) -> int:
    """How the target is opened, beside its access: past the page cache, or waiting for the medium."""
    waiting = {"none": 0, "sync": os.O_SYNC, "dsync": os.O_DSYNC}[order["sync"]]
    return waiting | (os.O_DIRECT if order["direct"] else 0)


def require_plain(path: str, status: os.stat_result, what: str) -> None:
    """Raise Refused unless it is a regular file with one name."""
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path} is {description(status.st_mode)}, and {what} must be a regular file")
    if status.st_nlink != 1:
        raise Refused(f"{path} has {status.st_nlink} hard links, and {what} must have one name only")


def description(mode: int) -> str:
    for is_kind, words in (
        (stat.S_ISREG, "a regular file"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if is_kind(mode):
            return words
    return "something else"
