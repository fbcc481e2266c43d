"""What every I/O engine is: a small interface with a silent default for all but queue()."""

from libc.errno cimport EINTR, EINVAL, ENOSYS, errno
from libc.stdlib cimport calloc, free
from posix.unistd cimport fdatasync, fsync

from iovigil.engines.io_u cimport COMPLETED, DATASYNC, SYNC, SYNC_RANGE, TRIM

cdef extern from "<fcntl.h>" nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    """
    int FALLOC_FL_KEEP_SIZE
    int FALLOC_FL_PUNCH_HOLE
    int fallocate(int fd, int mode, int64_t offset, int64_t length)
    unsigned SYNC_FILE_RANGE_WAIT_BEFORE
    unsigned SYNC_FILE_RANGE_WRITE
    unsigned SYNC_FILE_RANGE_WAIT_AFTER
    int sync_file_range(int fd, int64_t offset, int64_t length, unsigned flags)

cdef extern from "<linux/fs.h>" nogil:
    unsigned long BLKDISCARD

cdef extern from "<sys/ioctl.h>" nogil:
    int ioctl(int fd, unsigned long request, ...)

cdef dict RANGE_FLAGS = {
    "wait_before": SYNC_FILE_RANGE_WAIT_BEFORE,
    "write": SYNC_FILE_RANGE_WRITE,
    "wait_after": SYNC_FILE_RANGE_WAIT_AFTER,
}


class EngineUnavailable(OSError):
    """This host does not allow the engine; another one may do."""


cdef class IoEngine:
    """One way to hand I/Os to the kernel, for the files of one job. Subclasses are named `Engine`, one a module."""

    def __cinit__(self, TargetFiles targets not None, uint32_t iodepth, dict options not None):
        self.targets = targets
        self.files = targets.files
        self.iodepth = iodepth
        self.options = options
        self.is_sync = True
        self.notes = []
        for name in options["sync_file_range"][0]:
            self.range_flags |= <unsigned>RANGE_FLAGS[name]
        self.events = <io_u **>calloc(iodepth, sizeof(io_u *))
        if self.events == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.events)

    cdef int open(self, char *buffers, uint64_t buffers_size) except -1:
        """Get ready; every I/O's buffer will lie inside `buffers`. Raises EngineUnavailable."""
        return 0

    cdef int meet(self) except -1:
        """The job is released, and with it those beside it: meet them. Raises OSError."""
        return 0

    cdef QueueStatus queue(self, io_u *io) noexcept nogil:
        """Take one I/O, see QueueStatus. Never blocks for room: that is BUSY."""
        io.result = -ENOSYS
        return COMPLETED

    cdef int reap(self, uint32_t wanted, uint32_t most, uint64_t timeout_ns) noexcept nogil:
        """Submit what was queued, wait for `wanted` completions at most `timeout_ns` (0: no bound).

        Leaves at most `most` (0: as many as suit the engine) finished I/Os in `events` and returns their
        number, which may be 0 after a signal or the timeout; -errno when the engine itself failed.
        """
        return 0

    cdef int cancel(self, io_u *io) noexcept nogil:
        """Try to take back an I/O in flight: 0 if its completion will come as cancelled, else -errno."""
        return -ENOSYS

    cdef void close(self) noexcept:
        """Undo `open`; called once, also after a failure."""
        pass

    cdef int flush(self, uint32_t file) noexcept nogil:
        """Have all that was written on the medium, while nothing is in flight: 0 or -errno, -EINTR among them."""
        return -errno if fsync(self.files[file].fd) else 0

    cdef str hint(self, int error):
        """What people should know of an I/O's error beside its name: how the engine's options brought it about."""
        return ""

    cdef int64_t change(self, io_u *io) noexcept nogil:
        """Trim or sync, at once, by the plain system call: for engines that have no way of their own.

        Bytes trimmed, 0 for a sync, or -errno. A trim of a file punches a hole. A sync of a range goes from the
        I/O's offset over its length, with length 0 up to the end of the file.
        """
        cdef int fd = self.files[io.file].fd
        cdef uint64_t bounds[2]
        cdef int answer
        while True:
            if io.ddir == TRIM:
                if self.files[io.file].is_device:
                    bounds[0] = io.offset
                    bounds[1] = io.length
                    answer = ioctl(fd, BLKDISCARD, &bounds[0])
                else:
                    answer = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, <int64_t>io.offset, io.length)
            elif io.ddir == SYNC:
                answer = fsync(fd)
            elif io.ddir == DATASYNC:
                answer = fdatasync(fd)
            elif io.ddir == SYNC_RANGE:
                answer = sync_file_range(fd, <int64_t>io.offset, io.length, self.range_flags)
            else:
                return -EINVAL
            if answer == 0:
                return io.length if io.ddir == TRIM else 0
            if errno != EINTR:
                return -errno
