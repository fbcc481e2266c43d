"""Makes the file that a job works on: whole, or not at all."""

import errno
import fcntl
import os
import stat

from iovigil.agent.disks import footer
from iovigil.agent.disks.refusal import Refused

CHUNK = 1 << 20
PARTIAL = ".partial"
LEAST_FREE_SHARE = 0.05
LEAST_FREE_BYTES = 64 << 20

NO_FALLOCATE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def create(path: str, size: int, *, has_data: bool, footer_block: bytes = b"", mode: int = 0o600) -> None:
    """Make a file of `size` bytes at a path where nothing is yet, with the footer behind them.

    With data the bytes are random, so that neither compression nor a hole answers a read; without, they are reserved.
    It grows under another name, which a signal may leave behind and the next call removes; an error leaves nothing.
    Raises Refused where it would not fit with room to spare, OSError for what the filesystem says.
    """
    directory, name = os.path.split(path)
    try:
        directory_fd = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        raise Refused(f"{path} cannot be created: there is no directory {directory}") from None
    try:
        total = footer.offset(size) + len(footer_block) if footer_block else size
        remove_stale(directory_fd, path)
        require_space(directory_fd, path, total)
        fd = open_partial(directory_fd, name + PARTIAL, mode)
        try:
            fill(fd, path, size, total, has_data)
            os.pwrite(fd, footer_block, footer.offset(size))
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            publish(directory_fd, name)
        except BaseException:
            os.unlink(name + PARTIAL, dir_fd=directory_fd)
            raise
        finally:
            os.close(fd)
        os.fsync(directory_fd)
    finally:
        os.close(directory_fd)


def extend(fd: int, path: str, size: int) -> None:
    """Let an open file grow to `size` bytes, reserved where the filesystem can. Raises Refused, OSError."""
    require_space(fd, path, size - os.fstat(fd).st_size)
    reserve(fd, path, size)


def finish_interrupted(path: str) -> None:
    """Take away the second name of a file whose creation was killed between its last two steps."""
    try:
        leftover, file = os.lstat(path + PARTIAL), os.lstat(path)
    except FileNotFoundError:
        return
    if os.path.samestat(leftover, file):
        os.unlink(path + PARTIAL)


def require_space(fd: int, path: str, needed: int) -> None:
    """Raise Refused unless the filesystem keeps a share free once so many bytes are taken."""
    space = os.fstatvfs(fd)
    free = space.f_bavail * space.f_frsize
    spare = min(int(space.f_blocks * space.f_frsize * LEAST_FREE_SHARE), LEAST_FREE_BYTES)
    if free - needed < spare:
        raise Refused(
            f"no room for {path}: {readable(needed)} needed, {readable(free)} free, "
            f"of which {readable(spare)} must stay free"
        )


def open_partial(directory_fd: int, partial: str, mode: int) -> int:
    fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=directory_fd)
    lock(fd)  # says that somebody is at work; without locks in the filesystem nobody can tell, and O_EXCL remains
    return fd


def remove_stale(directory_fd: int, path: str) -> None:
    """Remove what an interrupted call left. Raises Refused when that is not ours, or in the making."""
    partial = path + PARTIAL
    name = os.path.basename(partial)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory_fd)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise Refused(f"{partial} is in the way ({problem.strerror}): remove it") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise Refused(f"{partial} is in the way and was not made by iovigil: remove it")
        if not lock(fd):
            raise Refused(f"{path} is just being created by another process")
        os.unlink(name, dir_fd=directory_fd)
    finally:
        os.close(fd)


def lock(fd: int) -> bool:
    """Whether no other process has locked the file, which this one now has where the filesystem can."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def fill(fd: int, path: str, size: int, total: int, has_data: bool) -> None:
    reserve(fd, path, total)
    written = 0
    while has_data and written < size:
        chunk = os.urandom(min(CHUNK, size - written))
        try:
            written += os.pwrite(fd, chunk, written)
        except OSError as problem:
            raise explained(problem, fd, path, size - written) from None


def reserve(fd: int, path: str, total: int) -> None:
    held = os.fstat(fd).st_size
    try:
        os.posix_fallocate(fd, 0, total)
    except OSError as problem:
        if problem.errno not in NO_FALLOCATE:
            os.ftruncate(fd, held)  # what could be had is given back, so that the figures say what was free
            raise explained(problem, fd, path, total) from None
        os.ftruncate(fd, total)


def explained(problem: OSError, fd: int, path: str, needed: int) -> OSError:
    """The same error with the file's name, and the figures where space ran out."""
    reason = problem.strerror
    if problem.errno == errno.ENOSPC:
        space = os.fstatvfs(fd)
        reason = f"{reason}: {readable(needed)} needed, {readable(space.f_bavail * space.f_frsize)} free"
    return OSError(problem.errno, reason, path)


def publish(directory_fd: int, name: str) -> None:
    """Give the finished file its name; an existing file of that name is never replaced. Raises FileExistsError."""
    partial = name + PARTIAL
    try:
        os.link(partial, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in NO_HARD_LINKS:
            raise
        # vfat and the like: the exclusive placeholder is ours, so the rename replaces nobody's file.
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, dir_fd=directory_fd))
        os.rename(partial, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
    else:
        os.unlink(partial, dir_fd=directory_fd)


def readable(size: int) -> str:
    """A size for people, in powers of 1024."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
